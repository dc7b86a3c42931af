//! What processes of this machine cost, from `/proc`, and what machine it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{Result, proc};

/// Processes of the control plane whose CPU counts as a run's cost, in the order in which they are told.
pub const CONTROL_PLANE: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "controller",
    "gateway",
    "archive",
];

/// Processes by name.
pub type Processes = BTreeMap<String, u32>;

/// The processes of the cluster at `state`, and the roles that run in it.
pub fn processes(state: &Path) -> Result<Processes> {
    #[derive(Deserialize)]
    struct Record {
        name: String,
        pid: u32,
    }
    #[derive(Deserialize)]
    struct Cluster {
        processes: Vec<Record>,
        kwok: Option<Record>,
    }
    let cluster: Cluster = serde_json::from_slice(&fs::read(state.join("cluster.json"))?)?;
    let mut found: Processes = cluster
        .processes
        .into_iter()
        .chain(cluster.kwok)
        .map(|record| (record.name, record.pid))
        .collect();
    for pid in proc::all() {
        // A process that ended meanwhile has no command line.
        let mut words = proc::command(pid).into_iter();
        let (program, role) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if program.ends_with("cofferdam") && ["controller", "gateway", "archive"].contains(&role.as_str()) {
            found.insert(role, pid);
        }
    }
    Ok(found)
}

/// CPU seconds that each process has used; one that is not there has used none.
pub fn cpu(processes: &Processes) -> BTreeMap<String, f64> {
    processes
        .iter()
        .map(|(name, pid)| (name.clone(), proc::cpu(*pid).unwrap_or(0.0)))
        .collect()
}

/// Seconds since the machine started.
pub fn uptime() -> f64 {
    fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

/// Resident memory in MiB.
pub fn resident(pid: u32) -> f64 {
    proc::status(pid, "VmRSS:").unwrap_or(0.0) / 1024.0
}

/// The machine in one line: processors, memory, kernel, and how busy it is.
pub fn facts() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let gib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0 / 1024.0);
    let load = read("/proc/loadavg");
    format!(
        "{cores} cores of {model}, {gib:.0} GiB, Linux {}, load {} when it began",
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or_default(),
    )
}
