//! The records of one run that this process writes: its first one opens the stream, its last one closes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::buffer::{Buffer, Put};
use super::sink::{Sink, SinkError};
use super::spool::SpoolFile;
use cofferdam_wire::record::{RECORD_VERSION, Record, RecordEvent, RequestId, StreamEnd, StreamId};

/// One stream.
pub struct Stream {
    run_uid: String,
    id: StreamId,
    waiting: Mutex<Waiting>,
    /// Held while a batch is on its way.
    flushing: tokio::sync::Mutex<()>,
    /// The archive has the first record.
    known: AtomicBool,
    /// The archive was asked to take it, and did not answer.
    unanswered: AtomicBool,
}

struct Waiting {
    buffer: Buffer,
    spool: Option<SpoolFile>,
    /// The spool holds all that waits.
    is_spooled: bool,
    /// It has its last record.
    is_closed: bool,
    /// It says that the run goes on though the archive does not acknowledge.
    says_so: bool,
}

/// What a record is made of: the request that it belongs to, if any, and what happened.
pub type Taken = (Option<RequestId>, RecordEvent);

impl Stream {
    /// A stream of run `run_uid` with its first record.
    pub fn open(run_uid: String, id: StreamId, spool: Option<SpoolFile>) -> Self {
        let stream = Self {
            run_uid,
            id,
            waiting: Mutex::new(Waiting {
                buffer: Buffer::default(),
                spool,
                is_spooled: true,
                is_closed: false,
                says_so: false,
            }),
            flushing: tokio::sync::Mutex::default(),
            known: AtomicBool::new(false),
            unanswered: AtomicBool::new(false),
        };
        stream.take(&mut stream.waiting.lock(), None, RecordEvent::StreamOpened);
        stream
    }

    /// Whether the archive knows that this process records the run.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Whether a new connection of the run can be recorded.
    pub fn accepts(&self, now: Instant) -> bool {
        let waiting = self.waiting.lock();
        waiting.is_spooled && waiting.buffer.accepts(now)
    }

    /// Whether the archive does not acknowledge what waits, and nothing else stands against a new connection: it was asked
    /// and did not answer, or the oldest record has waited too long.
    pub fn is_late(&self, now: Instant) -> bool {
        let waiting = self.waiting.lock();
        let never_answered = !self.is_known() && self.unanswered.load(Ordering::Relaxed);
        let is_late = waiting.buffer.is_late(now) || (never_answered && !waiting.buffer.is_empty());
        waiting.is_spooled && is_late
    }

    /// Notes that the archive was asked and did not answer.
    pub fn not_answered(&self) {
        self.unanswered.store(true, Ordering::Relaxed);
    }

    /// Takes the record that the run goes on all the same, once until the archive acknowledges again.
    pub fn goes_on(&self, now: Instant) {
        let mut waiting = self.waiting.lock();
        if waiting.says_so || waiting.is_closed {
            return;
        }
        waiting.says_so = true;
        let waited_seconds = waiting.buffer.waited(now).unwrap_or_default().as_secs();
        self.take(&mut waiting, None, RecordEvent::SinkFailed { waited_seconds });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.lock().buffer.is_empty()
    }

    /// Takes a record. It is in the spool when this returns.
    ///
    /// # Errors
    /// The stream has its last record, and gives the other back.
    pub fn put(&self, taken: Taken) -> Result<(), Taken> {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed {
            return Err(taken);
        }
        let (request, event) = taken;
        self.take(&mut waiting, request, event);
        Ok(())
    }

    /// Puts the last record, unless others wait; returns whether it did.
    pub fn close_if_empty(&self, cause: StreamEnd) -> bool {
        let mut waiting = self.waiting.lock();
        if !waiting.buffer.is_empty() {
            return false;
        }
        let count = waiting.buffer.last();
        let cause = cause.into();
        self.take(&mut waiting, None, RecordEvent::StreamClosed { count, cause });
        waiting.is_closed = true;
        true
    }

    fn take(&self, waiting: &mut Waiting, request: Option<RequestId>, event: RecordEvent) {
        let line = match waiting.buffer.put(record(request, event), Instant::now()) {
            Put::Waits(record) => Ok(serde_json::to_string(record).unwrap_or_default()),
            Put::Lost(number) => Err(number),
            Put::Counted | Put::Refused => return,
        };
        let spooled = waiting.spool.as_mut().map_or(Ok(()), |spool| match &line {
            Ok(line) => spool.append(line.as_bytes()),
            Err(number) => spool.reached(*number),
        });
        if let Err(error) = spooled {
            waiting.is_spooled = false;
            tracing::error!(run = self.run_uid, %error, "the spool takes no record: the run's exit is closed until the archive has them");
        }
        match line {
            Ok(line) => tracing::info!(run = self.run_uid, record = line, "record"),
            Err(number) => tracing::debug!(
                run = self.run_uid,
                number,
                "a record found no place: its number is missing"
            ),
        }
    }

    /// Removes what the spool has: the archive has it, or takes no more.
    pub fn forget(&self) {
        if let Some(spool) = &mut self.waiting.lock().spool {
            spool.remove();
        }
    }

    /// Sends what waits now; returns whether the archive has it.
    pub async fn flush(&self, sink: &dyn Sink) -> bool {
        let _one_at_a_time = self.flushing.lock().await;
        // A batch that was not acknowledged, then one of the records that came after it.
        for _ in 0..2 {
            let Some(batch) = self.waiting.lock().buffer.batch() else {
                return true;
            };
            match sink.store(&self.run_uid, &self.id, batch.lines).await {
                Ok(()) => self.acknowledge(),
                Err(SinkError::Refused(error)) => {
                    let message = "the archive takes no more records of the run: its exit is closed";
                    tracing::warn!(run = self.run_uid, error, message);
                    self.waiting.lock().buffer.refuse();
                    return false;
                }
                Err(error) => {
                    self.not_answered();
                    tracing::warn!(run = self.run_uid, %error, "records wait");
                    return false;
                }
            }
        }
        true
    }

    fn acknowledge(&self) {
        self.known.store(true, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        waiting.says_so = false;
        waiting.buffer.acknowledge();
        if !waiting.buffer.is_empty() {
            return;
        }
        let last = waiting.buffer.last();
        let noted = waiting
            .spool
            .as_mut()
            .map_or(Ok(()), |spool| spool.acknowledge(last));
        if let Err(error) = &noted {
            tracing::error!(run = self.run_uid, %error, "the spool takes no note: the run's exit is closed");
        }
        waiting.is_spooled = noted.is_ok();
    }
}

/// A record of now, without its number.
pub fn record(request: Option<RequestId>, event: RecordEvent) -> Record {
    Record {
        version: RECORD_VERSION,
        source_seq: 0,
        time: jiff::Timestamp::now().to_string(),
        request,
        event,
    }
}
