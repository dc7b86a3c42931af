//! Runs while the archive is away. Ignored by default, for it is taken from the whole cluster; `make e2e` runs it with the other
//! test of that, by name.

use std::time::Duration;

use cofferdam_api::OnSinkFailure;
use serde_json::json;

use crate::evidence::chain;
use crate::governance::{after, arrived, governed};
use crate::harness::{Run, Space, eventually, forget_ceiling};
use crate::output::down::{ALONE, Gone, replicas};

/// A connection that a gateway lets pass for want of knowing better, and the way from there: 5 s until a record has waited too
/// long, and some.
const GRACE: f64 = 8.0;

/// How often the chain of a run says that it went on.
async fn went_on(run: &Run) -> usize {
    let uid = run.get().await.metadata.uid.unwrap();
    let text = chain(&uid).map(|path| std::fs::read_to_string(path).unwrap());
    text.unwrap_or_default().matches(r#""type":"SinkFailed""#).count()
}

#[tokio::test]
#[ignore = "takes the archive from the whole cluster and gives it back"]
async fn an_archive_that_is_down_stops_a_run_unless_policy_lets_it_go_on() {
    let _alone = ALONE.lock().await;
    let (stopping, going) = (Space::open("sink-stops").await, Space::open("sink-goes-on").await);
    let word = format!("{}-word", going.name);
    going
        .ceiling(&word, json!({"evidence": {"onSinkFailure": "Continue"}}))
        .await;
    let (stops, goes_on) = ("sink-stops", "sink-goes-on");
    let stopped = governed(&stopping, stops).await;
    let went = governed(&going, goes_on).await;
    let resolved = |run: cofferdam_api::AgentRun| run.status.unwrap().resolved.unwrap();
    let said = resolved(went.get().await).evidence.unwrap().on_sink_failure;
    assert_eq!(said, Some(OnSinkFailure::Continue));
    assert_eq!(resolved(stopped.get().await).evidence, None);

    let gone = Gone;
    replicas(&going.client, 0).await;
    let away = jiff::Timestamp::now();
    eventually(
        "requests arrive without evidence",
        Duration::from_mins(1),
        || async { after(&arrived(goes_on, "allowed"), away, GRACE * 2.0) > 3 },
    )
    .await;
    assert_eq!(
        after(&arrived(stops, "allowed"), away, GRACE),
        0,
        "a request arrived without evidence, and no policy lets it"
    );
    assert!(
        arrived(goes_on, "denied").is_empty(),
        "what policy denies is denied all the same"
    );

    drop(gone);
    replicas(&going.client, 1).await;
    let back = jiff::Timestamp::now();
    eventually("requests arrive again", Duration::from_mins(1), || async {
        after(&arrived(stops, "allowed"), back, 0.0) > 3
    })
    .await;
    eventually(
        "the chain says that the run went on",
        Duration::from_mins(1),
        || async { went_on(&went).await == 1 },
    )
    .await;
    assert_eq!(went_on(&stopped).await, 0);
    forget_ceiling(&going.client, &word).await;
    stopping.close().await;
    going.close().await;
}
