//! A port that answers everybody. No sandbox may reach it: each run proves that it cannot.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};

/// The answer on TCP and UDP.
const ANSWER: &[u8] = b"canary\n";
/// Pause after a failure, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

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
    loop {
        match listener.accept().await {
            // Written at once into the socket's buffer: nobody can keep this waiting.
            Ok((mut stream, _)) => {
                let _ = stream.write_all(ANSWER).await;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn answer_datagrams(socket: UdpSocket) {
    let mut datagram = [0; 64];
    loop {
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
