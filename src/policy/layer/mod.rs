//! Policies as layers: which of them apply to a run, what each says, and how their opinions are met.

pub mod cache;
pub mod layers;
pub mod meet;
pub(crate) mod mistakes;
pub mod parsed;
