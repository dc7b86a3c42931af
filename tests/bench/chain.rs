//! What a chain of records costs to write and to verify (docs/evidence.md): `make bench-chain`.

use cofferdam_wire::chain::verify::{Expected, verify};
use cofferdam_wire::chain::{Class, Entry, Head, Stamp};
use cofferdam_wire::record::{RECORD_VERSION, Record, RecordEvent};
use divan::Bencher;
use divan::counter::ItemsCount;

const RUN: &str = "0b7c9f3e-1111-4222-8333-444455556666";
const RECORDS: u64 = 20_000;

fn main() {
    divan::main();
}

/// Lines as a gateway sends them.
fn sent() -> Vec<Vec<u8>> {
    let line = |number| {
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
                rules: vec![
                    "SandboxPolicy/default/allowed".to_owned(),
                    "ClusterSandboxPolicy/default/all".to_owned(),
                ],
                credential: None,
                by: "agent".to_owned(),
            },
        };
        serde_json::to_vec(&record).unwrap_or_else(|error| panic!("{error}"))
    };
    (1..=RECORDS).map(line).collect()
}

fn chained(sent: &[Vec<u8>]) -> (Vec<u8>, Head) {
    let (mut head, mut lines) = (Head::EMPTY, Vec::new());
    let stamp = Stamp {
        run: RUN,
        source: "gateway/5d0a7b1c-2222-4333-8444-555566667777/0123456789abcdef-1",
        class: Class::Observed,
    };
    for line in sent {
        let entry = Entry::parse(line).unwrap_or_else(|error| panic!("{error}"));
        entry.chain(&mut head, stamp, &mut lines);
    }
    (lines, head)
}

/// Reading the sender's lines, linking them, and making the file's bytes; without the disk.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn link(bencher: Bencher<'_, '_>) {
    let sent = sent();
    bencher
        .counter(ItemsCount::new(RECORDS))
        .bench(|| chained(divan::black_box(&sent)));
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn verified(bencher: Bencher<'_, '_>) {
    let (lines, head) = chained(&sent());
    bencher
        .counter(ItemsCount::new(RECORDS))
        .bench(|| verify(RUN, divan::black_box(&lines), Expected::Exactly(head)));
}
