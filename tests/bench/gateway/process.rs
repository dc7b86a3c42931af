//! What a process and those below it use, from `/proc`.

use std::fs;

/// Ticks of a second in `/proc/*/stat`: Linux has it at 100 everywhere.
const TICKS: f64 = 100.0;

/// The process, and all below it.
fn tree(root: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, fields(pid)?[1].parse().ok()?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// The fields behind the name.
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Seconds of processor time so far.
pub fn cpu(root: u32) -> f64 {
    let ticks = |pid: u32| -> f64 {
        let fields = fields(pid).unwrap_or_default();
        let field = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
        field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)
    };
    tree(root).into_iter().map(ticks).sum::<f64>() / TICKS
}

/// Resident memory in KiB.
pub fn resident(root: u32) -> f64 {
    let of = |pid: u32| -> f64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or(0.0)
    };
    tree(root).into_iter().map(of).sum()
}
