//! One client's connection to one host: requests follow each other, and each is judged before anything of it goes on.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::exchange::{Exchange, ExchangeError};
use super::heads::{Heads, Judged};
use super::link::{Body, Link, Sender};
use super::refusal::{self, Shape};
use super::stage::{Permitted, Received, Scheme, Server};
use crate::caller::{Caller, Passing};
use crate::denial::Denial;
use crate::egress::limits::ConnectionSlot;
use crate::egress::{Decided, Upstream, Upstreams};
use crate::evidence::RequestLog;
use crate::transport::answer;
use crate::transport::in_flight::Flow;
use crate::transport::paced::Paced;
use crate::transport::sockets::{CHUNK, UNREAD_BYTES};
use cofferdam_service::http1::{Framing, Head, HeadError};
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::CloseCause;

/// A connection without a request is ended after so long.
const KEEP_ALIVE: Duration = Duration::from_mins(2);
/// A request in which nothing moves is ended; models may think for long before their first byte.
const IDLE_LIMIT: Duration = Duration::from_mins(30);
/// How often both are looked at.
const TICK: Duration = Duration::from_secs(15);

/// What the connection is and whose.
pub struct Line {
    /// Who sends the requests.
    pub caller: Caller,
    /// Takes their records.
    pub log: RequestLog,
    /// Opens connections to the host.
    pub upstreams: Arc<Upstreams>,
    /// The host, as the client named it.
    pub server: Server,
    /// The way that was decided about; brought up to date by each request.
    decided: Mutex<Decided>,
    flow: Flow,
    link: Link,
    activity: Arc<Activity>,
    requests: AtomicU64,
}

/// What moves on a connection, and why it ended.
pub struct Activity {
    start: Instant,
    moved_at: AtomicU64,
    is_busy: AtomicBool,
    cause: OnceLock<CloseCause>,
    flow: Flow,
}

impl Activity {
    /// Something moved now.
    pub fn moved(&self) {
        self.moved_at
            .store(self.start.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Why what is under way ends.
    pub fn cause(&self) -> CloseCause {
        let cause = self.cause.get().copied();
        cause.or_else(|| self.flow.ended()).unwrap_or(CloseCause::Ended)
    }

    fn still_for(&self) -> Duration {
        let moved_at = Duration::from_secs(self.moved_at.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(moved_at)
    }
}

impl Line {
    /// A connection of `caller` to the host of `decided`; `upstream` is the connection to it, where there is one already.
    pub async fn new(
        caller: Caller,
        log: RequestLog,
        upstreams: Arc<Upstreams>,
        server: Server,
        decided: Decided,
        (flow, upstream): (&Flow, Option<Upstream>),
    ) -> Arc<Self> {
        let link = Link::default();
        if let Some(Upstream { stream, address }) = upstream
            && let Ok(sender) = link.open(Paced::new(stream, flow), address).await
        {
            link.give_back(sender);
        }
        Arc::new(Self {
            caller,
            log,
            upstreams,
            server,
            decided: Mutex::new(decided),
            flow: flow.clone(),
            link,
            activity: Arc::new(Activity {
                start: Instant::now(),
                moved_at: AtomicU64::new(0),
                is_busy: AtomicBool::new(false),
                cause: OnceLock::new(),
                flow: flow.clone(),
            }),
            requests: AtomicU64::new(0),
        })
    }

    /// Serves the requests on a connection until its end, the run's, or the gateway's (`ending`).
    pub async fn serve<I>(self: Arc<Self>, heads: Heads<I>, slot: ConnectionSlot, ending: &CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let judged = heads.judged();
        let this = Arc::clone(&self);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (this, judged) = (Arc::clone(&this), judged.clone());
            async move { this.answer(&judged, request.into_body()).await }.boxed()
        });
        let mut connection = Builder::new()
            .max_buf_size(CHUNK)
            .header_read_timeout(None)
            // An answer is the server's.
            .auto_date_header(false)
            .serve_connection(TokioIo::new(heads), service);
        let mut ticks = tokio::time::interval(TICK);
        let mut is_ending = false;
        let cause = loop {
            tokio::select! {
                biased;
                cause = self.caller.cut() => break Some(cause.into()),
                served = poll_fn(|context| connection.poll_without_shutdown(context)) => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection ended early");
                        break Some(self.activity.cause());
                    }
                    break None;
                }
                _ = self.link.drive() => {}
                () = ending.cancelled(), if !is_ending => {
                    is_ending = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                _ = ticks.tick() => {
                    let (still, is_busy) = (self.activity.still_for(), self.activity.is_busy.load(Ordering::Relaxed));
                    if is_busy && still >= IDLE_LIMIT {
                        break Some(CloseCause::Idle);
                    }
                    if !is_busy && still >= KEEP_ALIVE {
                        Pin::new(&mut connection).graceful_shutdown();
                    }
                }
            }
        };
        if let Some(cause) = cause {
            // Whatever is under way ends with the connection, at both of its ends, and its record says why.
            let _ = self.activity.cause.set(cause);
            drop(connection);
        } else {
            answer::close(connection.into_parts().io.into_inner().into_stream()).await;
        }
        self.flow.closed();
        drop(slot);
    }

    async fn answer(&self, judged: &Judged, body: Incoming) -> Result<Response<Body>, io::Error> {
        self.activity.moved();
        self.activity.is_busy.store(true, Ordering::Relaxed);
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let mut log = self.log.of_request(number);
        let head = judged.next().unwrap_or(Err(HeadError::Ended));
        let answered = match &head {
            Ok(head) => {
                log.set_method(&head.method);
                self.pass(head, body, log).await
            }
            Err(error) => {
                let denial = Denial::new(DenialCode::BadRequest, error.to_string());
                log.denied(&denial);
                Err(Failed::Denied(denial))
            }
        };
        match answered {
            Ok(answer) => Ok(answer),
            Err(Failed::Denied(denial)) => {
                self.activity.is_busy.store(false, Ordering::Relaxed);
                Ok(self.refusal(&denial, head.as_ref().ok()))
            }
            Err(Failed::Gone) => Err(io::Error::other("the host closed the connection")),
        }
    }

    /// From a head that was read to the server's answer, stage by stage.
    async fn pass(&self, head: &Head, body: Incoming, mut log: RequestLog) -> Result<Response<Body>, Failed> {
        let unread = self.flow.hold(UNREAD_BYTES);
        let passing = async {
            let permitted = match self.permitted(head, &mut log).await {
                Ok(permitted) => permitted,
                Err(denial) => return Err((denial, log)),
            };
            let (mut sender, is_reused) = match self.connection(&permitted).await {
                Ok(connection) => connection,
                Err(denial) => return Err((denial, log)),
            };
            let recorded = permitted.record(&log, sender.address);
            let exchange = Exchange::new(log, Arc::clone(&self.activity));
            let outgoing = recorded.outgoing(head, exchange.sending(body));
            let answer = exchange.run(&mut sender, outgoing).await;
            Ok((answer, exchange, sender, is_reused))
        };
        let passed = tokio::select! {
            passed = passing => passed,
            () = unread.evicted() => {
                let message = "the run's connections hold more of the gateway's memory than its share: read from those that are open";
                return Err(Failed::Denied(Denial::new(DenialCode::LimitExceeded, message)));
            }
        };
        let (answer, exchange, sender, is_reused) = match passed {
            Ok(passed) => passed,
            Err((denial, log)) => {
                log.denied(&denial);
                return Err(Failed::Denied(denial));
            }
        };
        match answer {
            Ok(answer) => {
                self.link.give_back(sender);
                let activity = Arc::clone(&self.activity);
                Ok(answer.map(|body| {
                    UntilRead {
                        body,
                        exchange,
                        activity,
                    }
                    .boxed_unsync()
                }))
            }
            // The host has ended a connection that was kept, as it may: the client asks again, as it would without us.
            Err(ExchangeError::Connection(error)) if is_reused && error.is_incomplete_message() => {
                Err(Failed::Gone)
            }
            Err(error) => {
                let code = match error {
                    ExchangeError::Timeout => DenialCode::UpstreamTimeout,
                    ExchangeError::Switched | ExchangeError::Connection(_) => DenialCode::UpstreamFailed,
                };
                Err(Failed::Denied(Denial::new(code, error.to_string())))
            }
        }
    }

    /// The request, once it has one meaning, its turn has come and every layer of policy allows it.
    async fn permitted(&self, head: &Head, log: &mut RequestLog) -> Result<Permitted, Denial> {
        let received = Received::read(head, &self.server)?;
        log.set_request(received.request());
        self.upstreams.turn(&self.caller.run).await?;
        received.permit(&self.caller, &mut self.decided.lock())
    }

    /// A connection to the host, and whether it has served requests before.
    async fn connection(&self, permitted: &Permitted) -> Result<(Sender, bool), Denial> {
        if let Some(sender) = self.link.take().await {
            return Ok((sender, true));
        }
        let passing = Passing::Request(permitted.request().clone());
        let way = self.decided.lock().route().clone();
        let Upstream { stream, address } = self.upstreams.reach(&self.caller, &way, passing).await?;
        let stream = Paced::new(stream, &self.flow);
        let opened = match self.server.scheme {
            Scheme::Http => self.link.open(stream, address).await,
            Scheme::Https => {
                let stream = self.upstreams.tls.connect(way.host(), stream).await?;
                self.link.open(stream, address).await
            }
        };
        let sender = opened.map_err(|error| Denial::new(DenialCode::UpstreamFailed, error))?;
        Ok((sender, false))
    }

    fn refusal(&self, denial: &Denial, head: Option<&Head>) -> Response<Body> {
        let path = head.map_or("", |head| head.target.as_str());
        let host = self.decided.lock().host().clone();
        let shape = Shape::of(host.as_str(), path);
        // A body that nobody reads is not to be taken for the next request.
        let closes = head.is_none_or(|head| head.framing != Framing::Bytes(0));
        let answer = refusal::answer(denial, shape, self.server.scheme, closes);
        answer.map(|body| {
            Full::new(body)
                .map_err(|never: Infallible| match never {})
                .boxed_unsync()
        })
    }
}

/// Why a request has no answer of the server.
enum Failed {
    /// It is refused, and the record says so.
    Denied(Denial),
    /// The client is to ask again.
    Gone,
}

/// An answer's body, with the exchange that it ends.
struct UntilRead {
    body: Body,
    /// Its record is written when this is dropped.
    #[expect(dead_code, reason = "held until the body has been read, or is given up")]
    exchange: Arc<Exchange>,
    activity: Arc<Activity>,
}

impl Drop for UntilRead {
    fn drop(&mut self) {
        self.activity.is_busy.store(false, Ordering::Relaxed);
    }
}

impl hyper::body::Body for UntilRead {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
