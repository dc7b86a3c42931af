//! Connections of sandboxes before and after anything is decided: reading, answering, closing.

use std::net::IpAddr;

use tokio::net::TcpStream;

use cofferdam_service::http1::Head;

use self::pending::PendingHandshake;

pub mod answer;
pub mod canary;
pub mod pending;
pub mod prefixed;
pub mod serve_one;

/// A connection whose request's head was read; who sent it is not known yet.
pub struct Received {
    /// The connection.
    pub stream: TcpStream,
    /// The request's head.
    pub head: Head,
    /// Address that the connection comes from.
    pub peer: IpAddr,
    /// Number of the connection in this process.
    pub number: u64,
    /// To be dropped as soon as the caller is known or refused.
    pub pending: PendingHandshake,
}
