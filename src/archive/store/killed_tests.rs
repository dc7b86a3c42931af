//! The archive's process is killed at random points, again and again, while many write.
//!
//! A kill takes nothing from the kernel's cache, so what this shows is what a process owes: no acknowledged record is lost,
//! none is there twice, a torn line is cut off. That a sync precedes an acknowledgement is shown elsewhere.
//! `COFFERDAM_SEED` repeats a campaign, `COFFERDAM_ROUNDS` makes it longer (`make soak`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Store, Sweep};
use crate::error::StoreError;
use crate::keep::Terms;
use crate::log::testing::closed;
use cofferdam_wire::chain::Class;
use cofferdam_wire::chain::verify::{Expected, Verified, verify};
use cofferdam_wire::hold::Holds;
use cofferdam_wire::seal::{SealCause, SealRequest, VERSION};

const RUNS: [&str; 4] = ["a0", "b0", "c0", "d0"];
const WRITERS: u64 = 3;
const DATA: &str = "COFFERDAM_KILLED_DATA";
const SEED: &str = "COFFERDAM_SEED";
const ROUNDS: &str = "COFFERDAM_ROUNDS";

/// Numbers that a seed determines (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

fn chain(data: &Path, run: &str) -> Verified {
    let bytes = fs::read(data.join("runs").join(run).join("chain.jsonl")).unwrap_or_default();
    // What has no line feed was not acknowledged.
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    verify(run, &bytes[..whole], Expected::Nothing).unwrap()
}

/// One writer of one run. It sends again what its predecessor may have stored, as a gateway's spool does, and tells the
/// parent of each acknowledgement.
async fn write(store: &Store, run: &str, writer: u64, mut next: u64, random: u64) {
    let mut random = Random(random);
    let source = format!("gateway/pod/{writer}");
    next = next.saturating_sub(random.next(4)).max(1);
    loop {
        let last = next + random.next(5);
        let lines: Vec<u8> = (next..=last).flat_map(closed).collect();
        let prepared = store
            .prepare(run, source.clone(), Class::Observed, &lines)
            .unwrap();
        match store.commit(prepared).await {
            Ok(()) => {}
            // As many as a run may have; the other runs go on.
            Err(StoreError::Full) => return,
            Err(error) => panic!("{error}"),
        }
        // One write, so that a kill cuts no line.
        let told = format!("ack {run} {writer} {last}\n");
        std::io::stdout().write_all(told.as_bytes()).unwrap();
        next = last + 1;
    }
}

/// The process that is killed: only the parent runs it.
#[test]
#[ignore = "the process that the campaign kills"]
fn victim() {
    let Some(data) = std::env::var_os(DATA) else {
        return;
    };
    let data = Path::new(&data).to_owned();
    let mut random = Random(std::env::var(SEED).unwrap().parse().unwrap());
    let starts: Vec<(&str, u64, u64)> = RUNS
        .into_iter()
        .flat_map(|run| {
            let sources = chain(&data, run).sources;
            (0..WRITERS).map(move |writer| {
                let known = sources.get(&format!("gateway/pod/{writer}"));
                (run, writer, known.map_or(0, |stream| stream.last) + 1)
            })
        })
        .collect();
    let store = Arc::new(Store::open(&data).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let writers = starts.into_iter().map(|(run, writer, next)| {
            let (store, random) = (Arc::clone(&store), random.next(u64::MAX));
            tokio::spawn(async move { write(&store, run, writer, next, random).await })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

/// Starts the archive, kills it after a while, and gives the last number that each writer was acknowledged.
fn killed(data: &Path, random: &mut Random) -> BTreeMap<(String, u64), u64> {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::killed_tests::victim",
            "--ignored",
            "--nocapture",
        ])
        .env(DATA, data)
        .env(SEED, random.next(u64::MAX).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(victim.stdout.take().unwrap());
    let mut acknowledged = BTreeMap::new();
    // It writes before it is killed: else nothing would be shown.
    let mut wanted = 1 + i64::try_from(random.next(40)).unwrap();
    let mut line = String::new();
    let pause = Duration::from_micros(random.next(3000));
    while told.read_line(&mut line).unwrap() > 0 {
        if let ["ack", run, writer, last] = line.split_whitespace().collect::<Vec<_>>()[..] {
            let key = (run.to_owned(), writer.parse().unwrap());
            acknowledged.insert(key, last.parse().unwrap());
            wanted -= 1;
            if wanted == 0 {
                std::thread::sleep(pause);
                // What it told until then is still read.
                victim.kill().unwrap();
            }
        }
        line.clear();
    }
    victim.wait().unwrap();
    assert!(!acknowledged.is_empty(), "it stored nothing");
    acknowledged
}

#[test]
fn whenever_the_process_is_killed_each_chain_has_what_was_acknowledged() {
    let number = |name: &str, default: u64| {
        let given = std::env::var(name).ok();
        given.map_or(default, |text| text.parse().expect("a number"))
    };
    let seed = number(SEED, 20_261_127);
    let mut random = Random(seed);
    let mut data = tempfile::tempdir().unwrap();
    for round in 0..number(ROUNDS, 8) {
        // A run has only so many records.
        if round % 50 == 49 {
            data = tempfile::tempdir().unwrap();
        }
        let acknowledged = killed(data.path(), &mut random);
        for ((run, writer), last) in acknowledged {
            let chain = chain(data.path(), &run);
            let stream = &chain.sources[&format!("gateway/pod/{writer}")];
            assert!(
                stream.last >= last,
                "seed {seed}, round {round}: {run}/{writer} lost {last}"
            );
            assert_eq!(stream.missing, [], "seed {seed}, round {round}: {run}/{writer}");
        }
        // The next start reads the same, and goes on.
        let store = Store::open(data.path()).unwrap();
        for run in RUNS {
            assert_eq!(
                store.chain(run).unwrap().1.head,
                Some(chain(data.path(), run).head)
            );
        }
    }
}

/// The volume is restored from a backup that is behind: what gateways were acknowledged since is gone, and is said to be.
#[tokio::test]
async fn a_backup_that_is_behind_is_told_apart_and_its_gap_is_named() {
    let data = tempfile::tempdir().unwrap();
    let chain_of = |data: &Path| data.join("runs/a0/chain.jsonl");
    let append = async |store: &Store, numbers: std::ops::RangeInclusive<u64>| {
        let lines: Vec<u8> = numbers.flat_map(closed).collect();
        let prepared = store
            .prepare("a0", "gateway/pod/1".to_owned(), Class::Observed, &lines)
            .unwrap();
        store.commit(prepared).await.unwrap();
    };
    let store = Store::open(data.path()).unwrap();
    append(&store, 1..=3).await;
    let backup = fs::read(chain_of(data.path())).unwrap();
    append(&store, 4..=6).await;
    let witnessed = chain(data.path(), "a0").head;
    drop(store);
    fs::write(chain_of(data.path()), &backup).unwrap();
    let store = Store::open(data.path()).unwrap();
    // The gateway goes on with the number after the last that was acknowledged.
    append(&store, 7..=8).await;
    let restored = fs::read(chain_of(data.path())).unwrap();
    let stream = chain(data.path(), "a0").sources["gateway/pod/1"].clone();
    assert_eq!((stream.last, stream.missing), (8, vec![4..=6]));
    // Who kept a head, as a status or a statement does, sees that this is another chain.
    let fault = verify("a0", &restored, Expected::AtLeast(witnessed)).unwrap_err();
    assert!(fault.line > 3, "{fault}");
    // And so does the seal.
    let request = SealRequest {
        version: VERSION,
        cause: SealCause::RunEnded,
        incomplete: false,
        stream: "a-1".to_owned(),
        records: Vec::new(),
    };
    let prepared = store.prepare_seal("a0", request, "controller/pod-c").unwrap();
    let seal = store.seal(prepared).await.unwrap();
    assert!(!seal.data.complete);
    assert_eq!(seal.data.gaps[0].missing, 3);
}

/// A clock that steps back removes nothing, and one that steps ahead nothing that was written after.
#[tokio::test]
async fn steps_of_the_clock_remove_nothing_that_is_young() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    let prepared = store.prepare("a0", "gateway/pod/1".to_owned(), Class::Observed, &closed(1));
    store.commit(prepared.unwrap()).await.unwrap();
    let file = fs::File::options()
        .append(true)
        .open(data.path().join("runs/a0/chain.jsonl"))
        .unwrap();
    let now = SystemTime::now();
    let (day, year) = (Duration::from_hours(24), Duration::from_hours(24 * 365));
    let (holds, terms) = (
        Holds::default(),
        Terms {
            records_days: 30,
            patches_days: 30,
            most_days: 30,
        },
    );
    let removed = |now| {
        let sweep = Sweep {
            terms: &terms,
            holds: &holds,
            now,
        };
        store.remove("a0", &sweep).unwrap()
    };
    for written in [now + year, now] {
        file.set_modified(written).unwrap();
        for seen in [SystemTime::UNIX_EPOCH, now - year, now, now + day * 29] {
            assert!(!removed(seen), "{seen:?}");
        }
    }
    assert!(removed(now + day * 31), "the control");
}
