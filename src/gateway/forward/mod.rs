//! Requests that are read on their way: in absolute form, in clear text inside a tunnel, and inside TLS that ends here.
//! All go one way: [`line::Line`].

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Admitted, within_share};
use crate::denial::Denial;
use crate::egress::limits::ConnectionSlot;
use crate::egress::{Decided, Upstream, Upstreams, authority, unless_cut};
use crate::inspect;
use crate::transport;
use crate::transport::in_flight::Held;
use crate::transport::paced::Paced;
use crate::transport::prefixed::prefixed;
use cofferdam_service::http1::Head;

use self::heads::Heads;
use self::line::{Line, Parts};
use self::pool::Pool;
use self::stage::{Form, Received, Scheme, Server, authority_and_path};

pub use self::stage::is_absolute;

mod activity;
mod betas;
mod exchange;
mod headers;
mod heads;
mod line;
mod link;
mod pass;
pub mod pool;
mod refusal;
mod stage;
mod until_read;

/// Serves requests that are read.
pub struct Requests {
    /// Admits those in absolute form.
    pub admission: Arc<Admission>,
    /// Opens the connections to their hosts.
    pub upstreams: Arc<Upstreams>,
    /// Has connections to hosts that wait.
    pub pool: Arc<Pool>,
    /// The gateway ends: connections serve the request that is under way and no other.
    pub ending: CancellationToken,
}

impl Requests {
    /// Serves one request in absolute form: the next one on its connection might be for another host.
    pub async fn serve_absolute(&self, received: transport::Received) {
        let Some(mut admitted) = self.admission.admit(received, authority_of).await else {
            return;
        };
        match self.decide(&mut admitted).await {
            Ok(decided) => {
                let server = absolute(&admitted.head);
                let Opened {
                    stream,
                    head,
                    slot,
                    unread,
                    line,
                } = Opened::of(admitted, server, decided, None);
                drop(unread);
                let heads = heads::one_request(head, Paced::new(stream, &line.flow));
                self.serve(line, heads, slot).await;
            }
            Err(denial) => admitted.refuse(&denial).await,
        }
    }

    async fn decide(&self, admitted: &mut Admitted) -> Result<Decided, Denial> {
        let server = absolute(&admitted.head);
        let (host, port) = authority::parse(&server.authority, Some(80))?;
        let received = Received::read(&admitted.head, &server)?;
        admitted.log.set_request(received.request());
        let deciding = self.upstreams.decide(&admitted.caller, &host, port);
        admitted.within_share(deciding).await
    }

    /// Serves the requests that a client sends in clear text through the tunnel that it had opened: Node's `fetch` and
    /// others ask so for `http://` URLs. `received` is what came of them already; `upstream` is the connection to the host,
    /// where the tunnel has one.
    pub async fn serve_clear(
        &self,
        admitted: Admitted,
        received: Vec<u8>,
        decided: Decided,
        upstream: Option<Upstream>,
    ) {
        let server = tunnelled(&admitted.head, Scheme::Http);
        let opened = Opened::of(admitted, server, decided, upstream);
        drop(opened.unread);
        let heads = heads::requests(received, Paced::new(opened.stream, &opened.line.flow));
        self.serve(opened.line, heads, opened.slot).await;
    }

    /// Serves the requests inside the TLS of a tunnel, of which `hello` has come already.
    pub async fn serve_tls(
        &self,
        admitted: Admitted,
        (config, hello): (Arc<ServerConfig>, Vec<u8>),
        decided: Decided,
    ) {
        let server = tunnelled(&admitted.head, Scheme::Https);
        let opened = Opened::of(admitted, server, decided, None);
        let client = prefixed(hello, Paced::new(opened.stream, &opened.line.flow));
        let accepting = within_share(&opened.unread, inspect::accept(config, client));
        let accepted = unless_cut(&opened.line.caller, accepting).await;
        drop(opened.unread);
        match accepted {
            Ok(client) => {
                let heads = heads::requests(Vec::new(), client);
                self.serve(opened.line, heads, opened.slot).await;
            }
            Err(denial) => opened.line.log.denied(&denial),
        }
    }

    /// Serves what is read, whatever it comes through.
    async fn serve<I>(&self, line: Parts, heads: Heads<I>, slot: ConnectionSlot)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let line = Line::new(line, Arc::clone(&self.upstreams), Arc::clone(&self.pool)).await;
        Box::pin(line.serve(heads, slot, &self.ending)).await;
    }
}

/// An admitted connection whose requests are going to be read.
struct Opened {
    stream: TcpStream,
    head: Head,
    slot: ConnectionSlot,
    /// What waits while it is not read.
    unread: Held,
    line: Parts,
}

impl Opened {
    fn of(admitted: Admitted, server: Server, decided: Decided, upstream: Option<Upstream>) -> Self {
        let Admitted {
            stream,
            head,
            caller,
            log,
            slot,
            flow,
            unread,
        } = admitted;
        Self {
            stream,
            head,
            slot,
            unread,
            line: Parts {
                caller,
                log,
                flow,
                server,
                decided,
                upstream,
            },
        }
    }
}

/// The host of a tunnel.
fn tunnelled(head: &Head, scheme: Scheme) -> Server {
    Server {
        authority: head.target.clone(),
        scheme,
        form: Form::Origin,
    }
}

fn absolute(head: &Head) -> Server {
    Server {
        authority: authority_of(&head.target).to_owned(),
        scheme: Scheme::Http,
        form: Form::Absolute,
    }
}

fn authority_of(target: &str) -> &str {
    authority_and_path(target).0
}
