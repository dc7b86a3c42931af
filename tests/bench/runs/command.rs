//! What the command costs whoever waits for it: a list of many runs, a patch, a chain, and its memory and that of the roles behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam_api::AgentRun;
use cofferdam_wire::archive::ChainState;
use cofferdam_wire::chain::{Class, Entry, Head, Stamp};
use cofferdam_wire::output_api::{RunName, RunSummary};
use cofferdam_wire::record::{RECORD_VERSION, Record, RecordEvent, RunRecord};
use kube::{Api, ResourceExt as _};

use super::gateway::Gateway;
use super::place::{Place, Purpose};
use super::stock::{STOCK, fill, sample};
use super::{Result, proc};

/// Runs of the list.
const RUNS: usize = 5000;
/// Records of the chain that is verified.
const RECORDS: u64 = 200_000;
/// Times of which the middle one counts.
const TIMES: usize = 5;
const MIB: usize = 1 << 20;

/// What one call came to.
struct Took {
    /// To the first byte of its output.
    first: Duration,
    /// To its end.
    whole: Duration,
    /// Most memory, in MiB.
    memory: f64,
    bytes: usize,
}

/// The program, as the administrator of the cluster at `state`.
struct Plugin {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Plugin {
    /// Runs it to its end. Who verifies an export that nobody signed is told so by its exit code.
    fn call(&self, arguments: &[&str]) -> Result<Took> {
        let since = Instant::now();
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut output = child.stdout.take().ok_or("the program has no output")?;
        let (mut piece, mut bytes, mut first, mut memory) = (vec![0; 64 * 1024], 0, None, 0.0_f64);
        loop {
            let read = output.read(&mut piece)?;
            // The most so far: a mark that only rises.
            memory = memory.max(proc::status(child.id(), "VmHWM:").unwrap_or(0.0) / 1024.0);
            if read == 0 {
                break;
            }
            first.get_or_insert_with(|| since.elapsed());
            bytes += read;
        }
        let whole = since.elapsed();
        let status = child.wait()?;
        if status.code().is_none_or(|code| code > 1) {
            return Err(format!("{} ends with {status}", arguments.join(" ")).into());
        }
        Ok(Took {
            first: first.unwrap_or(whole),
            whole,
            memory,
            bytes,
        })
    }

    /// The middle one of several calls, by what `of` takes of each.
    fn middle(&self, arguments: &[&str], of: fn(&Took) -> Duration) -> Result<Took> {
        let mut took = (0..TIMES)
            .map(|_| self.call(arguments))
            .collect::<Result<Vec<_>>>()?;
        took.sort_by_key(of);
        Ok(took.swap_remove(TIMES / 2))
    }
}

/// Measures, and prints a table.
pub async fn bench(place: &Place, gateway: &Gateway) -> Result<bool> {
    let plugin = Plugin {
        program: std::env::var_os("PLUGIN")
            .ok_or("PLUGIN does not name the program")?
            .into(),
        kubeconfig: place.state.join("config/admin.kubeconfig"),
    };
    let template = sample(place, gateway).await?;
    place.namespace(STOCK, Purpose::Stock).await?;
    fill(place, &template, 0, RUNS).await?;
    let mut table = Table::new();

    let listed = plugin.middle(&["list", "-n", STOCK], |took| took.whole)?;
    table.row(
        &format!("`list` of {RUNS} runs, s"),
        listed.whole.as_secs_f64(),
        Bound::Most(1.0),
    );
    let filtered = plugin.middle(&["list", "-n", STOCK, "--mine"], |took| took.whole)?;
    table.row(
        "`list --mine` of as many, s",
        filtered.whole.as_secs_f64(),
        Bound::Most(1.0),
    );

    upload(place, gateway, "finished-0", MIB).await?;
    let named = plugin.middle(&["diff", "finished-0", "-n", STOCK], |took| took.first)?;
    exactly(&named, MIB)?;
    table.row(
        "`diff` of 1 MiB to its first byte, ms",
        named.first.as_secs_f64() * 1e3,
        Bound::Most(200.0),
    );

    upload(place, gateway, "finished-1", 64 * MIB).await?;
    let small = plugin.call(&["diff", "finished-0", "-n", STOCK])?;
    let roles = Roles::new()?;
    let large = plugin.call(&["diff", "finished-1", "-n", STOCK])?;
    exactly(&large, 64 * MIB)?;
    table.row("`diff` of 64 MiB, s", large.whole.as_secs_f64(), Bound::None);
    table.row(
        "its memory beside that of 1 MiB, MiB",
        large.memory - small.memory,
        Bound::Most(16.0),
    );
    for (role, more) in roles.more() {
        table.row(
            &format!("what it adds to the {role}'s, MiB"),
            more,
            Bound::Most(16.0),
        );
    }

    let export = tempfile::tempdir()?;
    write_export(export.path())?;
    let directory = export.path().join("run");
    let directory = directory.to_str().ok_or("the directory has no name")?;
    let verified = plugin.middle(&["verify", "--export", directory], |took| took.whole)?;
    let rate = super::sitting::whole(RECORDS) / verified.whole.as_secs_f64();
    table.row(
        &format!("`verify` of {RECORDS} records, records/s"),
        rate,
        Bound::Least(200_000.0),
    );
    table.print();
    Ok(table.holds)
}

fn exactly(took: &Took, bytes: usize) -> Result<()> {
    if took.bytes == bytes {
        return Ok(());
    }
    Err(format!("{} bytes came of {bytes}", took.bytes).into())
}

/// Stores a patch of so many bytes for a run that is made up.
async fn upload(place: &Place, gateway: &Gateway, name: &str, bytes: usize) -> Result<()> {
    let api: Api<AgentRun> = Api::namespaced(place.client.clone(), STOCK);
    let uid = api.get(name).await?.uid().ok_or("the run has no uid")?;
    let head = "diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n";
    let line = "+a line as long as lines of code are, more or less, whoever writes them\n";
    let mut patch = head.to_owned();
    while patch.len() < bytes {
        patch.push_str(line);
    }
    patch.truncate(bytes);
    gateway.upload(STOCK, name, &uid, patch).await
}

/// The processes that a patch passes, with their memory before.
struct Roles(Vec<(String, u32, f64)>);

impl Roles {
    fn new() -> Result<Self> {
        let mut roles = Vec::new();
        for pid in proc::all() {
            let mut words = proc::command(pid).into_iter();
            let (program, role) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if program.ends_with("cofferdam") && ["archive", "output"].contains(&role.as_str()) {
                // From here on the mark is that of what follows.
                File::options()
                    .write(true)
                    .open(format!("/proc/{pid}/clear_refs"))?
                    .write_all(b"5")?;
                roles.push((role, pid, most(pid)));
            }
        }
        Ok(Self(roles))
    }

    /// How much more than before each has needed since; of several of a role, the one that needed most.
    fn more(&self) -> BTreeMap<&str, f64> {
        let mut more = BTreeMap::new();
        for (role, pid, before) in &self.0 {
            let entry = more.entry(role.as_str()).or_insert(0.0_f64);
            *entry = entry.max(most(*pid) - before);
        }
        more
    }
}

fn most(pid: u32) -> f64 {
    proc::status(pid, "VmHWM:").unwrap_or(0.0) / 1024.0
}

/// An export of a run with a long chain.
fn write_export(directory: &Path) -> Result<()> {
    let uid = "0b7c9f3e-1111-4222-8333-444455556666";
    let directory = directory.join("run");
    std::fs::create_dir(&directory)?;
    let (mut head, mut lines) = (Head::EMPTY, Vec::new());
    let stamp = Stamp {
        run: uid,
        source: "gateway/5d0a7b1c-2222-4333-8444-555566667777/0123456789abcdef-1",
        class: Class::Observed,
    };
    for number in 1..=RECORDS {
        let event = match number {
            1 => RecordEvent::StreamOpened,
            RECORDS => RecordEvent::StreamClosed {
                count: RECORDS - 1,
                cause: cofferdam_wire::record::StreamEnd::RunEnded.into(),
            },
            number => allowed(number),
        };
        let record = Record {
            version: RECORD_VERSION,
            source_seq: number,
            time: "2026-11-26T10:00:00.123456789Z".to_owned(),
            request: None,
            event,
        };
        Entry::parse(&serde_json::to_vec(&record)?)?.chain(&mut head, stamp, &mut lines);
    }
    std::fs::write(directory.join("records.jsonl"), &lines)?;
    let name = RunName {
        name: "fix".to_owned(),
        namespace: "team-a".to_owned(),
        uid: uid.to_owned(),
    };
    let record = RunRecord {
        version: cofferdam_wire::record::VERSION,
        requests: RECORDS - 2,
        chain: Some(ChainState {
            bytes: lines.len() as u64,
            head: Some(head),
            fault: None,
        }),
        ..RunRecord::default()
    };
    let summary = RunSummary::new(name, record);
    std::fs::write(directory.join("summary.json"), serde_json::to_vec(&summary)?)?;
    Ok(())
}

fn allowed(number: u64) -> RecordEvent {
    RecordEvent::Allowed {
        host: format!("host-{number}.internet.test:443"),
        method: "CONNECT".to_owned(),
        path: None,
        address: "203.0.113.30:443".to_owned(),
        rules: vec![
            "SandboxPolicy/default/allowed".to_owned(),
            "ClusterSandboxPolicy/default/all".to_owned(),
        ],
        credential: None,
        by: "agent".to_owned(),
    }
}

/// What a figure has to be.
#[derive(Clone, Copy)]
enum Bound {
    None,
    Most(f64),
    Least(f64),
}

/// The table, and whether all of it is within its bounds.
struct Table {
    lines: Vec<String>,
    holds: bool,
}

impl Table {
    fn new() -> Self {
        Self {
            lines: vec![
                "| what | measured | bound | |".to_owned(),
                "|---|---|---|---|".to_owned(),
            ],
            holds: true,
        }
    }

    fn row(&mut self, what: &str, figure: f64, bound: Bound) {
        let (text, holds) = match bound {
            Bound::None => (String::new(), true),
            Bound::Most(most) => (format!("≤ {most}"), figure <= most),
            Bound::Least(least) => (format!("≥ {least}"), figure >= least),
        };
        let digits = if figure.abs() < 10.0 { 2 } else { 0 };
        let word = if holds { "" } else { "TOO MUCH" };
        self.lines
            .push(format!("| {what} | {figure:.digits$} | {text} | {word} |"));
        self.holds &= holds;
    }

    fn print(&self) {
        println!("{}", self.lines.join("\n"));
    }
}
