//! Evidence on its way to the archive: buffered per run, coalesced, bounded. No evidence means no traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use parking_lot::Mutex;

use super::sink::{Sink, SinkError};
use super::spool::{Left, Spool};
use super::stream::{Stream, record};
use cofferdam_wire::archive::BATCH_LIMIT;
use cofferdam_wire::record::{ProcessId, RecordEvent, RequestId, StreamEnd, StreamId};

/// Runs whose records are sent at the same time.
const PARALLEL_FLUSHES: usize = 16;
/// Longest time that the first connection of a run waits for the archive.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the archive is asked to take what a killed process left.
const RESEND_EVERY: Duration = Duration::from_secs(1);

/// Takes records and brings them to the archive.
pub struct Recorder {
    process: ProcessId,
    sink: Box<dyn Sink>,
    spool: Option<Spool>,
    /// What processes before this one left in the spool.
    left: Mutex<Vec<Left>>,
    streams: Mutex<Streams>,
    made: AtomicU64,
}

/// The streams of this process.
#[derive(Default)]
struct Streams {
    /// By the run's uid.
    open: HashMap<String, Arc<Stream>>,
    /// They have their last record; the archive may not.
    closing: Vec<Arc<Stream>>,
}

impl Recorder {
    /// A recorder that stores in `sink`. `process` is drawn anew by each process.
    pub fn new(process: ProcessId, sink: impl Sink + 'static) -> Self {
        Self {
            process,
            sink: Box::new(sink),
            spool: None,
            left: Mutex::default(),
            streams: Mutex::default(),
            made: AtomicU64::new(1),
        }
    }

    /// Keeps records in `spool` until the archive has them.
    #[must_use]
    pub fn spooled(mut self, spool: Spool) -> Self {
        self.left = Mutex::new(spool.left());
        self.spool = Some(spool);
        self
    }

    /// Whether a new connection of this run can be recorded. For the first one this waits until the archive knows that
    /// this process records the run.
    pub async fn accepts(&self, run_uid: &str) -> bool {
        let stream = self.stream(run_uid);
        if !stream.is_known() {
            // What cannot be stored in this time is sent again later.
            let flushed = tokio::time::timeout(OPEN_TIMEOUT, stream.flush(&*self.sink)).await;
            if flushed.is_err() {
                stream.not_answered();
            }
        }
        stream.is_known() && stream.accepts(Instant::now())
    }

    /// Whether nothing stands against a new connection of this run but that the archive does not acknowledge.
    pub fn is_late(&self, run_uid: &str) -> bool {
        self.stream(run_uid).is_late(Instant::now())
    }

    /// Takes the record that policy lets the run go on though the archive does not acknowledge.
    pub fn goes_on(&self, run_uid: &str) {
        self.stream(run_uid).goes_on(Instant::now());
    }

    /// The id of a request, by its number from 1 on this process's connection of that number.
    pub fn request_id(&self, connection: u64, number: u64) -> RequestId {
        RequestId::new(self.process, connection, number)
    }

    /// Takes a record; equal denials that still wait become one with a count.
    pub fn record(&self, run_uid: &str, request: Option<RequestId>, event: RecordEvent) {
        // A stream that is closed between the two is no more to be found, and the next one takes the event.
        let mut waiting = (request, event);
        while let Err(given_back) = self.stream(run_uid).put(waiting) {
            waiting = given_back;
        }
    }

    /// Sends the records of one run that wait now; returns whether the archive has them. Records that come meanwhile
    /// are left for the next time, so that a run which never stops making some keeps nobody waiting.
    pub async fn flush(&self, run_uid: &str) -> bool {
        let stream = self.streams.lock().open.get(run_uid).cloned();
        match stream {
            Some(stream) => stream.flush(&*self.sink).await,
            None => true,
        }
    }

    /// Sends the records of every run that wait now, and closes the streams of runs that are not `live`, for `cause`.
    pub async fn flush_all(&self, live: impl Fn(&str) -> bool, cause: StreamEnd) {
        let open: Vec<_> = self.streams.lock().open.values().cloned().collect();
        self.flush_each(open).await;
        let closing = {
            let mut streams = self.streams.lock();
            let over = streams
                .open
                .extract_if(|uid, stream| !live(uid) && stream.close_if_empty(cause));
            let over: Vec<_> = over.map(|(_, stream)| stream).collect();
            streams.closing.extend(over);
            streams.closing.clone()
        };
        self.flush_each(closing).await;
        let done = |stream: &mut Arc<Stream>| stream.is_empty();
        let done: Vec<_> = self.streams.lock().closing.extract_if(.., done).collect();
        for stream in done {
            stream.forget();
        }
    }

    /// Sends what a process before this one left in the spool, until the archive has it.
    pub async fn send_left(&self) {
        let mut left = std::mem::take(&mut *self.left.lock());
        while !left.is_empty() {
            let mut waiting = Vec::new();
            for stream in left {
                match resend(&*self.sink, &stream).await {
                    Ok(()) => {
                        tracing::info!(
                            run = stream.run_uid,
                            records = stream.lines.len(),
                            "records of a killed process were sent"
                        );
                        stream.remove();
                    }
                    Err(SinkError::Refused(error)) => {
                        tracing::warn!(
                            run = stream.run_uid,
                            error,
                            "records of a killed process are refused"
                        );
                        stream.remove();
                    }
                    Err(SinkError::Unreachable(_)) => waiting.push(stream),
                }
            }
            left = waiting;
            if !left.is_empty() {
                tokio::time::sleep(RESEND_EVERY).await;
            }
        }
    }

    async fn flush_each(&self, streams: Vec<Arc<Stream>>) {
        futures::stream::iter(streams)
            .for_each_concurrent(PARALLEL_FLUSHES, |stream| async move {
                stream.flush(&*self.sink).await;
            })
            .await;
    }

    /// The open stream of a run. A run whose stream was closed and that comes again has a new one: its numbers start
    /// anew.
    fn stream(&self, run_uid: &str) -> Arc<Stream> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.open.get(run_uid) {
            return Arc::clone(stream);
        }
        let id = StreamId::new(self.process, self.made.fetch_add(1, Ordering::Relaxed));
        let file = self.spool.as_ref().map(|spool| spool.file(run_uid, &id));
        let stream = Arc::new(Stream::open(run_uid.to_owned(), id, file));
        streams.open.insert(run_uid.to_owned(), Arc::clone(&stream));
        stream
    }
}

/// Sends the records of a stream that another process left, and its end.
async fn resend(sink: &dyn Sink, left: &Left) -> Result<(), SinkError> {
    let event = RecordEvent::StreamClosed {
        count: left.last,
        cause: StreamEnd::ProcessKilled.into(),
    };
    let mut end = record(None, event);
    end.source_seq = left.last + 1;
    let end = serde_json::to_vec(&end).map_err(|error| SinkError::Refused(error.to_string()))?;
    let mut batch = Vec::new();
    for line in left.lines.iter().chain([&[&end[..], b"\n"].concat()]) {
        if batch.len() + line.len() > BATCH_LIMIT {
            sink.store(&left.run_uid, &left.stream, std::mem::take(&mut batch).into())
                .await?;
        }
        batch.extend_from_slice(line);
    }
    sink.store(&left.run_uid, &left.stream, batch.into()).await
}

#[cfg(test)]
pub(crate) mod testing {
    //! A sink that keeps what it gets.

    use super::*;
    use bytes::Bytes;
    use cofferdam_wire::record::Record;
    use futures::future::BoxFuture;

    /// Whether a record is about its stream only.
    pub(crate) fn is_of_stream(record: &Record) -> bool {
        matches!(
            record.event,
            RecordEvent::StreamOpened | RecordEvent::StreamClosed { .. }
        )
    }

    #[derive(Clone, Default)]
    pub(crate) struct Memory {
        pub(crate) batches: Arc<Mutex<Vec<(String, String, String)>>>,
        pub(crate) answer: Arc<Mutex<Option<&'static str>>>,
    }

    impl Memory {
        /// Everything that was sent, in its order.
        pub(crate) fn all(&self) -> Vec<Record> {
            let batches = self.batches.lock();
            let lines = batches.iter().flat_map(|(_, _, lines)| lines.lines());
            lines.map(|line| serde_json::from_str(line).unwrap()).collect()
        }

        /// What was sent about runs, not about streams.
        pub(crate) fn records(&self) -> Vec<Record> {
            self.all()
                .into_iter()
                .filter(|record| !is_of_stream(record))
                .collect()
        }
    }

    /// An archive that takes requests and answers none.
    pub(crate) struct Never;

    impl Sink for Never {
        fn store<'a>(
            &'a self,
            _run: &'a str,
            _stream: &'a StreamId,
            _lines: Bytes,
        ) -> BoxFuture<'a, Result<(), SinkError>> {
            Box::pin(std::future::pending())
        }
    }

    impl Sink for Memory {
        fn store<'a>(
            &'a self,
            run: &'a str,
            stream: &'a StreamId,
            lines: Bytes,
        ) -> BoxFuture<'a, Result<(), SinkError>> {
            Box::pin(async move {
                let text = String::from_utf8(lines.to_vec()).unwrap();
                self.batches
                    .lock()
                    .push((run.to_owned(), stream.as_str().to_owned(), text));
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
#[path = "recorder/tests.rs"]
mod tests;
