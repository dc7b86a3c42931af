use super::verify::{Expected, Fault, FaultKind, Stream, Verified, verify};
use super::*;
use proptest::prelude::*;
use rstest::rstest;

const RUN: &str = "0b7c9f3e-1111-4222-8333-444455556666";

fn entry(number: u64, text: &str) -> Entry {
    let data = serde_json::json!({"host": text});
    let fields = serde_json::json!({"sourceSeq": number, "time": "t", "type": "Denied", "data": data});
    Entry::parse(fields.to_string().as_bytes()).unwrap()
}

fn stamp(source: &str) -> Stamp<'_> {
    Stamp {
        run: RUN,
        source,
        class: Class::Observed,
    }
}

/// A chain of records of two sources in turn, with its head.
fn chain(length: usize) -> (Vec<Vec<u8>>, Head) {
    let (mut head, mut lines) = (Head::EMPTY, Vec::new());
    for (index, source) in (0..length as u64).zip(["gateway/a/1", "gateway/b/2"].into_iter().cycle()) {
        let mut line = Vec::new();
        entry(index / 2 + 1, &format!("{index}.test \u{e9}\n\"")).chain(&mut head, stamp(source), &mut line);
        lines.push(line);
    }
    (lines, head)
}

fn judge(lines: &[Vec<u8>], expected: Expected) -> Result<Verified, Fault> {
    verify(RUN, &lines.concat(), expected)
}

#[test]
fn golden_lines() {
    let (lines, head) = chain(2);
    insta::assert_snapshot!(String::from_utf8(lines.concat()).unwrap());
    assert_eq!(head.seq, 2);
    assert_eq!(
        serde_json::from_str::<Head>(&serde_json::to_string(&head).unwrap()).unwrap(),
        head
    );
}

#[rstest]
#[case::no_object("[]", EntryError::NotAnObject("invalid type: sequence, expected a map at line 1 column 0".into()))]
#[case::no_number(r#"{"time":"t","type":"A"}"#, EntryError::Field("sourceSeq"))]
#[case::number_0(r#"{"sourceSeq":0,"time":"t","type":"A"}"#, EntryError::Field("sourceSeq"))]
#[case::number_is_text(r#"{"sourceSeq":"1","time":"t","type":"A"}"#, EntryError::Field("sourceSeq"))]
#[case::no_type(r#"{"sourceSeq":1,"time":"t"}"#, EntryError::Field("type"))]
#[case::empty_type(r#"{"sourceSeq":1,"time":"t","type":""}"#, EntryError::Field("type"))]
#[case::no_time(r#"{"sourceSeq":1,"type":"A"}"#, EntryError::Field("time"))]
#[case::class(
    r#"{"sourceSeq":1,"time":"t","type":"A","class":"Observed"}"#,
    EntryError::Stamped("class")
)]
#[case::prev(
    r#"{"sourceSeq":1,"time":"t","type":"A","prev":""}"#,
    EntryError::Stamped("prev")
)]
#[case::seq(
    r#"{"sourceSeq":1,"time":"t","type":"A","seq":1}"#,
    EntryError::Stamped("seq")
)]
#[case::run(
    r#"{"sourceSeq":1,"time":"t","type":"A","run":"r"}"#,
    EntryError::Stamped("run")
)]
#[case::source(
    r#"{"sourceSeq":1,"time":"t","type":"A","source":"s"}"#,
    EntryError::Stamped("source")
)]
fn what_is_no_record(#[case] line: &str, #[case] error: EntryError) {
    assert_eq!(Entry::parse(line.as_bytes()), Err(error));
}

#[test]
fn the_longest_record_is_taken_and_one_byte_more_is_not() {
    let of = |length: usize| {
        let frame = r#"{"sourceSeq":1,"time":"t","type":"A","data":""}"#;
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(length - frame.len())))
    };
    assert!(Entry::parse(of(ENTRY_LIMIT).as_bytes()).is_ok());
    assert_eq!(
        Entry::parse(of(ENTRY_LIMIT + 1).as_bytes()),
        Err(EntryError::TooLong)
    );
}

#[test]
fn what_a_version_does_not_know_is_kept_as_it_is() {
    let line = br#"{"sourceSeq":1,"time":"t","type":"Reserved","version":9,"data":{"z":[1,{"a":null}]},"later":{"b":2,"a":1}}"#;
    let (mut head, mut lines) = (Head::EMPTY, Vec::new());
    Entry::parse(line)
        .unwrap()
        .chain(&mut head, stamp("s"), &mut lines);
    let stored: Value = serde_json::from_slice(&lines).unwrap();
    let sent: Value = serde_json::from_slice(line).unwrap();
    for (name, value) in sent.as_object().unwrap() {
        assert_eq!(&stored[name], value);
    }
    assert_eq!(
        stored.as_object().unwrap().len(),
        sent.as_object().unwrap().len() + STAMPED.len()
    );
}

#[test]
fn hashes_have_one_spelling() {
    let hash = LineHash::of(b"x");
    assert_eq!(hash.to_string().parse(), Ok(hash));
    let upper = hash.to_string().to_uppercase();
    for text in [
        "",
        "00",
        &upper,
        &format!("{hash}0"),
        &format!("{hash}00"),
        &"é".repeat(32),
    ] {
        assert_eq!(text.parse::<LineHash>(), Err(NotAHash), "{text}");
    }
}

#[test]
fn a_whole_chain_is_verified_and_says_what_is_missing() {
    let (mut lines, mut head) = chain(5);
    assert_eq!(
        judge(&[], Expected::Exactly(Head::EMPTY)).unwrap().head,
        Head::EMPTY
    );
    for expected in [
        Expected::Nothing,
        Expected::AtLeast(head),
        Expected::Exactly(head),
    ] {
        let verified = judge(&lines, expected).unwrap();
        assert_eq!(verified.head, head);
        assert_eq!(
            verified.sources["gateway/a/1"],
            Stream {
                last: 3,
                missing: vec![]
            }
        );
        assert_eq!(
            verified.sources["gateway/b/2"],
            Stream {
                last: 2,
                missing: vec![]
            }
        );
    }
    let before = head;
    let mut line = Vec::new();
    entry(6, "after three were lost").chain(&mut head, stamp("gateway/b/2"), &mut line);
    lines.push(line);
    let verified = judge(&lines, Expected::AtLeast(before)).unwrap();
    assert_eq!(
        verified.sources["gateway/b/2"],
        Stream {
            last: 6,
            missing: vec![3..=5]
        }
    );
    assert_eq!(
        judge(&lines, Expected::Exactly(before)),
        Err(Fault {
            line: 6,
            kind: FaultKind::BehindTheEnd
        })
    );
}

/// A record that the archive stored twice links well: the numbers of its source tell.
#[test]
fn a_record_that_is_chained_twice_is_a_fault() {
    let (mut head, mut lines) = (Head::EMPTY, Vec::new());
    for number in [1, 2, 2] {
        entry(number, "x").chain(&mut head, stamp("s"), &mut lines);
    }
    let kind = FaultKind::Repeated {
        source_name: "s".to_owned(),
        number: 2,
    };
    assert_eq!(
        verify(RUN, &lines, Expected::Nothing),
        Err(Fault { line: 3, kind })
    );
}

#[test]
fn lines_of_another_run_are_a_fault() {
    let (lines, _) = chain(2);
    let fault = verify("other", &lines.concat(), Expected::Nothing).unwrap_err();
    assert_eq!(
        fault,
        Fault {
            line: 1,
            kind: FaultKind::OtherRun(RUN.to_owned())
        }
    );
}

/// Without a head there is no telling an altered last line from an altered line before it.
#[test]
fn without_a_head_the_last_two_lines_vouch_for_each_other_only() {
    let (mut lines, head) = chain(4);
    let at = lines[2].len() - 5;
    lines[2][at] ^= 1;
    assert!(matches!(
        judge(&lines, Expected::Nothing),
        Err(Fault {
            line: 4,
            kind: FaultKind::Unlinked(_)
        })
    ));
    assert!(matches!(
        judge(&lines, Expected::Exactly(head)),
        Err(Fault {
            line: 3,
            kind: FaultKind::Altered(_)
        })
    ));
}

/// One way to spoil a chain, and the line (from 1) that must be named for it.
#[derive(Clone, Debug)]
enum Corruption {
    Flip { line: usize, byte: usize, bit: u8 },
    Cut { line: usize, byte: usize },
    Swap { one: usize, other: usize },
    Replay { line: usize, at: usize },
    Remove { from: usize, count: usize },
    Empty,
}

impl Corruption {
    /// Spoils the lines, unless that changes nothing, and returns the number of the line at fault.
    fn apply(&self, lines: &mut Vec<Vec<u8>>) -> Option<u64> {
        let length = lines.len();
        let at = match *self {
            Self::Flip { line, byte, bit } => {
                let line = line % length;
                let byte = byte % lines[line].len();
                lines[line][byte] ^= 1 << (bit % 8);
                line
            }
            Self::Cut { line, byte } => {
                let line = line % length;
                let byte = byte % lines[line].len();
                lines.truncate(line + 1);
                lines[line].truncate(byte);
                line
            }
            Self::Swap { one, other } => {
                let (one, other) = (one % length, other % length);
                lines.swap(one, other);
                if one == other {
                    return None;
                }
                one.min(other)
            }
            Self::Replay { line, at } => {
                let (line, at) = (line % length, at % (length + 1));
                let copy = lines[line].clone();
                lines.insert(at, copy);
                // A copy behind its original is the same as one in front of it.
                if at == line { at + 1 } else { at }
            }
            Self::Remove { from, count } => {
                let from = from % length;
                lines.drain(from..(from + 1 + count % 3).min(length));
                from
            }
            Self::Empty => {
                lines.clear();
                0
            }
        };
        Some(at as u64 + 1)
    }
}

fn corruption() -> impl Strategy<Value = Corruption> {
    prop_oneof![
        6 => (any::<usize>(), any::<usize>(), any::<u8>()).prop_map(|(line, byte, bit)| Corruption::Flip { line, byte, bit }),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(line, byte)| Corruption::Cut { line, byte }),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Corruption::Swap { one, other }),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(line, at)| Corruption::Replay { line, at }),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(from, count)| Corruption::Remove { from, count }),
        1 => Just(Corruption::Empty),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn each_corruption_is_found_and_located(length in 1_usize..12, corruption in corruption()) {
        let (mut lines, head) = chain(length);
        if let Some(line) = corruption.apply(&mut lines) {
            let fault = judge(&lines, Expected::Exactly(head)).unwrap_err();
            prop_assert_eq!(fault.line, line, "{}", fault);
        }
    }

    #[test]
    fn whatever_is_chained_verifies(
        records in proptest::collection::vec((0_usize..3, "\\PC{0,40}", 0_u64..2), 0..30),
    ) {
        let sources = ["a", "b", "c"];
        let (mut head, mut lines, mut last) = (Head::EMPTY, Vec::new(), [0; 3]);
        for (source, text, gap) in &records {
            last[*source] += 1 + gap;
            entry(last[*source], text).chain(&mut head, stamp(sources[*source]), &mut lines);
        }
        let verified = verify(RUN, &lines, Expected::Exactly(head)).unwrap();
        for (source, last) in sources.iter().zip(last) {
            let stream = verified.sources.get(*source).cloned().unwrap_or_default();
            prop_assert_eq!(stream.last, last);
            let missing: u64 = stream.missing.iter().map(|range| range.end() - range.start() + 1).sum();
            let stored = records.iter().filter(|(of, _, _)| sources[*of] == *source).count();
            prop_assert_eq!(missing + stored as u64, last);
        }
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = verify(RUN, &bytes, Expected::Nothing);
        let _ = Entry::parse(&bytes);
    }
}
