//! Credentials that sandboxes never hold: their values as they stand in Secrets now, and how they are added to requests.
//!
//! A run's frozen policy says which credential a request gets and how it is sent. [`store`] holds the values, and the
//! definitions as they are now: one that was taken away or narrowed since is not sent any more. [`sent`] makes the header,
//! [`placeholder`] finds what stands in a credential's place where it should not; [`answers`] knows what hosts make of the
//! values; [`app`] has tokens of GitHub Apps made; [`added`] has the one or the other for a request. [`value`] is the one type
//! of a value: it cannot be printed, and its memory is cleared when it is dropped.

mod added;
pub mod answers;
pub mod app;
pub mod fault;
pub mod placeholder;
pub mod report;
pub mod sent;
pub mod store;
pub mod value;

/// Whether `part`, which is not empty, stands in `text`.
fn has(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}
