//! What policies limit, one file for each dimension: what a run asks of it, met with what every layer allows.

pub mod credentials;
pub mod egress;
pub mod evidence;
pub mod git;
pub mod images;
pub mod literals;
pub mod profile;
pub mod repositories;
pub mod requester;
pub mod requests;
pub mod resources;
pub mod runtime;
pub mod scheduling;
pub mod times;
pub mod tunnels;
pub mod vulnerabilities;
