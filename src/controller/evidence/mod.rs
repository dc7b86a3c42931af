//! What the controller itself leaves in the archive about a run: its records, the seal of the chain, and the statement.

pub mod records;
pub mod seal;
pub mod signer;
pub mod statement;
pub mod unsealed;

#[cfg(test)]
mod tests;
