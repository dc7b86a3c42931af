//! Decisions written out for people: what was judged of each field, what a run reaches, where its data can go.

pub mod asked;
pub mod exfiltration;
pub mod findings;
pub mod reach;

mod fields;
mod finding;
