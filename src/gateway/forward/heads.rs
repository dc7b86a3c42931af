//! A client's connection on which requests follow each other, each head read by the one strict parser.
//!
//! The HTTP library that serves the connection sees no byte of a client's head. It gets one of this module's own making,
//! which says how the body is framed and nothing else, and what was read waits for it in a queue. Where a request ends is
//! decided here too: the library gets its body and not a byte more, so that two readers cannot see two requests in one.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::transport::read_through::{ReadFrom, ReadThrough};
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
pub type Heads<I> = ReadThrough<HeadReader, I>;

/// Reads the connection.
pub struct HeadReader {
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

/// Requests on `stream`, of which `received` has come already.
pub fn requests<I>(received: Vec<u8>, stream: I) -> Heads<I> {
    ReadThrough::new(HeadReader::new(received), stream)
}

/// The one request on `stream` whose head was read already.
pub fn one_request<I>(head: Head, stream: I) -> Heads<I> {
    let mut reader = HeadReader::new(head.early_body().to_vec());
    reader.once = true;
    reader.judge(Ok(head));
    ReadThrough::new(reader, stream)
}

impl HeadReader {
    fn new(received: Vec<u8>) -> Self {
        Self {
            judged: Judged::default(),
            received,
            searched: 0,
            ready: Bytes::new(),
            state: State::Head,
            once: false,
            timer: None,
        }
    }

    /// Where the heads wait.
    pub fn judged(&self) -> Judged {
        self.judged.clone()
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

impl HeadReader {
    /// Reads until a head is whole; `false`: the connection ended, or the head took too long.
    fn poll_head<I: AsyncRead + Unpin>(
        &mut self,
        stream: &mut I,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
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
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
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
    fn poll_body<I: AsyncRead + Unpin>(
        &mut self,
        stream: &mut I,
        limit: u64,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<u64>> {
        let limit = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(buffer.remaining());
        if self.received.is_empty() {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(limit));
            ready!(Pin::new(stream).poll_read(context, &mut part))?;
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

impl<I: AsyncRead + Unpin> ReadFrom<I> for HeadReader {
    fn poll_read_from(
        &mut self,
        stream: &mut I,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.ready.is_empty() {
                let length = self.ready.len().min(buffer.remaining());
                buffer.put_slice(self.ready.get(..length).unwrap_or_default());
                self.ready.advance(length);
                return Poll::Ready(Ok(()));
            }
            match self.state {
                State::Head => {
                    if !ready!(self.poll_head(stream, context))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::Body(0) => self.state = if self.once { State::Last } else { State::Head },
                State::Body(left) => {
                    let length = ready!(self.poll_body(stream, left, context, buffer))?;
                    self.state = State::Body(left.saturating_sub(length));
                    return Poll::Ready(Ok(()));
                }
                State::Rest => {
                    return self.poll_body(stream, u64::MAX, context, buffer).map_ok(drop);
                }
                State::Last => {
                    let mut byte = [0];
                    let mut one = ReadBuf::new(&mut byte);
                    if self.received.is_empty() {
                        ready!(Pin::new(&mut *stream).poll_read(context, &mut one))?;
                        if one.filled().is_empty() {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    self.state = State::Over;
                }
                // Never woken: the library ends the connection once it has answered.
                State::Over => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
#[path = "heads/tests.rs"]
mod tests;
