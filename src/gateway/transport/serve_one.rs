//! An HTTP server for the one request of a connection.

use std::future::Future;
use std::io;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use cofferdam_service::http1::HEAD_LIMIT;

use super::prefixed::Prefixed;

/// Bounds the library's reading of a head that was read before.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves one request with `answer` and closes: bytes after it are nobody's second request.
pub async fn serve_one<I, A, F, B>(stream: Prefixed<I>, answer: A)
where
    I: AsyncRead + AsyncWrite + Unpin,
    A: FnOnce(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let answer = Mutex::new(Some(answer));
    let service = service_fn(|request| {
        let answering = answer.lock().take().map(|answer| answer(request));
        async move {
            match answering {
                Some(answering) => Ok(answering.await),
                None => Err(io::Error::other("one request a connection")),
            }
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_LIMIT * 4)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}
