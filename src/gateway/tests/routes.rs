//! Control routes, and the upload through to a real archive.

use super::*;
use cofferdam_wire::control::{RunState, WhoAmI};
use cofferdam_wire::output::Receipt;
use rstest::rstest;

impl Fixture {
    async fn control(&self, audience: &str, first: &str, body: &str) -> (u16, String) {
        let token = self.token(audience);
        let length = body.len();
        let request = format!(
            "{first} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = self.exchange(request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        (status, body.to_owned())
    }
}

#[rstest]
#[case(AUDIENCE_EGRESS, "GET /v1/whoami", 403)]
#[case(AUDIENCE_EGRESS, "GET /v1/trust", 403)]
#[case(AUDIENCE_EGRESS, "GET /v1/state", 403)]
#[case(AUDIENCE_EGRESS, "POST /v1/output", 403)]
#[case(AUDIENCE_EGRESS, "POST /v1/isolation", 403)]
#[case(AUDIENCE_COLLECT, "GET /v1/whoami", 200)]
#[case(AUDIENCE_COLLECT, "GET /v1/trust", 403)]
#[case(AUDIENCE_COLLECT, "GET /v1/state", 200)]
#[case(AUDIENCE_COLLECT, "GET /metrics", 404)]
#[case(AUDIENCE_COLLECT, "GET /", 404)]
#[case(AUDIENCE_PREPARE, "POST /v1/output", 403)]
#[case(AUDIENCE_PREPARE, "GET /v1/state", 403)]
#[case(AUDIENCE_PREPARE, "GET /v1/whoami", 403)]
#[tokio::test]
async fn whose_routes(#[case] audience: &str, #[case] first: &str, #[case] expected: u16) {
    let fixture = Fixture::start().await;
    let (status, body) = fixture.control(audience, first, "").await;
    assert_eq!(status, expected, "{body}");
}

#[tokio::test]
async fn prepare_learns_who_it_is_and_whom_to_trust() {
    let fixture = Fixture::start().await;
    fixture.rooms.view.remove_pod("pod-1");
    assert_eq!(
        fixture.control(AUDIENCE_PREPARE, "GET /v1/whoami", "").await.0,
        425
    );
    let mut unaddressed = preparing(live_pod("pod-1", "127.0.0.1"));
    let status = unaddressed.status.as_mut().unwrap();
    (status.pod_ip, status.pod_ips) = (None, None);
    fixture.put(unaddressed);
    assert_eq!(
        fixture.control(AUDIENCE_PREPARE, "GET /v1/whoami", "").await.0,
        425
    );
    fixture.put(preparing(live_pod("pod-1", "127.0.0.1")));
    let (status, body) = fixture.control(AUDIENCE_PREPARE, "GET /v1/whoami", "").await;
    let who: WhoAmI = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, who.run, who.peer_address.as_str()),
        (200, run(), "127.0.0.1")
    );
    let (status, body) = fixture.control(AUDIENCE_PREPARE, "GET /v1/trust", "").await;
    assert_eq!(status, 200);
    assert!(body.starts_with("-----BEGIN CERTIFICATE-----\n\n"), "{body}");
    assert!(body.ends_with(&fixture.inspection.pem), "{body}");
    fixture.put(preparing(live_pod("pod-1", "10.244.0.7")));
    let (status, body) = fixture.control(AUDIENCE_PREPARE, "GET /v1/whoami", "").await;
    assert!(
        status == 403 && body.contains("PeerAddressRewritten"),
        "{status} {body}"
    );
}

#[tokio::test]
async fn the_state_is_told_when_it_changes() {
    let fixture = Fixture::start().await;
    let (_, body) = fixture
        .control(AUDIENCE_COLLECT, "GET /v1/state?after=0", "")
        .await;
    let state: RunState = serde_json::from_str(&body).unwrap();
    assert_eq!((state.revision, state.stop), (1, None));
    let poll = fixture.control(AUDIENCE_COLLECT, "GET /v1/state?after=1", "");
    let change = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut pod = SandboxPod::project(&live_pod("pod-1", "127.0.0.1")).unwrap();
        pod.stop = Some("Cancelled".to_owned());
        fixture.rooms.view.put_pod(pod);
    };
    let start = Instant::now();
    let ((_, body), ()) = tokio::join!(poll, change);
    assert!(start.elapsed() >= Duration::from_millis(100) && start.elapsed() < Duration::from_secs(5));
    let state: RunState = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (state.revision, state.stop),
        (2, Some(cofferdam_api::Reason::Cancelled))
    );
    let poll = fixture.control(AUDIENCE_COLLECT, "GET /v1/state?after=2", "");
    let change = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fixture.rooms.view.remove_pod("pod-1");
    };
    let ((status, _), ()) = tokio::join!(poll, change);
    assert_eq!(status, 403);
}

fn upload(patch: &str) -> String {
    format!(
        r#"{{"version":1,"stopped":null,"refused":[],"patches":[{{"repository":"one","baseCommit":"c","bytes":{},"digest":"{}","files":1,"insertions":1,"deletions":0,"snapshot":"Final"}}]}}"#,
        patch.len(),
        digest(patch.as_bytes()),
    ) + "\n"
        + patch
}

#[tokio::test]
async fn an_output_goes_to_the_archive_once() {
    let fixture = Fixture::start().await;
    let patch = "p".repeat(200_000);
    let wrong = upload(&patch).replace("\"bytes\":200000", "\"bytes\":199999");
    assert_eq!(
        fixture
            .control(AUDIENCE_COLLECT, "POST /v1/output", &wrong)
            .await
            .0,
        422
    );
    let (status, body) = fixture
        .control(AUDIENCE_COLLECT, "POST /v1/output", &upload(&patch))
        .await;
    assert_eq!(status, 201, "{body}");
    let receipt: Receipt = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (receipt.run_uid.as_str(), receipt.manifest.patches.len()),
        (RUN_UID, 1)
    );
    assert_eq!(
        fixture
            .control(AUDIENCE_COLLECT, "POST /v1/output", &upload("other"))
            .await
            .0,
        409
    );
}

#[tokio::test]
async fn a_pod_whose_agent_never_started_leaves_the_upload_to_its_successor() {
    let fixture = Fixture::start().await;
    let mut unstarted = live_pod("pod-1", "127.0.0.1");
    let agent = &mut unstarted
        .status
        .as_mut()
        .unwrap()
        .container_statuses
        .as_mut()
        .unwrap()[0];
    agent.state = None;
    fixture.rooms.view.remove_pod("pod-1");
    fixture.put(unstarted);
    let (status, body) = fixture
        .control(AUDIENCE_COLLECT, "POST /v1/output", &upload("nothing"))
        .await;
    assert!(
        status == 403 && body.contains("AgentNotStarted"),
        "{status} {body}"
    );
    // An agent that ends at once: its work arrives before the kubelet's report of its start.
    let work = upload("work");
    let upload = fixture.control(AUDIENCE_COLLECT, "POST /v1/output", &work);
    let report = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fixture.put(live_pod("pod-1", "127.0.0.1"));
    };
    let ((status, body), ()) = tokio::join!(upload, report);
    assert_eq!(status, 201, "{body}");
}

#[tokio::test]
async fn an_output_that_is_too_large_is_refused_by_its_length_already() {
    let fixture = Fixture::start().await;
    let token = fixture.token(AUDIENCE_COLLECT);
    let request = format!(
        "POST /v1/output HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Length: 99999999\r\n\r\n"
    );
    let answer = fixture.exchange(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_chunked_output_that_never_ends_is_cut_at_the_limit() {
    let fixture = Fixture::start().await;
    let token = fixture.token(AUDIENCE_COLLECT);
    let request = format!(
        "POST /v1/output HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let stream = fixture.open().await;
    let (mut read, mut write) = stream.into_split();
    let writing = tokio::spawn(async move {
        let _ = write.write_all(request.as_bytes()).await;
        let manifest = upload("").replace("\"bytes\":0", "\"bytes\":67108864");
        let _ = write
            .write_all(format!("{:x}\r\n{manifest}\r\n", manifest.len()).as_bytes())
            .await;
        let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
        for _ in 0..80 {
            if write.write_all(chunk.as_bytes()).await.is_err() {
                break;
            }
        }
    });
    let mut answer = Vec::new();
    let _ = read.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    // The archive may see the manifest's lie about the bytes before the gateway's limit is reached.
    assert!(
        answer.starts_with("HTTP/1.1 413 ") || answer.starts_with("HTTP/1.1 422 "),
        "{answer}"
    );
    writing.abort();
    // The archive notices a little later that the first one broke off; until then it asks to come again.
    let mut statuses = Vec::new();
    for _ in 0..50 {
        let (status, _) = fixture
            .control(AUDIENCE_COLLECT, "POST /v1/output", &upload("fine"))
            .await;
        statuses.push(status);
        if status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(statuses.last(), Some(&201), "{statuses:?}");
}

#[tokio::test]
async fn a_hole_that_the_sidecar_saw_closes_the_exit() {
    let fixture = Fixture::start().await;
    let body = r#"{"probe":"canary","detail":"answered \u001b[1m"}"#;
    let (status, _) = fixture
        .control(AUDIENCE_COLLECT, "POST /v1/isolation", body)
        .await;
    assert_eq!(status, 204);
    let events = fixture.events().await;
    assert!(
        matches!(&events[0], RecordEvent::IsolationLost { probe, detail } if probe == "canary" && !detail.contains('\u{1b}')),
        "{events:?}"
    );
    let head = fixture
        .connect_as(AUDIENCE_EGRESS, "allowed.internet.test:443")
        .await;
    assert!(head.starts_with("HTTP/1.1 403 RunEnded"), "{head}");
}

#[tokio::test]
async fn a_view_that_is_not_current_asks_to_come_again() {
    let fixture = Fixture::start().await;
    fixture.rooms.view.set_open(Source::Pods, false);
    let (status, body) = fixture.control(AUDIENCE_COLLECT, "GET /v1/whoami", "").await;
    assert!(status == 425 && body.contains("Stale"), "{status} {body}");
}
