//! A client's connection on which requests follow each other, each head read by the one strict parser.
//!
//! The HTTP library that serves the connection sees no byte of a client's head. It gets one of this module's own making,
//! which says how the body is framed and nothing else, and what was read waits for it in a queue. Where a request ends is
//! decided here too: the library gets its body and not a byte more, so that two readers cannot see two requests in one.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use cofferdam_service::http1::{self, Framing, HEAD_LIMIT, Head, HeadError};

/// Longest time from a head's first byte to its last.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Read at once while a head is not whole.
const STEP: usize = 4096;

/// The heads that were read and not answered yet, in their order.
#[derive(Clone, Default)]
pub struct Judged(Arc<Mutex<VecDeque<Result<Head, HeadError>>>>);

impl Judged {
    /// The head of the request that the library serves now; `None`: there is none, which it must not serve.
    pub fn next(&self) -> Option<Result<Head, HeadError>> {
        self.0.lock().pop_front()
    }
}

/// The connection as the library reads and writes it.
pub struct Heads<I> {
    stream: I,
    judged: Judged,
    /// Bytes of the client that are not given on yet.
    received: Vec<u8>,
    /// Up to here no head ends in them.
    searched: usize,
    /// A head of our own that the library has not read yet.
    ready: Bytes,
    state: State,
    /// Whether the request is the only one of the connection.
    once: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A head comes next.
    Head,
    /// So many bytes of a body.
    Body(u64),
    /// The body is all that comes: a chunked one ends where the library finds its end, and is the connection's last.
    Rest,
    /// Nothing more is read but the end of the connection.
    Last,
    /// Nothing more is read.
    Over,
}

impl<I> Heads<I> {
    /// Requests on `stream`, of which `received` has come already.
    pub fn new(received: Vec<u8>, stream: I) -> Self {
        Self {
            stream,
            judged: Judged::default(),
            received,
            searched: 0,
            ready: Bytes::new(),
            state: State::Head,
            once: false,
            timer: None,
        }
    }

    /// The one request on `stream` whose head was read already.
    pub fn once(head: Head, stream: I) -> Self {
        let mut this = Self::new(head.early_body().to_vec(), stream);
        this.once = true;
        this.judge(Ok(head));
        this
    }

    /// Where the heads wait.
    pub fn judged(&self) -> Judged {
        self.judged.clone()
    }

    /// The connection.
    pub fn into_stream(self) -> I {
        self.stream
    }

    fn judge(&mut self, head: Result<Head, HeadError>) {
        self.timer = None;
        self.searched = 0;
        (self.ready, self.state) = match &head {
            Ok(head) => (own(head, self.once), State::of(head.framing)),
            Err(_) => (REFUSED, State::Over),
        };
        self.judged.0.lock().push_back(head);
    }
}

impl State {
    const fn of(framing: Framing) -> Self {
        match framing {
            Framing::Bytes(length) => Self::Body(length),
            Framing::Chunked => Self::Rest,
        }
    }
}

/// The head that stands for one that is refused.
const REFUSED: Bytes = Bytes::from_static(b"POST / HTTP/1.1\r\nconnection: close\r\n\r\n");

/// What the library has to know of the request: whether its answer has a body, how its own one is framed, whether an
/// interim answer is waited for, and whether it is the last one.
fn own(head: &Head, once: bool) -> Bytes {
    let method = if head.method == "HEAD" { "HEAD" } else { "POST" };
    let minor = head.minor_version.min(1);
    let framing = match head.framing {
        Framing::Bytes(0) => String::new(),
        Framing::Bytes(length) => format!("content-length: {length}\r\n"),
        Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
    };
    let mut expects = head.values("expect");
    let expect = if expects.any(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        "expect: 100-continue\r\n"
    } else {
        ""
    };
    let is_last =
        once || minor == 0 || head.framing == Framing::Chunked || head.is_named_by_connection("close");
    let connection = if is_last { "connection: close\r\n" } else { "" };
    format!("{method} / HTTP/1.{minor}\r\n{framing}{expect}{connection}\r\n").into()
}

impl<I: AsyncRead + Unpin> Heads<I> {
    /// Reads until a head is whole; `false`: the connection ended, or the head took too long.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if let Some(end) = http1::end_of_head(&self.received, self.searched) {
                let mut received = std::mem::take(&mut self.received);
                self.received = received.split_off(end);
                self.judge(http1::parse(received, end));
                return Poll::Ready(Ok(true));
            }
            self.searched = self.received.len();
            let Some(room) = HEAD_LIMIT
                .checked_sub(self.received.len())
                .filter(|room| *room > 0)
            else {
                self.judge(Err(HeadError::TooLong));
                return Poll::Ready(Ok(true));
            };
            let mut step = [0; STEP];
            let mut buffer = ReadBuf::new(step.get_mut(..room.min(STEP)).unwrap_or_default());
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Ok(false)),
                Poll::Ready(Ok(())) => self.received.extend_from_slice(buffer.filled()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.received.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(HEAD_TIMEOUT)));
                    ready!(timer.as_mut().poll(context));
                    return Poll::Ready(Ok(false));
                }
            }
        }
    }

    /// Gives on at most `limit` bytes of a body; how many.
    fn poll_body(
        &mut self,
        limit: u64,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<u64>> {
        let limit = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(buffer.remaining());
        if self.received.is_empty() {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(limit));
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
            let length = part.filled().len();
            buffer.advance(length);
            return Poll::Ready(Ok(length as u64));
        }
        let length = self.received.len().min(limit);
        let rest = self.received.split_off(length);
        buffer.put_slice(&self.received);
        self.received = rest;
        Poll::Ready(Ok(length as u64))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Heads<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                let length = this.ready.len().min(buffer.remaining());
                buffer.put_slice(this.ready.get(..length).unwrap_or_default());
                this.ready.advance(length);
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Head => {
                    if !ready!(this.poll_head(context))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::Body(0) => this.state = if this.once { State::Last } else { State::Head },
                State::Body(left) => {
                    let length = ready!(this.poll_body(left, context, buffer))?;
                    this.state = State::Body(left.saturating_sub(length));
                    return Poll::Ready(Ok(()));
                }
                State::Rest => return this.poll_body(u64::MAX, context, buffer).map_ok(drop),
                State::Last => {
                    let mut byte = [0];
                    let mut one = ReadBuf::new(&mut byte);
                    if this.received.is_empty() {
                        ready!(Pin::new(&mut this.stream).poll_read(context, &mut one))?;
                        if one.filled().is_empty() {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    this.state = State::Over;
                }
                // Never woken: the library ends the connection once it has answered.
                State::Over => return Poll::Pending,
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Heads<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
#[path = "heads/tests.rs"]
mod tests;
