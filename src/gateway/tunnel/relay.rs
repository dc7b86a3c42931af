//! Bytes both ways until both sides have said all, nothing moves any more, or the run's right ends.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cofferdam_wire::record::CloseCause;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::transport::in_flight::Flow;
use crate::transport::paced::Paced;
use crate::transport::sockets::CHUNK;

/// A tunnel in which nothing moves is ended; models may think for long before their first byte.
const IDLE_LIMIT: Duration = Duration::from_mins(30);
/// How often idleness is looked at.
const IDLE_TICK: Duration = Duration::from_secs(30);

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes from the sandbox.
    pub sent: u64,
    /// Bytes to the sandbox.
    pub received: u64,
    /// Why it ended: by itself, by idleness, or by the cut.
    pub cause: CloseCause,
}

/// Relays between `client` and `upstream` until `cut` returns its cause.
pub async fn relay(
    mut client: TcpStream,
    mut upstream: TcpStream,
    already_sent: u64,
    flow: &Flow,
    cut: impl Future<Output = CloseCause>,
) -> Relayed {
    let (sent, received) = (Meter::new(already_sent), Meter::new(0));
    let (client_read, client_write) = client.split();
    let (upstream_read, upstream_write) = upstream.split();
    let both = async {
        tokio::try_join!(
            pump(client_read, Paced::new(upstream_write, flow), &sent),
            pump(upstream_read, Paced::new(client_write, flow), &received),
        )
    };
    let cause = tokio::select! {
        _ = both => flow.ended().unwrap_or(CloseCause::Ended),
        cause = cut => cause,
        () = idle(&sent, &received) => CloseCause::Idle,
    };
    Relayed {
        sent: sent.bytes.load(Ordering::Relaxed),
        received: received.bytes.load(Ordering::Relaxed),
        cause,
    }
}

struct Meter {
    bytes: AtomicU64,
    moved_at: AtomicU64,
    start: Instant,
}

impl Meter {
    fn new(bytes: u64) -> Self {
        Self {
            bytes: AtomicU64::new(bytes),
            moved_at: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    fn moved(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.moved_at
            .store(self.start.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn idle_for(&self) -> Duration {
        let moved_at = Duration::from_secs(self.moved_at.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(moved_at)
    }
}

async fn idle(sent: &Meter, received: &Meter) {
    loop {
        tokio::time::sleep(IDLE_TICK).await;
        if sent.idle_for().min(received.idle_for()) >= IDLE_LIMIT {
            return;
        }
    }
}

/// Moves bytes one way to their end, which it passes on.
async fn pump(from: ReadHalf<'_>, mut to: Paced<WriteHalf<'_>>, meter: &Meter) -> io::Result<()> {
    loop {
        from.readable().await?;
        // Held only while bytes move, so that an idle tunnel costs none.
        let mut chunk = vec![0; CHUNK];
        loop {
            match from.try_read(&mut chunk) {
                Ok(0) => return to.shutdown().await,
                Ok(length) => {
                    to.write_all(chunk.get(..length).unwrap_or_default()).await?;
                    meter.moved(length);
                    // One chunk, then the others' turn: a run with many tunnels that always have bytes would otherwise
                    // keep the threads for as long as the buffers of all of them are full.
                    tokio::task::yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::in_flight::InFlight;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        (one.unwrap(), other.unwrap().0)
    }

    async fn relay_alone(
        client: TcpStream,
        upstream: TcpStream,
        already_sent: u64,
        cut: impl Future<Output = CloseCause>,
    ) -> Relayed {
        let flow = Flow::new(&Arc::new(InFlight::new(1 << 30)), "run-1");
        relay(client, upstream, already_sent, &flow, cut).await
    }

    #[tokio::test]
    async fn bytes_and_ends_pass_both_ways_and_are_counted() {
        let (mut agent, client) = pair().await;
        let (upstream, mut server) = pair().await;
        let relayed = tokio::spawn(relay_alone(client, upstream, 7, std::future::pending()));
        agent.write_all(b"question").await.unwrap();
        agent.shutdown().await.unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        // The server answers after the agent's end.
        server.write_all(&vec![b'a'; 300_000]).await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        agent.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.len(), 300_000);
        let expected = Relayed {
            sent: 15,
            received: 300_000,
            cause: CloseCause::Ended,
        };
        assert_eq!(relayed.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_busy_direction_gives_others_their_turn_after_each_chunk() {
        const MUCH: u64 = 64 << 20;
        let (agent, mut client) = pair().await;
        let (mut upstream, server) = pair().await;
        let blocking = |stream: TcpStream| {
            let stream = stream.into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            stream
        };
        let (mut agent, mut server) = (blocking(agent), blocking(server));
        std::thread::spawn(move || std::io::copy(&mut agent, &mut std::io::sink()));
        let chunk = vec![0; CHUNK];
        std::thread::spawn(move || while std::io::Write::write_all(&mut server, &chunk).is_ok() {});
        let meter = Meter::new(0);
        let flow = Flow::new(&Arc::new(InFlight::new(1 << 30)), "run-1");
        let moving = pump(upstream.split().0, Paced::new(client.split().1, &flow), &meter);
        let others = async {
            let (mut before, mut most) = (0, 0);
            while before < MUCH {
                let now = meter.bytes.load(Ordering::Relaxed);
                most = most.max(now - before);
                before = now;
                tokio::task::yield_now().await;
            }
            most
        };
        tokio::select! {
            ended = moving => panic!("{ended:?}"),
            most = others => assert!(most <= 2 * CHUNK as u64, "{most} bytes in one turn"),
        }
    }

    #[tokio::test]
    async fn a_cut_closes_both_sides_at_once() {
        let (mut agent, client) = pair().await;
        let (upstream, mut server) = pair().await;
        let (cut, cut_now) = tokio::sync::oneshot::channel();
        let relayed = tokio::spawn(relay_alone(client, upstream, 0, async { cut_now.await.unwrap() }));
        agent.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        cut.send(CloseCause::RunEnded).unwrap();
        assert_eq!(relayed.await.unwrap().cause, CloseCause::RunEnded);
        assert!(matches!(agent.read(&mut [0]).await, Ok(0) | Err(_)));
        assert!(matches!(server.read(&mut [0]).await, Ok(0) | Err(_)));
    }
}
