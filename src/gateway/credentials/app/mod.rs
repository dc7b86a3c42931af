//! GitHub Apps: their private keys stand where other credentials do, and what is sent are installation tokens.
//!
//! [`jwt`] signs who the App is, [`api`] asks GitHub, [`tokens`] holds what it gave, one for each run and owner of
//! repositories, and revokes it.

pub mod api;
pub mod jwt;
pub mod tokens;
