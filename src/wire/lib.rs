//! What two roles say to each other. Pure: types, versions, and the digest that both ends must compute alike.

pub mod archive;
pub mod chain;
pub mod control;
pub mod credential;
pub mod denial;
pub mod extensible;
pub mod hold;
pub mod keys;
pub mod output;
pub mod output_api;
pub mod pod;
pub mod record;
pub mod run_record;
pub mod runner;
pub mod seal;
pub mod space;
pub mod statement;
pub mod witness;
