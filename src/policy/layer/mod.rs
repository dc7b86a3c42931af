//! Policies as layers: which of them apply to a run, what each says, and how their opinions are met.

pub mod cache;
pub(crate) mod egress;
pub mod layers;
pub mod meet;
pub mod mistakes;
pub mod parsed;
pub mod read;
