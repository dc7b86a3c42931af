//! What the archive keeps a second beside the rate of its disk, how soon it starts with many runs, and what memory many open
//! chains take: `make bench-archive`. `BENCH_DIR` names a directory on the disk that is meant.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cofferdam_archive::testing::Direct;
use cofferdam_wire::chain::verify::{Expected, verify};
use cofferdam_wire::record::{RECORD_VERSION, Record, RecordEvent};

mod proc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Records of one batch, as a gateway sends them every 100 ms under load.
const BATCH: u64 = 100;
/// Runs that write at the same time.
const WRITING: u64 = 200;
/// How long each load lasts.
const TIME: Duration = Duration::from_secs(10);
const SEALED_RUNS: u32 = 10_000;
const OPEN_CHAINS: u32 = 5_000;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<()> {
    let root = std::env::var_os("BENCH_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let data = tempfile::Builder::new()
        .prefix("bench-archive")
        .tempdir_in(root)?;
    let sync = disk(data.path())?;
    println!(
        "disk: {:.2} ms for 50 KB and fdatasync (median of 100)",
        millis(sync)
    );
    let rate = load(&data.path().join("full"), None).await?;
    load(&data.path().join("half"), Some(rate / 2.0)).await?;
    verified(&data.path().join("full"))?;
    start(&data.path().join("many"))?;
    memory(&data.path().join("open")).await
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The median of a write and its sync, of as much as one batch.
fn disk(directory: &Path) -> Result<Duration> {
    let mut file = File::create(directory.join("disk"))?;
    let bytes = vec![b'x'; 50_000];
    let mut times = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

/// The lines of a batch that begins with this number.
fn batch(first: u64) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for number in first..first + BATCH {
        let record = Record {
            version: RECORD_VERSION,
            source_seq: number,
            time: "2026-11-26T10:00:00.123456789Z".to_owned(),
            request: None,
            event: RecordEvent::Allowed {
                host: format!("host-{number}.internet.test:443"),
                method: "CONNECT".to_owned(),
                path: None,
                address: "203.0.113.30:443".to_owned(),
                rules: vec!["SandboxPolicy/default/allowed".to_owned()],
                credential: None,
                by: "agent".to_owned(),
            },
        };
        serde_json::to_writer(&mut lines, &record)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

fn directory(path: &Path) -> Result<&Path> {
    fs::create_dir(path)?;
    Ok(path)
}

/// As many batches as are acknowledged, or so many records a second; gives the records a second.
async fn load(path: &Path, paced: Option<f64>) -> Result<f64> {
    let store = Arc::new(Direct::open(directory(path)?)?);
    if paced.is_none() {
        println!(
            "the volume is synced {}",
            if store.syncs_whole() {
                "as a whole"
            } else {
                "file by file: give it a file system of its own"
            }
        );
    }
    let (start, done) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let pause = paced.map(|rate| Duration::from_secs_f64(BATCH as f64 * WRITING as f64 / rate));
    let writers = (0..WRITING).map(|writer| {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        tokio::spawn(async move {
            let (mut next, mut times, mut turn) = (1, Vec::new(), 0);
            // Not all at the same moment.
            let first = pause.map_or(Duration::ZERO, |pause| {
                pause.mul_f64(writer as f64 / WRITING as f64)
            });
            while start.elapsed() < TIME {
                if let Some(pause) = pause {
                    let due = first + pause * turn;
                    tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
                    turn += 1;
                }
                // A run has room for some thirty batches of its limit.
                let run = format!("{writer:x}-{:x}", next / (BATCH * 200));
                let lines = batch(next)?;
                let asked = Instant::now();
                store.append(&run, "gateway/pod/1", &lines).await?;
                times.push(asked.elapsed());
                done.fetch_add(BATCH, Ordering::Relaxed);
                next += BATCH;
            }
            Result::Ok(times)
        })
    });
    let mut times = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        times.extend(writer.await??);
    }
    let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    times.sort();
    let at = |part: usize| millis(times.get(times.len() * part / 100).copied().unwrap_or_default());
    let load = if paced.is_some() {
        "half of that"
    } else {
        "as fast as it takes them"
    };
    println!(
        "{load}: {rate:.0} acknowledged records/s of {WRITING} runs, batches of {BATCH}: p50 {:.1} ms, p99 {:.1} ms",
        at(50),
        at(99)
    );
    Ok(rate)
}

/// Verifies all chains that the load wrote.
fn verified(path: &Path) -> Result<()> {
    let (mut records, mut time) = (0, Duration::ZERO);
    for entry in fs::read_dir(path.join("runs"))? {
        let entry = entry?;
        let run = entry.file_name().to_string_lossy().into_owned();
        let bytes = fs::read(entry.path().join("chain.jsonl"))?;
        let start = Instant::now();
        records += verify(&run, &bytes, Expected::Nothing)?.head.seq;
        time += start.elapsed();
    }
    println!(
        "verify: {:.0} records/s on one core, of {records}",
        records as f64 / time.as_secs_f64()
    );
    Ok(())
}

/// A start with many runs that are over.
fn start(path: &Path) -> Result<()> {
    let runs = directory(path)?.join("runs");
    fs::create_dir(&runs)?;
    let chain = batch(1)?;
    for number in 0..SEALED_RUNS {
        let run = runs.join(format!("{number:x}"));
        fs::create_dir(&run)?;
        fs::write(run.join("chain.jsonl"), &chain)?;
        fs::write(run.join("statement.json"), b"{}")?;
        let index = format!(
            r#"{{"run":"team-{}/run-{number}","namespaceUid":"u","time":"t"}}"#,
            number % 50
        );
        fs::write(run.join("index.json"), index)?;
    }
    let start = Instant::now();
    drop(Direct::open(path)?);
    println!(
        "start with {SEALED_RUNS} runs: {:.2} s (their files are in the kernel's cache)",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// MiB of this process.
fn resident() -> Result<f64> {
    let kib: Option<f64> = proc::status(std::process::id(), "VmRSS:");
    Ok(kib.ok_or("no VmRSS")? / 1024.0)
}

/// What many open chains add to the process.
async fn memory(path: &Path) -> Result<()> {
    let store = Direct::open(directory(path)?)?;
    let (before, lines) = (resident()?, batch(1)?);
    for number in 0..OPEN_CHAINS {
        let run = format!("{number:x}");
        let appends = ["gateway/pod-1/1", "gateway/pod-2/1", "controller/pod/1"];
        let appends = appends.map(|source| store.append(&run, source, &lines));
        for done in futures::future::join_all(appends).await {
            done?;
        }
    }
    println!(
        "memory: {:.0} MiB more for {OPEN_CHAINS} open chains of 3 sources, {:.0} MiB in all",
        resident()? - before,
        resident()?
    );
    Ok(())
}
