//! Role dispatch only: one binary, one role a process.

fn main() {}
