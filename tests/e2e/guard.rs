//! The admission guard: who may touch what is ours. Each case is one request as one user, and the guard that must
//! refuse it, or none. The controls beside them show that the guard refuses the forgery and not the request.

mod accounts;
mod adoption;
mod call;
mod confined;
mod deletions;
mod entered;
mod jobs;
mod network;
mod objects;
mod pods;
mod runs;
mod services;
mod world;

pub use call::{Call, Case, Meets, Who, check};
pub use world::{World, bindings_of};
