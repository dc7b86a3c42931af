//! Evidence on its way to the archive: buffered per run, coalesced, bounded. No evidence means no traffic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;

use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::extensible::Extensible;
use cofferdam_wire::record::{ProcessId, RECORD_VERSION, Record, RecordEvent, RequestId};

/// Records of one run that wait here at most.
const BUFFER_LIMIT: usize = 2000;
/// From here on no new connection of the run is admitted; the rest is for the ends of those that are open.
const ADMISSION_LIMIT: usize = 1000;
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

#[derive(Default)]
struct Buffer {
    records: Vec<Record>,
    /// Where in `records` an equal denial stands.
    denials: HashMap<DenialKey, usize>,
    pending: Option<Batch>,
    refused: bool,
    /// Records that found no place.
    lost: u64,
}

/// Host, method, code and asker of a denial.
type DenialKey = (String, String, Extensible<DenialCode>, String);

#[derive(Clone)]
struct Batch {
    id: String,
    lines: Bytes,
    records: usize,
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
        let Some(run) = lock(&self.runs).get(run_uid).cloned() else {
            return true;
        };
        let buffer = lock(&run.buffer);
        let waiting = buffer.records.len() + buffer.pending.as_ref().map_or(0, |batch| batch.records);
        !buffer.refused && waiting < ADMISSION_LIMIT
    }

    /// The id of the one request on this process's connection of that number.
    pub fn request_id(&self, connection: u64) -> RequestId {
        RequestId::new(self.process, connection, 1)
    }

    /// Takes a record; equal denials that still wait become one with a count.
    pub fn record(&self, run_uid: &str, request: Option<RequestId>, event: RecordEvent) {
        let run = Arc::clone(lock(&self.runs).entry(run_uid.to_owned()).or_default());
        let record = Record {
            version: RECORD_VERSION,
            request,
            time: jiff::Timestamp::now().to_string(),
            source: self.source.clone(),
            event,
        };
        if lock(&run.buffer).put(&record) {
            tracing::info!(run = run_uid, event = %serde_json::to_string(&record.event).unwrap_or_default(), "record");
        }
    }

    /// Sends what waits of one run; returns whether all of it is at the archive.
    pub async fn flush(&self, run_uid: &str) -> bool {
        let Some(run) = lock(&self.runs).get(run_uid).cloned() else {
            return true;
        };
        let _one_at_a_time = run.flushing.lock().await;
        loop {
            let batch = {
                let mut buffer = lock(&run.buffer);
                if buffer.pending.is_none() {
                    buffer.seal(|| self.next_batch_id());
                }
                match &buffer.pending {
                    Some(batch) => batch.clone(),
                    None => return true,
                }
            };
            match self.sink.store(run_uid, &batch.id, batch.lines).await {
                Ok(()) => lock(&run.buffer).pending = None,
                Err(SinkError::Refused(error)) => {
                    tracing::warn!(
                        run = run_uid,
                        error,
                        "the run's evidence is full: its exit is closed"
                    );
                    let mut buffer = lock(&run.buffer);
                    *buffer = Buffer {
                        refused: true,
                        ..Buffer::default()
                    };
                    return false;
                }
                Err(error) => {
                    tracing::warn!(run = run_uid, %error, "records wait");
                    return false;
                }
            }
        }
    }

    /// Sends what waits of every run, and forgets runs that are done: not `live`, and nothing waits.
    pub async fn flush_all(&self, live: impl Fn(&str) -> bool) {
        let uids: Vec<String> = lock(&self.runs).keys().cloned().collect();
        futures::stream::iter(uids)
            .for_each_concurrent(PARALLEL_FLUSHES, |uid| async move {
                self.flush(&uid).await;
            })
            .await;
        lock(&self.runs).retain(|uid, run| {
            let buffer = lock(&run.buffer);
            live(uid) || !buffer.records.is_empty() || buffer.pending.is_some()
        });
    }

    fn next_batch_id(&self) -> String {
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        format!("{}-{}-{number}", self.source, self.process)
    }
}

impl Buffer {
    /// Returns whether the record is new, not one more of the same.
    fn put(&mut self, record: &Record) -> bool {
        if self.refused {
            return false;
        }
        let key = denial_key(&record.event);
        if let Some(position) = key.as_ref().and_then(|key| self.denials.get(key))
            && let Some(Record {
                event: RecordEvent::Denied { count, .. },
                ..
            }) = self.records.get_mut(*position)
        {
            *count = count.saturating_add(1);
            return false;
        }
        if self.records.len() >= BUFFER_LIMIT {
            self.lost += 1;
            return false;
        }
        if let Some(key) = key {
            self.denials.insert(key, self.records.len());
        }
        self.records.push(record.clone());
        true
    }

    fn seal(&mut self, next_id: impl Fn() -> String) {
        self.denials.clear();
        let records = std::mem::take(&mut self.records);
        if self.lost > 0 {
            tracing::warn!(lost = self.lost, "records were lost");
            self.lost = 0;
        }
        let mut lines = Vec::new();
        for record in &records {
            // Plain strings and numbers: this serialisation does not fail.
            if serde_json::to_writer(&mut lines, record).is_ok() {
                lines.push(b'\n');
            }
        }
        self.pending = (!lines.is_empty()).then(|| Batch {
            id: next_id(),
            lines: Bytes::from(lines),
            records: records.len(),
        });
    }
}

fn denial_key(event: &RecordEvent) -> Option<DenialKey> {
    let RecordEvent::Denied {
        host,
        method,
        code,
        by,
        ..
    } = event
    else {
        return None;
    };
    Some((host.clone(), method.clone(), code.clone(), by.clone()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
                .unwrap()
                .iter()
                .map(|(_, _, lines)| lines.clone())
                .collect()
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
                self.batches
                    .lock()
                    .unwrap()
                    .push((run.to_owned(), batch.to_owned(), text));
                match *self.answer.lock().unwrap() {
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
    use super::testing::Memory;
    use super::*;
    use cofferdam_wire::record::CloseCause;

    fn denied(host: &str) -> RecordEvent {
        RecordEvent::Denied {
            host: host.to_owned(),
            method: "CONNECT".to_owned(),
            code: DenialCode::HostNotAllowed.into(),
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
        *sink.answer.lock().unwrap() = Some("away");
        for _ in 0..ADMISSION_LIMIT {
            assert!(recorder.accepts("run-1"));
            recorder.record("run-1", None, closed());
        }
        assert!(!recorder.accepts("run-1"));
        assert!(recorder.accepts("run-2"));
        assert!(!recorder.flush("run-1").await);
        recorder.record("run-1", None, closed());
        assert!(!recorder.accepts("run-1") && !recorder.flush("run-1").await);
        *sink.answer.lock().unwrap() = None;
        assert!(recorder.flush("run-1").await);
        assert!(recorder.accepts("run-1"));
        let batches = sink.batches.lock().unwrap();
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
        let batches = sink.batches.lock().unwrap();
        assert_eq!(batches.len(), 2);
        assert_ne!(batches[0].1, batches[1].1);
    }

    #[tokio::test]
    async fn a_run_whose_evidence_is_full_gets_nothing_more() {
        let sink = Memory::default();
        let recorder = Recorder::new("gateway-1".to_owned(), ProcessId(1), sink.clone());
        *sink.answer.lock().unwrap() = Some("refused");
        recorder.record("run-1", None, closed());
        recorder.record("run-2", None, closed());
        assert!(!recorder.flush("run-1").await);
        assert!(!recorder.accepts("run-1") && recorder.accepts("run-2"));
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
        assert_eq!(lock(&recorder.runs).len(), 1);
        recorder.flush_all(|_| false).await;
        assert_eq!(lock(&recorder.runs).len(), 0);
    }
}
