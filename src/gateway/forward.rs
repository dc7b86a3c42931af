//! Absolute-form requests: plain HTTP to hosts whose rules list the port.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Fuse};
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Gateway;
use super::answer;
use super::authority;
use super::denial::{Denial, printable};
use super::exit::{self, Asked, Exit};
use super::head::Head;
use super::headers::end_to_end;
use super::identity;
use super::limits::Silent;
use super::prefixed::{Prefixed, serve_one};
use super::view::Admission;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::CloseCause;

/// Longest time until the answer's head.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);

type BoxBody = UnsyncBoxBody<Bytes, hyper::Error>;
type Driver = Fuse<BoxFuture<'static, ()>>;

/// Whether `target` is in absolute form with the one scheme that is served.
pub fn is_absolute(target: &str) -> bool {
    target
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
}

/// Serves one absolute-form request.
pub async fn serve(gateway: Arc<Gateway>, stream: TcpStream, head: Head, peer: IpAddr, silent: Silent) {
    let admission = match identity::admit(&gateway, &head, peer).await {
        Ok(admission) => admission,
        Err(denial) => {
            tracing::info!(%peer, code = %denial.code, request = printable(&head.target), "caller refused");
            return answer::refuse(stream, &denial).await;
        }
    };
    let id = gateway.recorder.request_id(silent.number());
    drop(silent);
    let asked = Asked::new(id, authority_of(&head.target), &head.method);
    match open(&gateway, &admission, &head).await {
        Ok((origin, exit)) => pass(&gateway, &admission, &asked, stream, head, origin, exit).await,
        Err(denial) => {
            asked.denied(&gateway, &admission, &denial);
            answer::refuse(stream, &denial).await;
        }
    }
}

/// The path with its query, and the value of `Host` for the server.
struct Origin {
    path: Uri,
    host: HeaderValue,
}

async fn open(gateway: &Gateway, admission: &Admission, head: &Head) -> Result<(Origin, Exit), Denial> {
    let place = exit::enter(gateway, admission)?;
    let authority = authority_of(&head.target);
    let (host, port) = authority::parse(authority, Some(80))?;
    refuse_other_meanings(head, authority)?;
    let path = head.target.get(7 + authority.len()..).unwrap_or_default();
    let origin = Origin {
        path: path_of(path)?,
        host: HeaderValue::from_str(&authority.to_ascii_lowercase())
            .map_err(|_| Denial::new(DenialCode::HostInvalid, "the host is not a header's value"))?,
    };
    let exit = exit::open(gateway, admission, place, &host, port).await?;
    Ok((origin, exit))
}

fn authority_of(target: &str) -> &str {
    let rest = target.get(7..).unwrap_or_default();
    rest.split(['/', '?', '#', '\\']).next().unwrap_or_default()
}

fn path_of(path: &str) -> Result<Uri, Denial> {
    let invalid = || Denial::new(DenialCode::RequestInvalid, "the path is not one");
    // A fragment is never sent, and a backslash is a slash to some servers and not to others.
    if path.contains(['#', '\\']) || !path.is_ascii() {
        return Err(invalid());
    }
    let path = match path {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    path.parse().map_err(|_| invalid())
}

/// One meaning only: the `Host` header repeats the authority, nothing is upgraded, the method is an ordinary one.
fn refuse_other_meanings(head: &Head, authority: &str) -> Result<(), Denial> {
    let invalid = |message: &'static str| Err(Denial::new(DenialCode::RequestInvalid, message));
    let same_host = |value: &str| {
        let bare = |text: &str| text.strip_suffix(":80").unwrap_or(text).to_ascii_lowercase();
        bare(value.trim()) == bare(authority)
    };
    if !head.single("host").is_some_and(same_host) {
        return invalid("exactly one Host header must repeat the host of the request's URL");
    }
    if head.values("upgrade").next().is_some() || head.values("http2-settings").next().is_some() {
        return Err(Denial::new(
            DenialCode::UpgradeRefused,
            "a plain request cannot become another protocol",
        ));
    }
    if matches!(head.method.as_str(), "TRACE" | "TRACK" | "CONNECT" | "PRI") {
        return invalid("the method is not served");
    }
    Ok(())
}

async fn pass(
    gateway: &Gateway,
    admission: &Admission,
    asked: &Asked,
    client: TcpStream,
    head: Head,
    origin: Origin,
    exit: Exit,
) {
    asked.allowed(gateway, admission, &exit);
    let Exit { stream, place, .. } = exit;
    let counters = Arc::new(Counters::default());
    let slot = std::sync::Mutex::new(Some((stream, origin)));
    let service_counters = Arc::clone(&counters);
    let service = move |request: Request<Incoming>| {
        let taken = slot.lock().ok().and_then(|mut slot| slot.take());
        let counters = Arc::clone(&service_counters);
        async move {
            let answer = match taken {
                Some((stream, origin)) => exchange(stream, origin, request, counters).await,
                None => Err("one request a connection".to_owned()),
            };
            Ok::<_, Infallible>(answer.unwrap_or_else(|error| bad_gateway(&error)))
        }
    };
    let served = serve_one(Prefixed::new(head.received, client), service);
    let cause = tokio::select! {
        () = served => CloseCause::Ended,
        cause = admission.cut() => cause.into(),
    };
    drop(place);
    let sent = counters.sent.load(Ordering::Relaxed);
    let received = counters.received.load(Ordering::Relaxed);
    asked.closed(gateway, admission, sent, received, cause);
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
}

/// Sends the request on and gives back the answer, both bodies streamed.
async fn exchange(
    stream: TcpStream,
    origin: Origin,
    request: Request<Incoming>,
    counters: Arc<Counters>,
) -> Result<Response<BoxBody>, String> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let (parts, body) = request.into_parts();
    let sending_counters = Arc::clone(&counters);
    let body = metered(body, move |length| {
        sending_counters.sent.fetch_add(length, Ordering::Relaxed);
    });
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = origin.path;
    *outgoing.headers_mut() = end_to_end(parts.headers);
    outgoing.headers_mut().insert(HOST, origin.host);
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

fn bad_gateway(error: &str) -> Response<BoxBody> {
    let code = DenialCode::UpstreamFailed;
    let body = Full::new(Bytes::from(format!("cofferdam: {code}: {error}\n")));
    let mut answer = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = code.class().proxy_status();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert!(is_absolute("http://a.test/") && is_absolute("HTTP://a.test"));
        assert!(!is_absolute("https://a.test/") && !is_absolute("/x") && !is_absolute("http:/a"));
        assert_eq!(authority_of("http://a.test:80/x?y"), "a.test:80");
        assert_eq!(authority_of("http://a.test?x=/"), "a.test");
        assert_eq!(authority_of("http://a.test\\@evil.test/"), "a.test");
        assert_eq!(path_of("").unwrap(), "/");
        assert_eq!(path_of("?a=b").unwrap(), "/?a=b");
        for path in ["/a#b", "\\@evil.test/", "/\u{e4}", "/a b"] {
            assert!(path_of(path).is_err(), "{path}");
        }
    }
}
