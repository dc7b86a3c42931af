//! Hostile and ordinary work trees against the collector: each is made into a patch that is exact but for what it names
//! as left out, or refused by a code; no command that a tree names is ever executed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod bounds;
mod hostile;
mod kinds;
mod trees;
mod world;
