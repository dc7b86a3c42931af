//! Evidence of everything that is decided, on its way to the archive.

mod archive_client;
mod buffer;
mod recorder;
mod request_log;
mod sink;
mod spool;
mod stream;

pub use self::archive_client::ArchiveClient;
pub use self::recorder::Recorder;
#[cfg(test)]
pub(crate) use self::recorder::testing;
pub use self::request_log::RequestLog;
#[cfg(feature = "testing")]
pub use self::sink::{Sink, SinkError};
pub use self::spool::Spool;
