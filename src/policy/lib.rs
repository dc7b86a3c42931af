//! What policies allow: layers, how they meet, and decisions with their provenance. Pure.
//!
//! Two functions decide. [`decide::decide`] says whether a run may start and with what; [`route::route`] says whether a
//! connection of it may be opened, by the part of that answer that is frozen for the gateway ([`frozen::FrozenPolicy`]).
//! Both rest on one rule, [`layer::meet`].

pub mod decide;
pub mod decision;
pub mod dimension;
pub mod explain;
pub mod frozen;
pub mod layer;
pub mod pattern;
pub mod preset;
pub mod refusal;
pub mod route;
pub mod source;
