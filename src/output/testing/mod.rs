//! A cluster in one process for this crate's tests: an authority, an API server that is a function, a real archive, and the
//! role before them.

mod authority;
mod world;

pub use authority::{Authority, Card};
pub use world::{NAMESPACE_UID, OTHER_UID, UID, World, patch, published, trust};
