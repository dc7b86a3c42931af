//! The sidecar's report that it saw a hole in the fence.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::answer::{Answer, empty, refusal};
use crate::caller::{Caller, View};
use crate::denial::{Denial, printable};
use crate::evidence::Recorder;
use cofferdam_wire::control::IsolationLost;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::{RecordEvent, RequestId};

/// Longest report in bytes.
const BODY_LIMIT: usize = 16 * 1024;
/// Longest time until the report was read.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Closes the run's egress, whatever the report says, and records it.
pub async fn receive(
    view: &View,
    recorder: &Recorder,
    caller: &Caller,
    id: RequestId,
    request: Request<Incoming>,
) -> Answer {
    let reading = Limited::new(request.into_body(), BODY_LIMIT).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, reading).await;
    // The call alone closes the egress: the sidecar made it.
    view.lose_isolation(&caller.pod_uid);
    let lost = match body {
        Ok(Ok(body)) => serde_json::from_slice::<IsolationLost>(&body.to_bytes()).ok(),
        _ => None,
    };
    let is_readable = lost.is_some();
    let lost = lost.unwrap_or_else(|| IsolationLost {
        probe: "unknown".to_owned(),
        detail: "the report could not be read".to_owned(),
    });
    let (probe, detail) = (printable(&lost.probe), printable(&lost.detail));
    tracing::warn!(run = caller.run.uid, probe, "isolation lost");
    let event = RecordEvent::IsolationLost { probe, detail };
    recorder.record(&caller.run.uid, Some(id), event);
    if is_readable {
        empty(StatusCode::NO_CONTENT)
    } else {
        let message = "the report could not be read; the run's egress is closed";
        refusal(&Denial::new(DenialCode::BadRequest, message))
    }
}
