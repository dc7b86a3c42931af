//! What a process and those below it use.

use super::proc::{self, tree};

/// Seconds of processor time so far.
pub fn cpu(root: u32) -> f64 {
    tree(root).into_iter().filter_map(proc::cpu).sum()
}

/// Resident memory in KiB.
pub fn resident(root: u32) -> f64 {
    let of = |pid: u32| proc::status::<f64>(pid, "VmRSS:");
    tree(root).into_iter().filter_map(of).sum()
}
