//! One client's connection to one host: requests follow each other, and each is judged before anything of it goes on
//! ([`super::pass`]).

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Stillness};
use super::heads::Heads;
use super::link::{Link, Open};
use super::pool::{Destination, Pool};
use super::stage::Server;
use crate::caller::Caller;
use crate::credentials::placeholder::Marks;
use crate::egress::limits::ConnectionSlot;
use crate::egress::{Decided, Upstream, Upstreams};
use crate::evidence::RequestLog;
use crate::transport::answer;
use crate::transport::in_flight::Flow;
use crate::transport::paced::Paced;
use crate::transport::sockets::CHUNK;
use cofferdam_wire::record::CloseCause;

/// How often what moves is looked at.
const TICK: Duration = Duration::from_secs(15);

/// What a connection is and whose.
pub struct Line {
    /// Who sends the requests.
    pub caller: Caller,
    /// Takes their records.
    pub log: RequestLog,
    /// Opens connections to the host.
    pub upstreams: Arc<Upstreams>,
    /// Has connections to the host that wait.
    pub pool: Arc<Pool>,
    /// The host, as the client named it.
    pub server: Server,
    /// The placeholders that may not go there.
    pub(super) marks: Marks,
    /// The way that was decided about; brought up to date by each request.
    pub(super) decided: Mutex<Decided>,
    /// Its entry to the account of bytes in flight.
    pub(super) flow: Flow,
    pub(super) link: Link,
    pub(super) activity: Arc<Activity>,
    pub(super) requests: AtomicU64,
}

/// What a connection is made of.
pub struct Parts {
    /// Who sends the requests.
    pub caller: Caller,
    /// Takes their records.
    pub log: RequestLog,
    /// Its entry to the account of bytes in flight.
    pub flow: Flow,
    /// The host, as the client named it.
    pub server: Server,
    /// The way to it.
    pub decided: Decided,
    /// The connection to it, where there is one already.
    pub upstream: Option<Upstream>,
}

impl Line {
    /// A connection of these parts.
    pub async fn new(parts: Parts, upstreams: Arc<Upstreams>, pool: Arc<Pool>) -> Arc<Self> {
        let Parts {
            caller,
            log,
            flow,
            server,
            decided,
            upstream,
        } = parts;
        let link = Link::default();
        if let Some(Upstream { stream, address }) = upstream
            && let Ok(open) = Open::begin(Paced::new(stream, &flow), address, &flow).await
        {
            link.offer(open);
        }
        let marks = Marks::of(decided.policy().credentials(), &caller.run.uid, decided.host());
        Arc::new(Self {
            marks,
            caller,
            log,
            upstreams,
            pool,
            server,
            decided: Mutex::new(decided),
            activity: Arc::new(Activity::new(&flow)),
            flow,
            link,
            requests: AtomicU64::new(0),
        })
    }

    /// Serves the requests on a connection until its end, the run's, or the gateway's (`ending`).
    pub async fn serve<I>(self: Arc<Self>, heads: Heads<I>, slot: ConnectionSlot, ending: &CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let judged = heads.reader().judged();
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
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
                _ = ticks.tick() => match self.activity.stillness() {
                    Stillness::Fine => {}
                    Stillness::Unused => std::pin::Pin::new(&mut connection).graceful_shutdown(),
                    Stillness::Stuck => break Some(CloseCause::Idle),
                }
            }
        };
        let flow = self.flow.clone();
        if let Some(cause) = cause {
            // Whatever is under way ends with the connection, at both of its ends, and its record says why.
            self.activity.end(cause);
            drop(connection);
        } else {
            let client = connection.into_parts().io.into_inner().into_stream();
            self.park(ending);
            answer::close(client).await;
        }
        flow.closed();
        drop(slot);
    }

    /// Leaves the connection to the host, where no request is under way on it, to the run's next one.
    fn park(self: Arc<Self>, ending: &CancellationToken) {
        let Some(line) = Arc::into_inner(self) else {
            return;
        };
        if let Some(open) = line.link.part() {
            let to = line.destination();
            line.pool.park(line.caller, to, open, ending);
        }
    }

    /// To whom it leads.
    pub(super) fn destination(&self) -> Destination {
        let decided = self.decided.lock();
        Destination {
            host: decided.host().clone(),
            port: decided.route().port(),
            scheme: self.server.scheme,
        }
    }
}
