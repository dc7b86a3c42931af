//! One request to the upstream server and its answer back, both bodies streamed and counted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Fuse};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::headers::end_to_end;
use super::stage::Recorded;
use crate::transport::paced::Paced;
use crate::transport::sockets::CHUNK;
use cofferdam_wire::denial::DenialCode;

/// Longest time until the answer's head.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);

type BoxBody = UnsyncBoxBody<Bytes, hyper::Error>;
type Driver = Fuse<BoxFuture<'static, ()>>;

/// Bytes of both bodies.
#[derive(Default)]
pub struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counters {
    /// Bytes from the sandbox.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes to the sandbox.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Sends the request to the server behind `stream` and gives back the answer.
pub async fn exchange(
    stream: Paced<TcpStream>,
    recorded: Recorded,
    request: Request<Incoming>,
    counters: Arc<Counters>,
) -> Result<Response<BoxBody>, String> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(CHUNK)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let (parts, body) = request.into_parts();
    let sending_counters = Arc::clone(&counters);
    let body = metered(body, move |length| {
        sending_counters.sent.fetch_add(length, Ordering::Relaxed);
    });
    let outgoing = recorded.outgoing(parts.headers, body);
    // Its error reaches the request or the body that is under way.
    let mut connection: Driver = async move { drop(connection.await) }.boxed().fuse();
    let answer = async {
        let sending = sender.send_request(outgoing);
        tokio::pin!(sending);
        tokio::select! {
            answer = &mut sending => answer,
            () = &mut connection => sending.await,
        }
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer)
        .await
        .map_err(|_| "no answer in 300 s".to_owned())?
        .map_err(|error| error.to_string())?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err("the server changed the protocol unasked".to_owned());
    }
    let (parts, body) = answer.into_parts();
    let body = metered(body, move |length| {
        counters.received.fetch_add(length, Ordering::Relaxed);
    });
    let mut answer = Response::new(Driven { body, connection }.boxed_unsync());
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = end_to_end(parts.headers);
    Ok(answer)
}

/// The body without trailers, its bytes counted.
fn metered(body: Incoming, count: impl Fn(u64) + Send + 'static) -> UnsyncBoxBody<Bytes, hyper::Error> {
    body.map_frame(move |frame| match frame.into_data() {
        Ok(data) => {
            count(data.len() as u64);
            Frame::data(data)
        }
        Err(_) => Frame::data(Bytes::new()),
    })
    .boxed_unsync()
}

/// A body that drives the connection that it comes from, so that both end together and no task is left behind.
struct Driven {
    body: BoxBody,
    connection: Driver,
}

impl Body for Driven {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.body.is_end_stream() {
            let _ = self.connection.poll_unpin(context);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// The answer where the server gave none.
pub fn bad_gateway(error: &str) -> Response<BoxBody> {
    let code = DenialCode::UpstreamFailed;
    let body = Full::new(Bytes::from(format!("cofferdam: {code}: {error}\n")));
    let mut answer = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = code.class().proxy_status();
    answer
}
