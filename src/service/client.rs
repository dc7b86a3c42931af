//! A small HTTP client for the roles' calls to each other.
//!
//! Plain HTTP/1.1, kept-alive connections, no redirects, no proxy from the environment. Every call has a deadline
//! that covers connecting, sending and reading to the end, and a limit on the bytes that it reads.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Deadline of a call that sets none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are read of an answer to a call that sets no limit.
const DEFAULT_LIMIT: usize = 1024 * 1024;

/// Why a call gave no answer. Any answer, whatever its status, is a success of the call.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The call itself is malformed, such as a header value with a line break.
    #[error("malformed request: {0}")]
    Malformed(#[from] http::Error),
    /// The URI is not one.
    #[error("malformed address: {0}")]
    Address(#[from] http::uri::InvalidUri),
    /// Connecting, sending or receiving failed.
    #[error("{0}")]
    Transport(String),
    /// The deadline passed.
    #[error("no complete answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The answer's body is longer than the call's limit in bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// What a call sends.
pub struct Body(UnsyncBoxBody<Bytes, io::Error>);

impl Body {
    /// Chunks as they come; sent with chunked encoding. An error of the stream ends the call.
    pub fn stream(chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync())
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self(
            Full::new(bytes.into())
                .map_err(|never| match never {})
                .boxed_unsync(),
        )
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

/// One call, built step by step: `Call::get("http://…")?.bearer(token)?.timeout(…)`.
#[derive(Debug)]
pub struct Call {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
    timeout: Duration,
    limit: usize,
}

impl Call {
    /// A call without a body, with 10 s to end and 1 MiB to answer.
    ///
    /// # Errors
    /// `uri` is not an absolute URI.
    pub fn new(method: Method, uri: &str) -> Result<Self, HttpError> {
        Ok(Self {
            method,
            uri: uri.parse()?,
            headers: HeaderMap::new(),
            body: Body::from(Bytes::new()),
            timeout: DEFAULT_TIMEOUT,
            limit: DEFAULT_LIMIT,
        })
    }

    /// [`Call::new`] with `GET`.
    ///
    /// # Errors
    /// `uri` is not an absolute URI.
    pub fn get(uri: &str) -> Result<Self, HttpError> {
        Self::new(Method::GET, uri)
    }

    /// Adds a header.
    ///
    /// # Errors
    /// The value holds bytes that a header cannot.
    pub fn header(mut self, name: HeaderName, value: &str) -> Result<Self, HttpError> {
        let value = HeaderValue::from_str(value).map_err(http::Error::from)?;
        self.headers.append(name, value);
        Ok(self)
    }

    /// Adds `Authorization: Bearer <token>`, marked so that logs do not show it.
    ///
    /// # Errors
    /// The token holds bytes that a header cannot.
    pub fn bearer(mut self, token: &str) -> Result<Self, HttpError> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(http::Error::from)?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the deadline of the whole call.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many bytes of the answer are read.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

/// The client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpConnector, UnsyncBoxBody<Bytes, io::Error>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client without connections.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { pool }
    }

    /// Sends `call` and reads its answer to the end.
    ///
    /// # Errors
    /// No complete answer came, or it is longer than the call allows; an error status is not an error here.
    pub async fn send(&self, call: Call) -> Result<Response<Bytes>, HttpError> {
        let timeout = call.timeout;
        tokio::time::timeout(timeout, self.exchange(call))
            .await
            .unwrap_or(Err(HttpError::TimedOut(timeout)))
    }

    /// Sends `call` and hands on the answer's bytes as they come. The call's deadline is that of the answer's head, and of
    /// each silence within its body; its limit does not count.
    ///
    /// # Errors
    /// No answer came; what goes wrong later is in the stream.
    pub async fn open(
        &self,
        call: Call,
    ) -> Result<Response<impl Stream<Item = Result<Bytes, HttpError>> + Send + use<>>, HttpError> {
        let timeout = call.timeout;
        let answer = tokio::time::timeout(timeout, self.request(call))
            .await
            .unwrap_or(Err(HttpError::TimedOut(timeout)))?;
        let (head, body) = answer.into_parts();
        let chunks = futures::stream::try_unfold(body, move |mut body| async move {
            loop {
                let frame = tokio::time::timeout(timeout, body.frame())
                    .await
                    .map_err(|_| HttpError::TimedOut(timeout))?;
                match frame {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(HttpError::Transport(chain(&error))),
                    Some(Ok(frame)) => {
                        // Trailers say nothing here.
                        if let Ok(bytes) = frame.into_data() {
                            return Ok(Some((bytes, body)));
                        }
                    }
                }
            }
        });
        Ok(Response::from_parts(head, chunks))
    }

    async fn request(&self, call: Call) -> Result<Response<hyper::body::Incoming>, HttpError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.uri)
            .body(call.body.0)?;
        *request.headers_mut() = call.headers;
        self.pool
            .request(request)
            .await
            .map_err(|error| HttpError::Transport(chain(&error)))
    }

    async fn exchange(&self, call: Call) -> Result<Response<Bytes>, HttpError> {
        let limit = call.limit;
        let (head, body) = self.request(call).await?.into_parts();
        let bytes = Limited::new(body, limit)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    HttpError::TooLong(limit)
                } else {
                    HttpError::Transport(chain(error.as_ref()))
                }
            })?
            .to_bytes();
        Ok(Response::from_parts(head, bytes))
    }
}

/// An error with its causes, which hyper keeps apart.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Serves one connection: reads a request to the end of its body's last chunk or headers, then writes `answer`.
    async fn serve(
        answer: &'static str,
        request_end: &'static str,
    ) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/v1/thing", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            while !String::from_utf8_lossy(&seen).ends_with(request_end) {
                let read = stream.read(&mut buffer).await.unwrap();
                if read == 0 {
                    break;
                }
                seen.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(seen).unwrap()
        });
        (uri, task)
    }

    #[tokio::test]
    async fn a_call_carries_its_token_and_gives_back_status_and_body() {
        let (uri, server) = serve(
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
            "\r\n\r\n",
        )
        .await;
        let call = Call::get(&uri).unwrap().bearer("abc\n").unwrap();
        let answer = Client::new().send(call).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.body().as_ref()),
            (403, &b"no"[..])
        );
        assert!(server.await.unwrap().contains("authorization: Bearer abc\r\n"));
    }

    #[tokio::test]
    async fn a_streamed_body_is_sent_in_order() {
        let (uri, server) = serve("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", "0\r\n\r\n").await;
        let chunks = futures::stream::iter([Ok(Bytes::from_static(b"one,")), Ok(Bytes::from_static(b"two"))]);
        let call = Call::new(Method::POST, &uri).unwrap().body(Body::stream(chunks));
        assert_eq!(Client::new().send(call).await.unwrap().status().as_u16(), 201);
        let request = server.await.unwrap();
        assert!(request.contains("4\r\none,\r\n3\r\ntwo\r\n0\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_long_answer_is_refused_and_the_limit_itself_is_not() {
        for (limit, fits) in [(2, true), (1, false)] {
            let (uri, _server) = serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "\r\n\r\n").await;
            let result = Client::new().send(Call::get(&uri).unwrap().limit(limit)).await;
            assert_eq!(result.is_ok(), fits);
            assert_eq!(matches!(result, Err(HttpError::TooLong(1))), !fits);
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_opened_comes_piece_by_piece_and_says_when_it_broke_off() {
        for (answer, whole) in [
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", false),
        ] {
            let (uri, _server) = serve(answer, "\r\n\r\n").await;
            let answer = Client::new().open(Call::get(&uri).unwrap()).await.unwrap();
            let pieces: Vec<Result<Bytes, HttpError>> = answer.into_body().collect().await;
            assert_eq!(pieces.iter().all(Result::is_ok), whole);
            let bytes: Vec<u8> = pieces.into_iter().flatten().flatten().collect();
            assert_eq!(bytes, b"abc");
        }
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let call = Call::get(&uri).unwrap().timeout(Duration::from_millis(50));
        assert!(matches!(
            Client::new().send(call).await,
            Err(HttpError::TimedOut(_))
        ));
    }

    #[test]
    fn a_token_with_a_line_break_inside_is_refused() {
        assert!(
            Call::get("http://127.0.0.1/")
                .unwrap()
                .bearer("a\r\nx: y")
                .is_err()
        );
    }
}
