//! Requests that are read on their way: in absolute form, in clear text inside a tunnel, and inside TLS that ends here.
//! All go one way: [`line::Line`].

use std::sync::Arc;

use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Admitted, within_share};
use crate::denial::Denial;
use crate::egress::{Decided, Upstream, Upstreams, authority};
use crate::inspect;
use crate::transport;
use crate::transport::paced::Paced;
use crate::transport::prefixed::Prefixed;
use cofferdam_service::http1::Head;

use self::heads::Heads;
use self::line::Line;
use self::stage::{Form, Received, Scheme, Server, authority_and_path};

pub use self::stage::is_absolute;

mod exchange;
mod headers;
mod heads;
mod line;
mod link;
mod refusal;
mod stage;

/// Serves requests that are read.
pub struct Requests {
    /// Admits those in absolute form.
    pub admission: Arc<Admission>,
    /// Opens the connections to their hosts.
    pub upstreams: Arc<Upstreams>,
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
                let Admitted {
                    stream,
                    head,
                    caller,
                    log,
                    slot,
                    flow,
                    unread,
                } = admitted;
                drop(unread);
                let server = absolute(&head);
                let upstreams = Arc::clone(&self.upstreams);
                let line = Line::new(caller, log, upstreams, server, decided, (&flow, None)).await;
                let heads = Heads::once(head, Paced::new(stream, &flow));
                Box::pin(line.serve(heads, slot, &self.ending)).await;
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
        let Admitted {
            stream,
            head,
            caller,
            log,
            slot,
            flow,
            unread,
        } = admitted;
        drop(unread);
        let server = Server {
            authority: head.target,
            scheme: Scheme::Http,
            form: Form::Origin,
        };
        let upstreams = Arc::clone(&self.upstreams);
        let line = Line::new(caller, log, upstreams, server, decided, (&flow, upstream)).await;
        let heads = Heads::new(received, Paced::new(stream, &flow));
        Box::pin(line.serve(heads, slot, &self.ending)).await;
    }

    /// Serves the requests inside the TLS of a tunnel, of which `hello` has come already.
    pub async fn serve_tls(
        &self,
        admitted: Admitted,
        (config, hello): (Arc<ServerConfig>, Vec<u8>),
        decided: Decided,
    ) {
        let Admitted {
            stream,
            head,
            caller,
            log,
            slot,
            flow,
            unread,
        } = admitted;
        let client = Prefixed::new(hello, Paced::new(stream, &flow));
        let accepted = tokio::select! {
            accepted = within_share(&unread, inspect::accept(config, client)) => accepted,
            cause = caller.cut() => Err(cause.denial()),
        };
        drop(unread);
        let client = match accepted {
            Ok(client) => client,
            Err(denial) => return log.denied(&denial),
        };
        let server = Server {
            authority: head.target,
            scheme: Scheme::Https,
            form: Form::Origin,
        };
        let upstreams = Arc::clone(&self.upstreams);
        let line = Line::new(caller, log, upstreams, server, decided, (&flow, None)).await;
        line.serve(Heads::new(Vec::new(), client), slot, &self.ending)
            .await;
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
