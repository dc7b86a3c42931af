//! Traffic while the archive is away: what policy says of it decides, and only of that.

use super::super::caller::view::ceilings::testing::stop_on_sink_failure;
use super::*;
use cofferdam_api::OnSinkFailure;
use serde_json::json;

async fn under(word: OnSinkFailure) -> Fixture {
    let policy = policy().on_sink_failure(word);
    let fixture =
        Fixture::start_under(&policy, Credentials::default(), Capacity::of(20_000, 512 << 20)).await;
    for (host, address) in [(ALLOWED, "203.0.113.30"), (GIT, "203.0.113.10")] {
        fixture.net.name(host, &[address]);
        fixture.server(&format!("{address}:443"), async |_| {});
    }
    fixture
}

fn reason(head: &str) -> &str {
    let line = head.split("\r\n").next().unwrap();
    line.strip_prefix("HTTP/1.1 ").unwrap()
}

impl Fixture {
    /// What a new tunnel of this token is answered.
    async fn asks(&self, audience: &str) -> String {
        let host = if audience == AUDIENCE_PREPARE {
            GIT
        } else {
            ALLOWED
        };
        let head = self.connect_as(audience, &format!("{host}:443")).await;
        reason(&head).to_owned()
    }
}

const PASSES: &str = "200 Connection established";
const CLOSED: &str = "403 EvidenceUnavailable";

/// From the first connection on, and the records that follow say so.
#[tokio::test]
async fn a_run_goes_on_without_the_archive_only_where_policy_says_so() {
    for (word, answered) in [(OnSinkFailure::Stop, CLOSED), (OnSinkFailure::Continue, PASSES)] {
        let fixture = under(word).await;
        fixture.rooms.view.remove_pod("pod-1");
        fixture.put(preparing(live_pod("pod-1", "127.0.0.1")));
        *fixture.records.answer.lock() = Some("away");
        assert_eq!(fixture.asks(AUDIENCE_PREPARE).await, answered, "{word:?}");
        fixture.put(live_pod("pod-1", "127.0.0.1"));
        assert_eq!(fixture.asks(AUDIENCE_EGRESS).await, answered, "{word:?}");
        // What policy denies it denies all the same.
        let denied = fixture
            .connect_as(AUDIENCE_EGRESS, "denied.internet.test:443")
            .await;
        let expected = if word == OnSinkFailure::Continue {
            "403 HostNotAllowed"
        } else {
            CLOSED
        };
        assert_eq!(reason(&denied), expected);
        *fixture.records.answer.lock() = None;
        fixture.records.batches.lock().clear();
        assert_eq!(fixture.asks(AUDIENCE_EGRESS).await, PASSES, "the control");
        let events = fixture.events().await;
        let said = |event: &&RecordEvent| matches!(event, RecordEvent::SinkFailed { .. });
        let times = usize::from(word == OnSinkFailure::Continue);
        assert_eq!(events.iter().filter(said).count(), times, "{events:?}");
    }
}

/// A chain that is full or corrupt is no archive that is away: an agent could fill its own.
#[tokio::test]
async fn a_run_of_which_the_archive_takes_no_more_is_closed_whatever_policy_says() {
    let fixture = under(OnSinkFailure::Continue).await;
    assert_eq!(fixture.asks(AUDIENCE_EGRESS).await, PASSES);
    *fixture.records.answer.lock() = Some("refused");
    fixture
        .connect_as(AUDIENCE_EGRESS, "denied.internet.test:443")
        .await;
    fixture.rooms.recorder.flush(RUN_UID).await;
    assert_eq!(fixture.asks(AUDIENCE_EGRESS).await, CLOSED);
}

/// `Stop` of a cluster policy reaches runs that are under way; that a policy speaks of something else takes nothing.
#[tokio::test]
async fn stop_that_a_cluster_policy_says_later_closes_a_run_that_went_on() {
    let fixture = under(OnSinkFailure::Continue).await;
    *fixture.records.answer.lock() = Some("away");
    let view = &fixture.rooms.view;
    view.put_cluster_policy(stop_on_sink_failure("other", &json!({"tier": "gold"})));
    assert_eq!(fixture.asks(AUDIENCE_EGRESS).await, PASSES);
    view.put_cluster_policy(stop_on_sink_failure("incident", &json!({})));
    assert_eq!(fixture.asks(AUDIENCE_EGRESS).await, CLOSED);
    view.remove_cluster_policy("incident");
    assert_eq!(fixture.asks(AUDIENCE_EGRESS).await, PASSES);
}
