//! What policies allow: layers, how they meet, and decisions with their provenance. Pure.
//!
//! [`decide::decide`] answers whether a run may start and with what; [`frozen::FrozenPolicy`] is the part of the
//! answer that the gateway enforces while the run lasts. Both rest on one rule, [`meet::meet`].

pub mod address;
pub mod asks;
pub mod decide;
pub mod decision;
pub mod egress;
pub mod exfiltration;
pub mod findings;
pub mod frozen;
pub mod host;
pub mod image;
pub mod images;
pub mod layers;
pub mod meet;
pub mod mistakes;
pub mod opinions;
pub mod quantity;
pub mod reach;
pub mod readings;
pub mod refusal;
pub mod repositories;
pub mod repository;
pub mod resources;
pub mod route;
pub mod runtime;
pub mod segments;
pub mod source;
pub mod times;
pub mod vulnerabilities;
