//! One request to the server and its answer back, both bodies streamed and counted.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;
use hyper::ext::ReasonPhrase;

use super::activity::Activity;
use super::headers::end_to_end;
use super::link::{Body, Sender};
use crate::credentials::sent::Sent;
use crate::denial::Denial;
use crate::evidence::RequestLog;
use cofferdam_wire::denial::DenialCode;

/// Longest time until the answer's head.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);

/// A request that was let through, until its answer has ended: then there is a record of it.
pub struct Exchange {
    log: RequestLog,
    activity: Arc<Activity>,
    sent: AtomicU64,
    received: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The server says nothing.
    #[error("no answer in 300 s")]
    Timeout,
    /// The server says something else.
    #[error("the server changed the protocol unasked")]
    Switched,
    /// The server sends the credential back.
    #[error("the server sent credential {0} back in the head of its answer ({1}), which is not passed on")]
    Echoed(String, String),
    /// The connection.
    #[error("{0}")]
    Connection(hyper::Error),
    /// The connection was closed before the request was sent.
    #[error("the host closed the connection before the request was sent")]
    Unsent(Box<Request<Body>>),
}

impl ExchangeError {
    /// What the client is told.
    pub const fn code(&self) -> DenialCode {
        match self {
            Self::Timeout => DenialCode::UpstreamTimeout,
            Self::Switched | Self::Connection(_) | Self::Unsent(_) => DenialCode::UpstreamFailed,
            Self::Echoed(..) => DenialCode::CredentialEchoed,
        }
    }

    /// Whether the host closed the connection before anything of an answer came.
    pub fn is_of_a_closed_connection(&self) -> bool {
        match self {
            Self::Connection(error) => {
                error.is_incomplete_message() || error.is_canceled() || is_broken(error)
            }
            Self::Unsent(_) => true,
            Self::Timeout | Self::Switched | Self::Echoed(..) => false,
        }
    }
}

impl Exchange {
    /// Of a request of which `log` says that it goes out.
    pub fn new(log: RequestLog, activity: Arc<Activity>) -> Arc<Self> {
        Arc::new(Self {
            log,
            activity,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        })
    }

    fn count(&self, counter: &AtomicU64, bytes: u64) {
        counter.fetch_add(bytes, Ordering::Relaxed);
        self.activity.moved();
    }

    /// The body that goes out, counted.
    pub fn sending(self: &Arc<Self>, body: Incoming) -> Body {
        let this = Arc::clone(self);
        without_trailers(body, move |bytes| this.count(&this.sent, bytes))
    }

    /// Records that the answer of a request which was let through is not passed on.
    pub fn denied(&self, denial: &Denial) {
        self.log.denied(denial);
    }

    /// Sends the request and gives back the answer; the sender has the next request when the answer has been read.
    /// `credential` is what the request was given.
    pub async fn run(
        self: &Arc<Self>,
        sender: &mut Sender,
        outgoing: Request<Body>,
        credential: Option<&Sent>,
    ) -> Result<Response<Body>, ExchangeError> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, sender.requests.try_send_request(outgoing))
            .await
            .map_err(|_| ExchangeError::Timeout)?
            .map_err(failed)?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ExchangeError::Switched);
        }
        let (mut parts, body) = answer.into_parts();
        if let Some(credential) = credential {
            let reason = parts.extensions.get::<ReasonPhrase>();
            if let Some(place) = credential.echoed_in(&parts.headers, reason.map(ReasonPhrase::as_bytes)) {
                return Err(ExchangeError::Echoed(credential.name().to_owned(), place));
            }
            // A session that the host opens for the credential would be another credential.
            parts.headers.remove(SET_COOKIE);
        }
        let this = Arc::clone(self);
        let body = without_trailers(body, move |bytes| this.count(&this.received, bytes));
        let mut answer = Response::new(body);
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = end_to_end(parts.headers);
        if let Some(reason) = parts.extensions.remove::<ReasonPhrase>() {
            answer.extensions_mut().insert(reason);
        }
        Ok(answer)
    }
}

/// Whether the connection ended without TLS's own end, or with a reset.
fn is_broken(error: &hyper::Error) -> bool {
    let inner = error.source().and_then(|inner| inner.downcast_ref::<io::Error>());
    inner.is_some_and(|inner| {
        matches!(
            inner.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        )
    })
}

fn failed(mut error: TrySendError<Request<Body>>) -> ExchangeError {
    match error.take_message() {
        Some(unsent) => ExchangeError::Unsent(Box::new(unsent)),
        None => ExchangeError::Connection(error.into_error()),
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let (sent, received) = (
            self.sent.load(Ordering::Relaxed),
            self.received.load(Ordering::Relaxed),
        );
        self.log.closed(sent, received, self.activity.cause());
    }
}

/// The body without trailers, its bytes counted.
fn without_trailers(body: Incoming, count: impl Fn(u64) + Send + 'static) -> Body {
    Counted { body, count }.boxed_unsync()
}

struct Counted<C> {
    body: Incoming,
    count: C,
}

// The counter is called by reference, and the body is one that may be moved.
impl<C> Unpin for Counted<C> {}

impl<C: Fn(u64)> hyper::body::Body for Counted<C> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    (self.count)(data.len() as u64);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Ok(Err(_trailers))) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
