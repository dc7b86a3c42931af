//! One request of a connection, from the head that was read to the host's answer.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use http::Response;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as _, Incoming};

use super::betas;
use super::exchange::{Exchange, ExchangeError};
use super::heads::Judged;
use super::line::Line;
use super::link::{Body, Open, Sender};
use super::refusal::{self, Shape};
use super::stage::{Credentialed, Received, Scheme};
use super::until_read::UntilRead;
use crate::admission::within_share;
use crate::caller::Passing;
use crate::credentials::sent::Sent;
use crate::denial::Denial;
use crate::egress::{self, Upstream};
use crate::evidence::RequestLog;
use crate::transport::paced::Paced;
use crate::transport::sockets::UNREAD_BYTES;
use cofferdam_service::http1::{Framing, Head, HeadError};
use cofferdam_wire::denial::DenialCode;

/// Why a request has no answer of the server.
enum Failed {
    /// It is refused, and the record says so.
    Denied(Denial),
    /// The client is to ask again, as it would were there no gateway: the host has ended a connection that was kept, as
    /// it may.
    Gone,
}

/// Where the connection comes from on which a request goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It was opened for this request.
    New,
    /// It has served this client before.
    Kept,
    /// It has served another connection of the run.
    Waited,
}

impl Line {
    /// The answer to the request that the library serves now.
    pub(super) async fn answer(&self, judged: &Judged, body: Incoming) -> Result<Response<Body>, io::Error> {
        self.activity.moved();
        self.activity.set_busy(true);
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
                self.activity.set_busy(false);
                Ok(self.refusal(&denial, head.as_ref().ok()))
            }
            Err(Failed::Gone) => Err(io::Error::other("the host closed the connection")),
        }
    }

    /// From a head that was read to the server's answer, stage by stage.
    async fn pass(&self, head: &Head, body: Incoming, mut log: RequestLog) -> Result<Response<Body>, Failed> {
        let unread = self.flow.hold(UNREAD_BYTES);
        let permitted = within_share(&unread, self.permitted(head, &mut log)).await;
        let deny = |denial: Denial| {
            log.denied(&denial);
            Failed::Denied(denial)
        };
        let permitted = permitted.map_err(deny)?;
        let connection = within_share(&unread, self.connection(&permitted)).await;
        let (sender, origin) = connection.map_err(deny)?;
        let credential = permitted.credential();
        let recorded = permitted.record(&log, sender.address);
        let exchange = Exchange::new(log, Arc::clone(&self.activity));
        let outgoing = recorded.outgoing(head, exchange.sending(body));
        let exchanging = self.exchange(&exchange, (sender, origin), outgoing, credential.as_deref());
        let exchanged = within_share(&unread, exchanging.map(Ok)).await;
        let (answer, sender) = exchanged.map_err(|denial| {
            exchange.denied(&denial);
            Failed::Denied(denial)
        })?;
        match answer {
            Ok(answer) => {
                if let Some(credential) = &credential {
                    let (run, status) = (&self.caller.run, answer.status());
                    let answers = &self.upstreams.credentials.answers;
                    answers.note(credential.name(), credential.value(), run, status, Instant::now());
                }
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
            Err(error) if origin == Origin::Kept && error.is_of_a_closed_connection() => Err(Failed::Gone),
            Err(error) => {
                let denial = Denial::new(error.code(), error.to_string());
                if denial.code == DenialCode::CredentialEchoed {
                    exchange.denied(&denial);
                }
                Err(Failed::Denied(denial))
            }
        }
    }

    /// The answer, and the connection on which it comes.
    ///
    /// A connection that is not new may have been closed by the host in this very moment. Then what was not sent, or may be
    /// sent twice, is sent again, to the address of which the record says that it goes there.
    async fn exchange(
        &self,
        exchange: &Arc<Exchange>,
        (mut sender, origin): (Sender, Origin),
        outgoing: http::Request<Body>,
        credential: Option<&Sent>,
    ) -> (Result<Response<Body>, ExchangeError>, Sender) {
        let again = if origin == Origin::New {
            None
        } else {
            repeatable(&outgoing)
        };
        let answer = exchange.run(&mut sender, outgoing, credential).await;
        let outgoing = match (answer, again) {
            (Err(ExchangeError::Unsent(unsent)), _) if origin != Origin::New => *unsent,
            (Err(error), Some(again)) if error.is_of_a_closed_connection() => again,
            (answer, _) => return (answer, sender),
        };
        match self.reopen(&sender).await {
            Some(mut sender) => (exchange.run(&mut sender, outgoing, credential).await, sender),
            None => (Err(ExchangeError::Unsent(Box::new(outgoing))), sender),
        }
    }

    /// The request, once it has one meaning, its turn has come, every layer of policy allows it, and the credential that it
    /// gets is at hand.
    async fn permitted(&self, head: &Head, log: &mut RequestLog) -> Result<Credentialed, Denial> {
        let received = Received::read(head, &self.server)?;
        log.set_request(received.request());
        self.upstreams.turn(&self.caller).await?;
        let (permitted, policy) = {
            let mut decided = self.decided.lock();
            let policy = Arc::clone(decided.policy());
            if let Some(credential) = self.marks.leaked(head) {
                let message = format!(
                    "the request carries the placeholder of credential {credential} to {}, to which that never goes",
                    decided.host()
                );
                return Err(Denial::new(DenialCode::PlaceholderLeaked, message));
            }
            (received.permit(&self.caller, &mut decided)?, policy)
        };
        let credentialed = permitted
            .credentialed(&self.upstreams, &policy, &self.caller.run, self.server.scheme)
            .await?;
        if credentialed.credential().is_some() {
            betas::check(head)?;
        }
        Ok(credentialed)
    }

    /// A connection to the host, and where it comes from.
    async fn connection(&self, permitted: &Credentialed) -> Result<(Sender, Origin), Denial> {
        if let Some(sender) = self.link.take().await
            && self.is_still_its(sender.address).await
        {
            return Ok((sender, Origin::Kept));
        }
        let way = self.decided.lock().route().clone();
        let passing = Passing::Request(permitted.request().clone());
        while let Some(open) = self.pool.take(&self.caller, &self.destination()) {
            // What was checked when it was opened is checked again: policies and the cluster's addresses change.
            if self.upstreams.is_permitted(&way, open.address()).await {
                egress::note(&self.caller, &way, open.address(), passing)?;
                let sender = self.link.adopt(open);
                self.activity.goes_through(&sender.flow);
                return Ok((sender, Origin::Waited));
            }
        }
        let upstream = self.upstreams.reach(&self.caller, &way, passing).await?;
        Ok((self.begin(upstream).await?, Origin::New))
    }

    /// Whether an address is the host's still: a Service may be gone, or another one of its name have come.
    async fn is_still_its(&self, address: SocketAddr) -> bool {
        let of_service = {
            let decided = self.decided.lock();
            let route = decided.route();
            route.service().map(|_| route.clone())
        };
        match of_service {
            Some(way) => self.upstreams.is_permitted(&way, address).await,
            None => true,
        }
    }

    /// Another connection to the same address, of which it is noted already what passes; `None`: there is none any more.
    async fn reopen(&self, closed: &Sender) -> Option<Sender> {
        let way = self.decided.lock().route().clone();
        let reaching = self.upstreams.reach_again(&self.caller, &way, closed.address);
        self.begin(reaching.await?).await.ok()
    }

    /// Begins HTTP, inside TLS where the host speaks it.
    async fn begin(&self, Upstream { stream, address }: Upstream) -> Result<Sender, Denial> {
        let stream = Paced::new(stream, &self.flow);
        let opened = match self.server.scheme {
            Scheme::Http => Open::begin(stream, address, &self.flow).await,
            Scheme::Https => {
                let host = self.decided.lock().host().clone();
                let stream = self.upstreams.tls.connect(&host, stream).await?;
                Open::begin(stream, address, &self.flow).await
            }
        };
        let open = opened.map_err(|error| Denial::new(DenialCode::UpstreamFailed, error))?;
        Ok(self.link.adopt(open))
    }

    fn refusal(&self, denial: &Denial, head: Option<&Head>) -> Response<Body> {
        let path = head.map_or("", |head| head.target.as_str());
        let host = self.decided.lock().host().clone();
        let shape = Shape::of(host.as_str(), path);
        // A body that nobody reads is not to be taken for the next request.
        let closes = head.is_none_or(|head| head.framing != Framing::Bytes(0));
        let answer = refusal::answer(denial, shape, self.server.scheme, closes);
        answer.map(|body| whole(Full::new(body)))
    }
}

fn whole(body: impl hyper::body::Body<Data = Bytes, Error = Infallible> + Send + 'static) -> Body {
    body.map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The same request once more, where a host that gets it twice does what it does of one (RFC 9110, section 9.2.2), and
/// nothing of a body is lost.
fn repeatable(request: &http::Request<Body>) -> Option<http::Request<Body>> {
    let is_safe = request.method().is_safe() && request.body().is_end_stream();
    is_safe.then(|| {
        let mut again = http::Request::new(whole(Empty::new()));
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.headers_mut() = request.headers().clone();
        again
    })
}
