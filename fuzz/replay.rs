//! The kept corpus of each fuzz target: what once found a fault, or is near one, is tried by the compiler of every day.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod targets;

use std::path::Path;

use targets::TARGETS;

/// Each case of a corpus.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus")).join(target);
    let files =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut cases: Vec<(String, Vec<u8>)> = files
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    cases.sort();
    cases
}

#[test]
fn the_kept_corpus_holds() {
    for (name, run) in TARGETS {
        let mut counts = [0, 0];
        for (case, bytes) in corpus(name) {
            let taken = run(&bytes);
            // The name of a case says which side it is on.
            let expected = if taken { "taken-" } else { "refused-" };
            assert!(case.starts_with(expected), "{name}/{case}: is {expected}");
            counts[usize::from(taken)] += 1;
        }
        // Positive control: both kinds are in each corpus.
        assert!(counts[0] >= 5 && counts[1] >= 3, "{name}: {counts:?}");
    }
}

/// Every case cut short and with a byte changed, so that a near miss of each is tried as well.
#[test]
fn what_is_near_a_case_holds() {
    for (name, run) in TARGETS {
        for (_, bytes) in corpus(name) {
            let step = (bytes.len() / 64).max(1);
            for at in (0..bytes.len()).step_by(step) {
                run(bytes.get(..at).unwrap());
                for flip in [0x01, 0x20, 0x80] {
                    let mut changed = bytes.clone();
                    *changed.get_mut(at).unwrap() ^= flip;
                    run(&changed);
                }
            }
        }
    }
}
