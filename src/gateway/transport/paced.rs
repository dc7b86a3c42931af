//! A writer whose waiting counts for its run's share of memory and ends after a while.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::in_flight::Flow;
use super::sockets::{BLOCKED_BYTES, Socket};
use cofferdam_wire::record::CloseCause;

/// Longest time for which a peer may read nothing while bytes wait for it.
pub const WRITE_LIMIT: Duration = Duration::from_mins(2);

/// A connection, or its writing half.
pub struct Paced<I> {
    inner: I,
    flow: Flow,
    /// Present while a write waits for its reader; ends with the reason to wait no longer.
    waiting: Option<Pin<Box<dyn Future<Output = CloseCause> + Send>>>,
}

impl<I> Paced<I> {
    /// Waiting counts for the run of `flow`.
    pub fn new(inner: I, flow: &Flow) -> Self {
        Self {
            inner,
            flow: flow.clone(),
            waiting: None,
        }
    }
}

impl<I: Socket> Paced<I> {
    fn judge(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let flow = &self.flow;
        let waiting = self.waiting.get_or_insert_with(|| wait(flow));
        let Poll::Ready(cause) = waiting.as_mut().poll(context) else {
            return Poll::Pending;
        };
        self.waiting = None;
        self.flow.end(cause);
        self.inner.discard_on_close();
        let message = "the other side does not read";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

fn wait(flow: &Flow) -> Pin<Box<dyn Future<Output = CloseCause> + Send>> {
    let held = flow.hold(BLOCKED_BYTES);
    Box::pin(async move {
        tokio::select! {
            () = held.evicted() => CloseCause::LimitExceeded,
            () = tokio::time::sleep(WRITE_LIMIT) => CloseCause::Blocked,
        }
    })
}

impl<I: AsyncRead + Unpin> AsyncRead for Paced<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Socket + Unpin> AsyncWrite for Paced<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.bound_last_bytes();
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::in_flight::InFlight;
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    impl Socket for DuplexStream {
        fn bound_last_bytes(&self) {}
        fn discard_on_close(&self) {}
    }

    /// Some more bytes than the pair below keeps.
    const MUCH: usize = 100_000;

    fn pair() -> (DuplexStream, DuplexStream) {
        duplex(1000)
    }

    #[tokio::test(start_paused = true)]
    async fn reader_that_stops_is_given_up_after_the_limit() {
        let all = Arc::new(InFlight::new(100 * BLOCKED_BYTES));
        let flow = Flow::new(&all, "run-1");
        let (server, _client) = pair();
        let started = tokio::time::Instant::now();
        let written = Paced::new(server, &flow).write_all(&vec![0; MUCH]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= WRITE_LIMIT);
        assert_eq!(flow.ended(), Some(CloseCause::Blocked));
    }

    #[tokio::test(start_paused = true)]
    async fn reader_that_is_slow_is_waited_for() {
        let all = Arc::new(InFlight::new(100 * BLOCKED_BYTES));
        let flow = Flow::new(&all, "run-1");
        let (server, mut client) = pair();
        let mut writer = Paced::new(server, &flow);
        let reading = async {
            let mut part = [0; 1000];
            for _ in 0..MUCH / part.len() {
                tokio::time::sleep(WRITE_LIMIT / 2).await;
                client.read_exact(&mut part).await.unwrap();
            }
        };
        let bytes = vec![0; MUCH];
        let (written, ()) = tokio::join!(writer.write_all(&bytes), reading);
        written.unwrap();
        assert_eq!(flow.ended(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn run_that_holds_more_than_its_share_loses_the_connection_that_waits_longest() {
        let all = Arc::new(InFlight::new(4 * BLOCKED_BYTES));
        let mut blocked = Vec::new();
        for number in 0..4 {
            let (server, client) = pair();
            let run = if number == 0 { "honest" } else { "hostile" };
            let flow = Flow::new(&all, run);
            let mut writer = Paced::new(server, &flow);
            let writing = tokio::spawn(async move { writer.write_all(&vec![0; MUCH]).await.is_ok() });
            tokio::time::sleep(Duration::from_secs(1)).await;
            blocked.push((writing, flow, client));
        }
        let causes: Vec<_> = blocked.iter().map(|(_, flow, _)| flow.ended()).collect();
        // With the honest run's one there is room for one of the hostile run, which is always its newest.
        let limit = Some(CloseCause::LimitExceeded);
        assert_eq!(causes, [None, limit, limit, None]);
    }
}
