//! A port that answers everybody. No sandbox may reach it: each run proves that it cannot.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};

use super::{Bucket, Rate};

/// The answer on TCP and UDP.
const ANSWER: &[u8] = b"canary\n";
/// Pause after a failure, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Answers on each of the two. The port is open to the whole cluster: without a bound anybody could keep the
/// gateway's cores busy. What is above it waits in the kernel, so a probe among many callers is answered later, and
/// its connection is open meanwhile.
const ANSWERS: Rate = Rate {
    per_second: 1000,
    burst: 1000,
};
/// Pause while there are too many.
const BREATH: Duration = Duration::from_millis(5);

/// Answers on TCP and UDP until the future is dropped.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let tcp = TcpListener::bind(address).await?;
    let udp = UdpSocket::bind(address).await?;
    tokio::join!(answer_connections(tcp), answer_datagrams(udp));
    Ok(())
}

async fn answer_connections(listener: TcpListener) {
    let mut bucket = Bucket::full(ANSWERS, Instant::now());
    loop {
        wait_for_turn(&mut bucket).await;
        match listener.accept().await {
            // Written at once into the socket's buffer: nobody can keep this waiting.
            Ok((mut stream, _)) => {
                let _ = stream.write_all(ANSWER).await;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn wait_for_turn(bucket: &mut Bucket) {
    while !bucket.take(ANSWERS, Instant::now()) {
        tokio::time::sleep(BREATH).await;
    }
}

async fn answer_datagrams(socket: UdpSocket) {
    let mut datagram = [0; 64];
    let mut bucket = Bucket::full(ANSWERS, Instant::now());
    loop {
        wait_for_turn(&mut bucket).await;
        match socket.recv_from(&mut datagram).await {
            Ok((_, peer)) => {
                let _ = socket.send_to(ANSWER, peer).await;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    /// More than a second's worth of callers: the last ones wait for the next second, and are answered.
    #[tokio::test(start_paused = true)]
    async fn flood_waits_for_its_turn() {
        let mut bucket = Bucket::full(ANSWERS, Instant::now());
        let start = Instant::now();
        let at_once = (0..100_000).filter(|_| bucket.take(ANSWERS, start)).count();
        assert!((1000..1100).contains(&at_once), "{at_once}");
        wait_for_turn(&mut bucket).await;
    }

    #[tokio::test]
    async fn it_answers_on_both() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (over_tcp, over_udp) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
        tokio::spawn(async move { tokio::join!(answer_connections(tcp), answer_datagrams(udp)) });
        let mut text = String::new();
        TcpStream::connect(over_tcp)
            .await
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text.as_bytes(), ANSWER);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(b"x", over_udp).await.unwrap();
        let mut datagram = [0; 64];
        let (length, _) = socket.recv_from(&mut datagram).await.unwrap();
        assert_eq!(&datagram[..length], ANSWER);
    }
}
