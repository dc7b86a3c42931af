use super::super::buffer::{ADMISSION_LIMIT, BUFFER_LIMIT};
use super::testing::Memory;
use super::*;
use bytes::Bytes;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::{CloseCause, Record};
use futures::future::BoxFuture;

fn denied(host: &str) -> RecordEvent {
    RecordEvent::Denied {
        host: host.to_owned(),
        method: "CONNECT".to_owned(),
        path: None,
        code: DenialCode::HostNotAllowed.into(),
        layer: None,
        message: "no".to_owned(),
        by: "agent".to_owned(),
        count: 1,
    }
}

fn closed() -> RecordEvent {
    RecordEvent::Closed {
        host: "a.test:443".to_owned(),
        sent: 1,
        received: 2,
        cause: CloseCause::Ended.into(),
    }
}

#[tokio::test]
async fn equal_denials_become_one_with_a_count() {
    let sink = Memory::default();
    let recorder = Recorder::new(ProcessId(1), sink.clone());
    for _ in 0..1000 {
        recorder.record("run-1", None, denied("evil.test:443"));
    }
    recorder.record("run-1", None, denied("other.test:443"));
    assert!(recorder.flush("run-1").await);
    let lines = sink.records();
    assert_eq!(lines.len(), 2);
    assert!(
        matches!(&lines[0].event, RecordEvent::Denied { count: 1000, host, .. } if host == "evil.test:443")
    );
    recorder.record("run-1", None, denied("evil.test:443"));
    assert!(recorder.flush("run-1").await);
    assert_eq!(sink.records().len(), 3);
}

#[tokio::test]
async fn an_archive_that_is_away_closes_the_exit_of_a_busy_run_only() {
    let sink = Memory::default();
    let recorder = Recorder::new(ProcessId(1), sink.clone());
    assert!(recorder.accepts("run-1").await && recorder.accepts("run-2").await);
    *sink.answer.lock() = Some("away");
    for _ in 0..ADMISSION_LIMIT {
        assert!(recorder.accepts("run-1").await);
        recorder.record("run-1", None, closed());
    }
    assert!(!recorder.accepts("run-1").await);
    assert!(recorder.accepts("run-2").await);
    assert!(!recorder.flush("run-1").await);
    recorder.record("run-1", None, closed());
    assert!(!recorder.accepts("run-1").await && !recorder.flush("run-1").await);
    *sink.answer.lock() = None;
    sink.batches.lock().clear();
    assert!(recorder.flush("run-1").await);
    assert!(recorder.accepts("run-1").await);
    // What was not acknowledged was sent again, and then the rest.
    let numbers: Vec<u64> = sink.all().iter().map(|record| record.source_seq).collect();
    assert_eq!(numbers, (2..=ADMISSION_LIMIT as u64 + 2).collect::<Vec<u64>>());
}

/// Before the archive knows that this process records the run nothing is let through: a process that dies with all its
/// records is missed.
#[tokio::test(start_paused = true)]
async fn first_connection_waits_until_the_stream_is_known() {
    let sink = Memory::default();
    *sink.answer.lock() = Some("away");
    let recorder = Recorder::new(ProcessId(1), sink.clone());
    assert!(!recorder.accepts("run-1").await);
    *sink.answer.lock() = None;
    assert!(recorder.accepts("run-1").await);
    assert_eq!(sink.all().last().unwrap().event, RecordEvent::StreamOpened);
    let hanging = Recorder::new(ProcessId(1), super::testing::Never);
    assert!(!hanging.accepts("run-1").await);
}

/// The archive passes over a number of a stream that it has: neither a container that restarts in its pod nor a run
/// that comes back after its stream was closed may go on with the stream of before.
#[tokio::test]
async fn numbers_that_start_anew_are_of_a_new_stream() {
    let sink = Memory::default();
    for process in [ProcessId(1), ProcessId(2)] {
        let recorder = Recorder::new(process, sink.clone());
        for _ in 0..2 {
            recorder.record("run-1", None, closed());
            recorder.flush_all(|_| false, StreamEnd::RunEnded).await;
        }
    }
    let batches = sink.batches.lock();
    let streams: std::collections::HashSet<&String> = batches.iter().map(|(_, stream, _)| stream).collect();
    assert_eq!(streams.len(), 4);
    drop(batches);
    let of_stream = |record: &Record| match &record.event {
        RecordEvent::StreamOpened => Some((1, 0)),
        RecordEvent::StreamClosed { count, .. } => Some((record.source_seq, *count)),
        _ => None,
    };
    let ends: Vec<_> = sink.all().iter().filter_map(of_stream).collect();
    assert_eq!(ends, [(1, 0), (3, 2)].repeat(4));
}

/// That policy lets the run go on is asked only where the archive is away, and nothing else stands against it.
#[tokio::test(start_paused = true)]
async fn only_an_archive_that_is_away_makes_a_run_late() {
    let sink = Memory::default();
    let recorder = Recorder::new(ProcessId(1), sink.clone());
    assert!(recorder.accepts("known").await && !recorder.is_late("known"));
    *sink.answer.lock() = Some("away");
    // The archive was never heard of for this run: from the first refusal on.
    assert!(!recorder.is_late("new"));
    assert!(!recorder.accepts("new").await && recorder.is_late("new"));
    // One that makes many records is slowed, and no more.
    for _ in 0..ADMISSION_LIMIT {
        recorder.record("known", None, closed());
    }
    assert!(!recorder.accepts("known").await && !recorder.is_late("known"));
    // One of which the archive takes no more is closed, whatever policy says.
    *sink.answer.lock() = Some("refused");
    assert!(!recorder.flush("new").await);
    assert!(!recorder.accepts("new").await && !recorder.is_late("new"));
    let hanging = Recorder::new(ProcessId(1), super::testing::Never);
    assert!(!hanging.accepts("run-1").await && hanging.is_late("run-1"));
}

/// The run goes on without the archive for long: the chain comes to say since when, and how many of its records are missing.
#[tokio::test]
async fn what_is_lost_while_the_run_goes_on_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Memory::default();
    let recorder = Recorder::new(ProcessId(1), sink.clone()).spooled(Spool::open(directory.path()).unwrap());
    assert!(recorder.accepts("run-1").await);
    *sink.answer.lock() = Some("away");
    let made = BUFFER_LIMIT as u64 + 500;
    for _ in 0..made {
        recorder.record("run-1", None, closed());
        recorder.goes_on("run-1");
    }
    let spooled = std::fs::read_dir(directory.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let size = spooled.metadata().unwrap().len();
    *sink.answer.lock() = None;
    sink.batches.lock().clear();
    for _ in 0..10 {
        recorder.flush_all(|_| true, StreamEnd::RunEnded).await;
    }
    let of_run = sink.records();
    let said = |record: &&Record| matches!(record.event, RecordEvent::SinkFailed { .. });
    assert_eq!(of_run.iter().filter(said).count(), 1);
    assert_eq!(of_run[1].event, RecordEvent::SinkFailed { waited_seconds: 0 });
    assert_eq!(of_run.len(), BUFFER_LIMIT);
    assert!(size < BUFFER_LIMIT as u64 * 400, "{size}");
    recorder.flush_all(|_| false, StreamEnd::RunEnded).await;
    // The first record of the stream, those of the run, and that it went on.
    let count = made + 2;
    let cause = StreamEnd::RunEnded.into();
    let last = sink.all().pop().unwrap();
    assert_eq!(last.event, RecordEvent::StreamClosed { count, cause });
    // The next time it says so again.
    assert!(recorder.accepts("run-1").await);
    recorder.goes_on("run-1");
    assert!(recorder.flush("run-1").await);
    assert_eq!(sink.records().iter().filter(said).count(), 2);
}

/// A kill in between: of records that found no place the number is known.
#[tokio::test(start_paused = true)]
async fn killed_process_tells_how_many_found_no_place() {
    let directory = tempfile::tempdir().unwrap();
    let spool = || Spool::open(directory.path()).unwrap();
    let sink = Memory::default();
    let killed = Recorder::new(ProcessId(1), sink.clone()).spooled(spool());
    assert!(killed.accepts("run-1").await);
    *sink.answer.lock() = Some("away");
    let made = BUFFER_LIMIT as u64 + 7;
    for _ in 0..made {
        killed.record("run-1", None, closed());
    }
    drop(killed);
    *sink.answer.lock() = None;
    sink.batches.lock().clear();
    Recorder::new(ProcessId(2), sink.clone())
        .spooled(spool())
        .send_left()
        .await;
    assert_eq!(sink.records().len(), BUFFER_LIMIT);
    let last = sink.all().pop().unwrap();
    let cause = StreamEnd::ProcessKilled.into();
    assert_eq!(
        (last.source_seq, last.event),
        (
            made + 2,
            RecordEvent::StreamClosed {
                count: made + 1,
                cause
            }
        )
    );
}

#[tokio::test]
async fn a_run_whose_evidence_is_full_gets_nothing_more() {
    let sink = Memory::default();
    let recorder = Recorder::new(ProcessId(1), sink.clone());
    assert!(recorder.accepts("run-1").await && recorder.accepts("run-2").await);
    *sink.answer.lock() = Some("refused");
    recorder.record("run-1", None, closed());
    recorder.record("run-2", None, closed());
    assert!(!recorder.flush("run-1").await);
    assert!(!recorder.accepts("run-1").await && recorder.accepts("run-2").await);
}

/// An archive during each of whose answers the run makes another record.
struct Busy(Arc<Mutex<std::sync::Weak<Recorder>>>, Memory);

impl Sink for Busy {
    fn store<'a>(
        &'a self,
        run: &'a str,
        stream: &'a StreamId,
        lines: Bytes,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let number = self.1.batches.lock().len();
            assert!(number < 100, "the flush does not end");
            if run == "busy" {
                let recorder = self.0.lock().upgrade().unwrap();
                recorder.record(run, None, denied(&format!("{number}.evil.test:443")));
            }
            self.1.store(run, stream, lines).await
        })
    }
}

#[tokio::test]
async fn run_that_records_without_end_holds_up_nobody() {
    let (memory, back) = (Memory::default(), Arc::<Mutex<_>>::default());
    let sink = Busy(Arc::clone(&back), memory.clone());
    let recorder = Arc::new(Recorder::new(ProcessId(1), sink));
    *back.lock() = Arc::downgrade(&recorder);
    recorder.record("busy", None, closed());
    recorder.record("quiet", None, closed());
    recorder.flush_all(|_| true, StreamEnd::RunEnded).await;
    let of = |run: &str| {
        memory
            .batches
            .lock()
            .iter()
            .filter(|(uid, _, _)| uid == run)
            .count()
    };
    assert_eq!((of("busy"), of("quiet")), (2, 1));
    assert!(recorder.flush("busy").await);
    assert_eq!(of("busy"), 4);
}

#[tokio::test]
async fn memory_is_bounded_and_given_back() {
    let sink = Memory::default();
    let recorder = Recorder::new(ProcessId(1), sink.clone());
    for number in 0..BUFFER_LIMIT * 2 {
        recorder.record("run-1", None, denied(&format!("{number}.evil.test:443")));
    }
    recorder
        .flush_all(|uid| uid == "run-1", StreamEnd::RunEnded)
        .await;
    assert_eq!(sink.all().len(), BUFFER_LIMIT);
    assert_eq!(recorder.streams.lock().open.len(), 1);
    recorder.flush_all(|_| false, StreamEnd::RunEnded).await;
    let streams = recorder.streams.lock();
    assert_eq!((streams.open.len(), streams.closing.len()), (0, 0));
    drop(streams);
    let last = sink.all().pop().unwrap();
    let count = BUFFER_LIMIT as u64 * 2 + 1;
    let cause = StreamEnd::RunEnded.into();
    assert_eq!(last.event, RecordEvent::StreamClosed { count, cause });
}

/// A process is killed with records that the archive does not have, and dies with nothing.
#[tokio::test(start_paused = true)]
async fn killed_process_loses_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let spool = || Spool::open(directory.path()).unwrap();
    let sink = Memory::default();
    let killed = Recorder::new(ProcessId(1), sink.clone()).spooled(spool());
    assert!(killed.accepts("run-1").await && killed.accepts("run-2").await);
    *sink.answer.lock() = Some("away");
    for number in 0..5 {
        killed.record("run-1", None, denied(&format!("{number}.test:443")));
    }
    drop(killed);
    assert!(sink.records().is_empty());
    let recorder = Recorder::new(ProcessId(2), sink.clone()).spooled(spool());
    let back = async {
        tokio::time::sleep(RESEND_EVERY * 3).await;
        *sink.answer.lock() = None;
        sink.batches.lock().clear();
    };
    tokio::join!(recorder.send_left(), back);
    assert_eq!(sink.records().len(), 5);
    let mut ends: Vec<_> = sink
        .all()
        .into_iter()
        .filter_map(|record| match record.event {
            RecordEvent::StreamClosed { count, cause } => {
                assert_eq!(cause, StreamEnd::ProcessKilled.into());
                Some((record.source_seq, count))
            }
            _ => None,
        })
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, [(2, 1), (7, 6)]);
    assert!(spool().left().is_empty());
}

#[tokio::test]
async fn spool_that_takes_nothing_closes_the_exit_until_the_archive_has_it_all() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Memory::default();
    let recorder = Recorder::new(ProcessId(1), sink.clone()).spooled(Spool::open(directory.path()).unwrap());
    let path = directory.path().join("run-1.0000000000000001-1");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    assert!(!recorder.accepts("run-1").await);
    assert!(recorder.accepts("run-2").await);
    std::fs::remove_file(&path).unwrap();
    recorder.record("run-1", None, closed());
    assert!(recorder.flush("run-1").await && recorder.accepts("run-1").await);
}

#[tokio::test]
async fn stream_that_is_over_leaves_nothing_in_the_spool() {
    let directory = tempfile::tempdir().unwrap();
    let spool = || Spool::open(directory.path()).unwrap();
    let recorder = Recorder::new(ProcessId(1), Memory::default()).spooled(spool());
    recorder.record("run-1", None, closed());
    assert_eq!(spool().left().len(), 1);
    recorder.flush_all(|_| true, StreamEnd::RunEnded).await;
    assert_eq!(spool().left()[0].lines.len(), 0);
    recorder.flush_all(|_| false, StreamEnd::RunEnded).await;
    assert!(spool().left().is_empty());
}
