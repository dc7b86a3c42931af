//! Ports that the sidecar shares with nobody: the agent lives in the same network stack.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Listens on `address` so that no other socket can listen on its port beside this one.
///
/// Two sockets that both have `SO_REUSEADDR` may listen on one port of gVisor's stack, one on every address and one on the
/// pod's own; the second is then asked in the place of the first. The usual constructors of listeners set that option.
///
/// # Errors
/// The port is taken.
pub fn listen_alone(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(false)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::{socket_reuseaddr, socket_reuseport};

    #[tokio::test]
    async fn port_is_shared_with_nobody() {
        let ours = listen_alone("0.0.0.0:0".parse().unwrap()).unwrap();
        assert!(!socket_reuseaddr(&ours).unwrap() && !socket_reuseport(&ours).unwrap());
        let usual = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(
            socket_reuseaddr(&usual).unwrap(),
            "the option is not the default any more"
        );
        let port = ours.local_addr().unwrap().port();
        for address in ["127.0.0.1", "0.0.0.0"] {
            let second = TcpSocket::new_v4().unwrap();
            second.set_reuseaddr(true).unwrap();
            second.set_reuseport(true).unwrap();
            let taken = second.bind(format!("{address}:{port}").parse().unwrap());
            let taken = taken.and_then(|()| second.listen(1).map(drop)).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{address}");
        }
    }
}
