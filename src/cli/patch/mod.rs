//! A patch as git writes it, read line by line. Pure: nothing of it is applied or obeyed here.

mod lines;
mod show;
mod stat;

pub use show::shown;
pub use stat::{stat, table};

#[cfg(test)]
mod tests;
