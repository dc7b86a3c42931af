//! The run's one upload on its way to the archive: bounded, never held as a whole.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::Request;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, BodyStream};
use hyper::body::Incoming;

use super::answer::{Answer, refusal, with_type};
use crate::caller::Caller;
use crate::denial::Denial;
use crate::evidence::{ArchiveClient, Recorder};
use cofferdam_service::client::Body;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::output::{MANIFEST_LIMIT, UPLOAD_LIMIT};

/// Manifest, line feed and patches.
const LIMIT: u64 = UPLOAD_LIMIT + MANIFEST_LIMIT as u64 + 1;
/// Longest silence of the sandbox within its upload.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Passes the upload to the archive, which decides, and gives back its answer.
pub async fn receive(
    recorder: &Recorder,
    archive: &ArchiveClient,
    caller: &Caller,
    request: Request<Incoming>,
) -> Answer {
    let too_large = || {
        refusal(&Denial::new(
            DenialCode::OutputTooLarge,
            "an upload is at most 64 MiB",
        ))
    };
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if announced
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|length| length > LIMIT)
    {
        return too_large();
    }
    // The records of what the run did are stored before its output.
    recorder.flush(&caller.run.uid).await;
    let exceeded = Arc::new(AtomicBool::new(false));
    let body = Body::stream(bounded(request.into_body(), Arc::clone(&exceeded)));
    let result = tokio::select! {
        result = archive.upload(&caller.run, body) => result,
        _ = caller.cut() => return refusal(&Denial::new(DenialCode::RunEnded, "the pod is gone")),
    };
    if exceeded.load(Ordering::Relaxed) {
        return too_large();
    }
    match result {
        Ok(answer) => with_type(answer.status(), "application/json", answer.into_body()),
        Err(error) => {
            tracing::warn!(run = caller.run.uid, %error, "an upload failed");
            refusal(&Denial::new(DenialCode::ArchiveUnavailable, error.to_string()))
        }
    }
}

/// The body's chunks up to [`LIMIT`]; more is an error, which ends the call to the archive before its end.
fn bounded(body: Incoming, exceeded: Arc<AtomicBool>) -> impl Stream<Item = io::Result<Bytes>> {
    let state = (
        BodyStream::new(body.map_err(io::Error::other)),
        0u64,
        exceeded,
        false,
    );
    futures::stream::unfold(state, |(mut body, read, exceeded, failed)| async move {
        if failed {
            return None;
        }
        let next = tokio::time::timeout(SILENCE_LIMIT, futures::StreamExt::next(&mut body)).await;
        let (item, read) = match next {
            Err(_) => (Err(io::ErrorKind::TimedOut.into()), read),
            Ok(None) => return None,
            Ok(Some(Err(error))) => (Err(error), read),
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                let read = read + data.len() as u64;
                if read > LIMIT {
                    exceeded.store(true, Ordering::Relaxed);
                    (Err(io::Error::other("the upload is too large")), read)
                } else {
                    (Ok(data), read)
                }
            }
        };
        let failed = item.is_err();
        Some((item, (body, read, exceeded, failed)))
    })
}
