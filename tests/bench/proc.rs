//! What processes of this machine use, from `/proc`: the one reader of all benches. Each bench takes a part of it.
#![allow(dead_code, reason = "no bench needs all of it")]

use std::fs;
use std::str::FromStr;

/// Clock ticks of `/proc/<pid>/stat` in a second: Linux has it at 100 on every platform that the benches run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Numbers of all processes.
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The words of a process' command line, none where it ended.
pub fn command(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// The fields of `/proc/<pid>/stat` after the program's name, which may itself hold spaces and parentheses.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Seconds of processor time so far.
pub fn cpu(pid: u32) -> Option<f64> {
    let fields = stat(pid)?;
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// When the process started, in seconds since the machine did.
pub fn started(pid: u32) -> Option<f64> {
    let ticks = stat(pid)?.get(19)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

/// A number of `/proc/<pid>/status`, such as `VmRSS:`, which is in KiB.
pub fn status<T: FromStr>(pid: u32, key: &str) -> Option<T> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Children of a process: as the kernel tells them, else found among all processes (gVisor's kernel tells none).
pub fn children(parent: u32) -> Vec<u32> {
    if fs::metadata(format!("/proc/{parent}/task/{parent}/children")).is_err() {
        let mut found = all();
        found.retain(|pid| status(*pid, "PPid:") == Some(parent));
        return found;
    }
    // Each thread has the children that it started.
    let tasks = fs::read_dir(format!("/proc/{parent}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let numbers = list.split_ascii_whitespace();
            numbers
                .filter_map(|number| number.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The process, and all below it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        found.extend(children(*parent));
        next += 1;
    }
    found
}
