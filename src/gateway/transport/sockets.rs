//! Sockets with buffers of fixed sizes, so that a peer which does not read costs a known amount of kernel memory.
//!
//! Left alone, Linux grows the buffers of a fast connection to several MiB, which count for the gateway's memory.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::tcp::WriteHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Send and receive buffer towards a sandbox, in bytes. Round trips within a cluster are short.
const CLIENT_BUFFER: u32 = 64 * 1024;
/// Receive buffer towards a host outside: it bounds what one connection receives in a round trip. Linux takes no more
/// than its `net.core.rmem_max`, of 208 KiB unless somebody raised it.
const UPSTREAM_RECEIVE_BUFFER: u32 = 192 * 1024;
/// Send buffer towards a host outside.
const UPSTREAM_SEND_BUFFER: u32 = 128 * 1024;
/// Bytes of the process itself that wait to be written.
pub const CHUNK: usize = 64 * 1024;
/// Memory of one direction whose reader does not read: the receive buffer before it, the chunk, and the send buffer
/// after it. Linux takes twice what is asked for.
pub const BLOCKED_BYTES: u64 = 2 * (UPSTREAM_RECEIVE_BUFFER as u64 + CLIENT_BUFFER as u64) + CHUNK as u64;
/// Memory of a connection from a sandbox from which the gateway does not read yet.
pub const UNREAD_BYTES: u64 = 2 * CLIENT_BUFFER as u64;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Longest time for which the last bytes of a closed connection wait for their reader.
pub const LAST_BYTES: Duration = Duration::from_secs(5);

/// Listens for sandboxes.
///
/// # Errors
/// The address is in use, or not one of this host.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit both.
    socket.set_recv_buffer_size(CLIENT_BUFFER)?;
    socket.set_send_buffer_size(CLIENT_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connects to a host outside.
///
/// # Errors
/// The connection cannot be opened.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(address)?;
    socket.set_recv_buffer_size(UPSTREAM_RECEIVE_BUFFER)?;
    socket.set_send_buffer_size(UPSTREAM_SEND_BUFFER)?;
    socket.connect(address).await
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

/// What a writer asks of its socket when it writes no more.
pub trait Socket {
    /// Lets the kernel keep the last bytes for some seconds only.
    fn bound_last_bytes(&self);
    /// Lets the kernel throw away what was not sent when the connection is closed.
    fn discard_on_close(&self);
}

impl Socket for TcpStream {
    fn bound_last_bytes(&self) {
        let milliseconds = u32::try_from(LAST_BYTES.as_millis()).unwrap_or(u32::MAX);
        // Without it the kernel's own limit holds, which is longer.
        let _ = set_tcp_user_timeout(self, milliseconds);
    }

    fn discard_on_close(&self) {
        // Without it the kernel keeps the bytes for a while.
        let _ = self.set_zero_linger();
    }
}

impl Socket for WriteHalf<'_> {
    fn bound_last_bytes(&self) {
        self.as_ref().bound_last_bytes();
    }

    fn discard_on_close(&self) {
        self.as_ref().discard_on_close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::{socket_recv_buffer_size, socket_send_buffer_size};

    #[tokio::test]
    async fn buffers_are_fixed_on_both_sides() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (upstream, accepted) = tokio::join!(connect(address), listener.accept());
        let (upstream, client) = (upstream.unwrap(), accepted.unwrap().0);
        let sizes = |stream: &TcpStream| {
            (
                socket_recv_buffer_size(stream).unwrap(),
                socket_send_buffer_size(stream).unwrap(),
            )
        };
        let twice = |bytes: u32| 2 * usize::try_from(bytes).unwrap();
        assert_eq!(sizes(&client), (twice(CLIENT_BUFFER), twice(CLIENT_BUFFER)));
        assert_eq!(
            sizes(&upstream),
            (twice(UPSTREAM_RECEIVE_BUFFER), twice(UPSTREAM_SEND_BUFFER))
        );
    }
}
