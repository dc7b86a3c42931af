//! Cofferdam runs AI coding agents on Kubernetes in sandboxes that they cannot leave.
//!
//! The rooms of this house, and which way the arrows go:
//! `api ← policy ← {controller, gateway, runner, archive, cli}`.
//! [`wire`] holds what two roles say to each other; the roles never import each other.

pub mod api;
pub mod archive;
pub mod backoff;
pub mod cli;
pub mod conditions;
pub mod controller;
pub mod gateway;
pub mod http;
pub mod policy;
pub mod runner;
pub mod serve;
pub mod telemetry;
pub mod token;
pub mod wire;
