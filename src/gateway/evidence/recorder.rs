//! Evidence on its way to the archive: buffered per run, coalesced, bounded. No evidence means no traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::buffer::Buffer;
use cofferdam_wire::record::{ProcessId, RECORD_VERSION, Record, RecordEvent, RequestId};

/// Runs whose records are sent at the same time.
const PARALLEL_FLUSHES: usize = 16;

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The archive could not be asked or could not answer; it is tried again.
    #[error("the archive is unreachable: {0}")]
    Unreachable(String),
    /// The archive takes no more of this run.
    #[error("the archive refuses the records: {0}")]
    Refused(String),
}

/// Where records go.
pub trait Sink: Send + Sync {
    /// Stores JSON lines of one run; `batch` is the same when the same bytes are sent again.
    fn store<'a>(
        &'a self,
        run_uid: &'a str,
        batch: &'a str,
        lines: Bytes,
    ) -> BoxFuture<'a, Result<(), SinkError>>;
}

/// Takes records and brings them to the archive.
pub struct Recorder {
    source: String,
    process: ProcessId,
    sink: Box<dyn Sink>,
    runs: Mutex<HashMap<String, Arc<Run>>>,
    batches: AtomicU64,
}

#[derive(Default)]
struct Run {
    buffer: Mutex<Buffer>,
    flushing: tokio::sync::Mutex<()>,
}

impl Recorder {
    /// A recorder that names itself `source` and stores in `sink`. `process` is drawn anew by each process.
    pub fn new(source: String, process: ProcessId, sink: impl Sink + 'static) -> Self {
        Self {
            source,
            process,
            sink: Box::new(sink),
            runs: Mutex::default(),
            batches: AtomicU64::new(0),
        }
    }

    /// Whether a new connection of this run can still be recorded.
    pub fn accepts(&self, run_uid: &str) -> bool {
        self.known(run_uid).is_none_or(|run| run.buffer.lock().accepts())
    }

    /// The id of the one request on this process's connection of that number.
    pub fn request_id(&self, connection: u64) -> RequestId {
        RequestId::new(self.process, connection, 1)
    }

    /// Takes a record; equal denials that still wait become one with a count.
    pub fn record(&self, run_uid: &str, request: Option<RequestId>, event: RecordEvent) {
        let run = Arc::clone(self.runs.lock().entry(run_uid.to_owned()).or_default());
        let record = Record {
            version: RECORD_VERSION,
            request,
            time: jiff::Timestamp::now().to_string(),
            source: self.source.clone(),
            event,
        };
        if run.buffer.lock().put(&record) {
            tracing::info!(run = run_uid, event = %serde_json::to_string(&record.event).unwrap_or_default(), "record");
        }
    }

    /// Sends the records of one run that wait now; returns whether the archive has them. Records that come meanwhile
    /// are left for the next time, so that a run which never stops making some keeps nobody waiting.
    pub async fn flush(&self, run_uid: &str) -> bool {
        let Some(run) = self.known(run_uid) else {
            return true;
        };
        let _one_at_a_time = run.flushing.lock().await;
        // A batch that was not acknowledged, then one of the records that came after it.
        for _ in 0..2 {
            let Some(batch) = run.buffer.lock().batch(|| self.next_batch_id()) else {
                return true;
            };
            match self.sink.store(run_uid, &batch.id, batch.lines).await {
                Ok(()) => run.buffer.lock().acknowledge(),
                Err(SinkError::Refused(error)) => {
                    let message = "the run's evidence is full: its exit is closed";
                    tracing::warn!(run = run_uid, error, message);
                    run.buffer.lock().refuse();
                    return false;
                }
                Err(error) => {
                    tracing::warn!(run = run_uid, %error, "records wait");
                    return false;
                }
            }
        }
        true
    }

    /// Sends the records of every run that wait now, and forgets runs that are done: not `live`, and nothing waits.
    pub async fn flush_all(&self, live: impl Fn(&str) -> bool) {
        let uids: Vec<String> = self.runs.lock().keys().cloned().collect();
        futures::stream::iter(uids)
            .for_each_concurrent(PARALLEL_FLUSHES, |uid| async move {
                self.flush(&uid).await;
            })
            .await;
        self.runs
            .lock()
            .retain(|uid, run| live(uid) || !run.buffer.lock().is_empty());
    }

    fn known(&self, run_uid: &str) -> Option<Arc<Run>> {
        self.runs.lock().get(run_uid).cloned()
    }

    fn next_batch_id(&self) -> String {
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        format!("{}-{}-{number}", self.source, self.process)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A sink that keeps what it gets.

    use super::*;

    #[derive(Clone, Default)]
    pub(crate) struct Memory {
        pub(crate) batches: Arc<Mutex<Vec<(String, String, String)>>>,
        pub(crate) answer: Arc<Mutex<Option<&'static str>>>,
    }

    impl Memory {
        pub(crate) fn text(&self) -> String {
            self.batches
                .lock()
                .iter()
                .map(|(_, _, lines)| lines.clone())
                .collect()
        }
    }

    /// An archive that takes requests and answers none.
    pub(crate) struct Never;

    impl Sink for Never {
        fn store<'a>(
            &'a self,
            _run: &'a str,
            _batch: &'a str,
            _lines: Bytes,
        ) -> BoxFuture<'a, Result<(), SinkError>> {
            Box::pin(std::future::pending())
        }
    }

    impl Sink for Memory {
        fn store<'a>(
            &'a self,
            run: &'a str,
            batch: &'a str,
            lines: Bytes,
        ) -> BoxFuture<'a, Result<(), SinkError>> {
            Box::pin(async move {
                let text = String::from_utf8(lines.to_vec()).unwrap();
                self.batches.lock().push((run.to_owned(), batch.to_owned(), text));
                match *self.answer.lock() {
                    None => Ok(()),
                    Some("refused") => Err(SinkError::Refused("full".to_owned())),
                    Some(other) => Err(SinkError::Unreachable(other.to_owned())),
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffer::{ADMISSION_LIMIT, BUFFER_LIMIT};
    use super::testing::Memory;
    use super::*;
    use cofferdam_wire::denial::DenialCode;
    use cofferdam_wire::record::CloseCause;

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
        let recorder = Recorder::new("gateway-1".to_owned(), ProcessId(1), sink.clone());
        for _ in 0..1000 {
            recorder.record("run-1", None, denied("evil.test:443"));
        }
        recorder.record("run-1", None, denied("other.test:443"));
        assert!(recorder.flush("run-1").await);
        let lines: Vec<Record> = sink
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert!(
            matches!(&lines[0].event, RecordEvent::Denied { count: 1000, host, .. } if host == "evil.test:443")
        );
        recorder.record("run-1", None, denied("evil.test:443"));
        assert!(recorder.flush("run-1").await);
        assert_eq!(sink.text().lines().count(), 3);
    }

    #[tokio::test]
    async fn an_archive_that_is_away_closes_the_exit_of_a_busy_run_only() {
        let sink = Memory::default();
        let recorder = Recorder::new("gateway-1".to_owned(), ProcessId(1), sink.clone());
        *sink.answer.lock() = Some("away");
        for _ in 0..ADMISSION_LIMIT {
            assert!(recorder.accepts("run-1"));
            recorder.record("run-1", None, closed());
        }
        assert!(!recorder.accepts("run-1"));
        assert!(recorder.accepts("run-2"));
        assert!(!recorder.flush("run-1").await);
        recorder.record("run-1", None, closed());
        assert!(!recorder.accepts("run-1") && !recorder.flush("run-1").await);
        *sink.answer.lock() = None;
        assert!(recorder.flush("run-1").await);
        assert!(recorder.accepts("run-1"));
        let batches = sink.batches.lock();
        // The batch that failed was sent again unchanged under its name, and then the rest.
        assert_eq!(batches.len(), 4);
        assert_eq!((&batches[0].1, &batches[0].2), (&batches[2].1, &batches[2].2));
        assert_ne!(batches[2].1, batches[3].1);
    }

    /// The archive takes a batch whose id it knows for one that it has: a container that restarts in its pod must not
    /// use the ids of the one before it.
    #[tokio::test]
    async fn batch_ids_of_two_processes_of_one_pod_differ() {
        let sink = Memory::default();
        for process in [ProcessId(1), ProcessId(2)] {
            let recorder = Recorder::new("gateway-1".to_owned(), process, sink.clone());
            recorder.record("run-1", None, closed());
            assert!(recorder.flush("run-1").await);
        }
        let batches = sink.batches.lock();
        assert_eq!(batches.len(), 2);
        assert_ne!(batches[0].1, batches[1].1);
    }

    #[tokio::test]
    async fn a_run_whose_evidence_is_full_gets_nothing_more() {
        let sink = Memory::default();
        let recorder = Recorder::new("gateway-1".to_owned(), ProcessId(1), sink.clone());
        *sink.answer.lock() = Some("refused");
        recorder.record("run-1", None, closed());
        recorder.record("run-2", None, closed());
        assert!(!recorder.flush("run-1").await);
        assert!(!recorder.accepts("run-1") && recorder.accepts("run-2"));
    }

    /// An archive during each of whose answers the run makes another record.
    struct Busy(Arc<Mutex<std::sync::Weak<Recorder>>>, Memory);

    impl Sink for Busy {
        fn store<'a>(
            &'a self,
            run: &'a str,
            batch: &'a str,
            lines: Bytes,
        ) -> BoxFuture<'a, Result<(), SinkError>> {
            Box::pin(async move {
                let number = self.1.batches.lock().len();
                assert!(number < 100, "the flush does not end");
                if run == "busy" {
                    let recorder = self.0.lock().upgrade().unwrap();
                    recorder.record(run, None, denied(&format!("{number}.evil.test:443")));
                }
                self.1.store(run, batch, lines).await
            })
        }
    }

    #[tokio::test]
    async fn run_that_records_without_end_holds_up_nobody() {
        let (memory, back) = (Memory::default(), Arc::<Mutex<_>>::default());
        let sink = Busy(Arc::clone(&back), memory.clone());
        let recorder = Arc::new(Recorder::new("gateway-1".to_owned(), ProcessId(1), sink));
        *back.lock() = Arc::downgrade(&recorder);
        recorder.record("busy", None, closed());
        recorder.record("quiet", None, closed());
        recorder.flush_all(|_| true).await;
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
        let recorder = Recorder::new("gateway-1".to_owned(), ProcessId(1), sink.clone());
        for number in 0..BUFFER_LIMIT * 2 {
            recorder.record("run-1", None, denied(&format!("{number}.evil.test:443")));
        }
        recorder.flush_all(|uid| uid == "run-1").await;
        assert_eq!(sink.text().lines().count(), BUFFER_LIMIT);
        assert_eq!(recorder.runs.lock().len(), 1);
        recorder.flush_all(|_| false).await;
        assert_eq!(recorder.runs.lock().len(), 0);
    }
}
