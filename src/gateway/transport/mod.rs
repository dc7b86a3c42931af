//! Connections of sandboxes before and after anything is decided: reading, answering, closing.

use std::net::IpAddr;

use tokio::net::TcpStream;

use cofferdam_service::http1::Head;

use self::pending::PendingHandshake;

pub mod answer;
mod bucket;
pub mod canary;
pub mod failures;
pub mod in_flight;
pub mod paced;
pub mod pending;
pub mod prefixed;
pub mod read_through;
pub mod serve_one;
pub mod sockets;

pub use self::bucket::{Bucket, Rate};

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
