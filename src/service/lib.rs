//! What every role needs to be a process: flags, an HTTP client and server, health endpoints, signals, logs.

#[cfg(feature = "cluster")]
pub mod args;
pub mod client;
pub mod http1;
pub mod serve;
pub mod server;
#[cfg(feature = "cluster")]
pub mod start;
pub mod telemetry;
