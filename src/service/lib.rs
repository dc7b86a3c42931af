//! What every role needs to be a process: an HTTP client, health endpoints, signals, logs.

pub mod client;
pub mod serve;
pub mod telemetry;
