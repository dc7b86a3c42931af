//! Who may do what: attempts of a user with `edit` and the use of one policy to have more than the ceiling, and
//! requesters with every kind of name. Each attempt stands beside its control: the same within the ceiling, or by whom
//! it is allowed.

mod asks;
mod egress;
mod later;
mod requesters;
mod rights;
pub mod spec;
mod user;
mod world;
