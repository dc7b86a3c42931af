//! GitHub Apps: their private keys stand where other credentials do, and what is sent are installation tokens.
//!
//! [`jwt`] signs who the App is, [`api`] asks GitHub, [`held`] holds what it gave, one for each run and owner of
//! repositories, [`tokens`] has it made, renewed and revoked.

pub mod api;
pub mod fault;
pub mod held;
pub mod jwt;
pub mod tokens;
