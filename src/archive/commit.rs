//! One thread writes all records: what waits is written together and brought to the disk by one sync, then all of it
//! is acknowledged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::{fs, io, thread};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::batch::Batch;
use super::durable::{WriteError, write_behind};
use super::error::StoreError;
use super::log::{Found, Log, NotSealed, NotTaken};
use super::seal::SealWork;
use super::volume::{Lost, Volume, Written};
use cofferdam_wire::seal::Seal;

/// Batches that wait for the disk, and at most as many in one sync.
const QUEUE: usize = 1024;

/// The chain of a run, shared by those who read it and the thread that writes it.
#[derive(Debug)]
pub struct Chain {
    /// Uid of the run.
    pub run_uid: String,
    /// Its file, in the run's directory.
    pub path: PathBuf,
    /// What is acknowledged; absent: the file was not read yet.
    pub found: Mutex<Option<Found>>,
}

/// What is to be written to a chain.
enum Work {
    Batch(Batch),
    Seal(SealWork),
}

/// What was written: the seal, where that was asked for.
type Answer = Result<Option<Seal>, StoreError>;

/// Work on its way to the disk.
struct Request {
    chain: Arc<Chain>,
    work: Work,
    answer: oneshot::Sender<Answer>,
}

/// Takes batches and answers each when it is on the disk.
#[derive(Debug)]
pub struct Committer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread that writes to `volume`.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn start(volume: Arc<Volume>) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || run(&volume, waiting))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Stores a batch of a run whose chain was read; returns when it is on the disk.
    ///
    /// # Errors
    /// It is not stored, or that is not known.
    pub async fn commit(&self, chain: Arc<Chain>, batch: Batch) -> Result<(), StoreError> {
        self.write(chain, Work::Batch(batch)).await.map(drop)
    }

    /// Seals a run whose chain was read; returns when that is on the disk.
    ///
    /// # Errors
    /// It is not sealed, or that is not known.
    pub async fn seal(&self, chain: Arc<Chain>, work: SealWork) -> Result<Seal, StoreError> {
        let seal = self.write(chain, Work::Seal(work)).await?;
        seal.ok_or(StoreError::Unsynced)
    }

    async fn write(&self, chain: Arc<Chain>, work: Work) -> Answer {
        let (answer, answered) = oneshot::channel();
        let request = Request { chain, work, answer };
        let queue = self.queue.as_ref().ok_or(StoreError::Unsynced)?;
        queue.send(request).await.map_err(|_| StoreError::Unsynced)?;
        answered.await.unwrap_or(Err(StoreError::Unsynced))
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // Nothing is written any more when the lock of the volume is given back.
            let _ = thread.join();
        }
    }
}

/// Gives the volume up when the thread ends by a panic: nobody would write any more.
struct GiveUp<'a>(&'a Volume);

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.give_up();
        }
    }
}

fn run(volume: &Volume, mut waiting: mpsc::Receiver<Request>) {
    let _guard = GiveUp(volume);
    while let Some(first) = waiting.blocking_recv() {
        let mut requests = vec![first];
        while requests.len() < QUEUE
            && let Ok(request) = waiting.try_recv()
        {
            requests.push(request);
        }
        commit_all(volume, requests);
    }
}

/// One run's share of a commit.
struct Share {
    chain: Arc<Chain>,
    requests: Vec<Request>,
}

/// What was written and not acknowledged yet.
struct Pending {
    chain: Arc<Chain>,
    next: Log,
    answers: Vec<(oneshot::Sender<Answer>, Option<Seal>)>,
}

fn commit_all(volume: &Volume, requests: Vec<Request>) {
    let mut pending = Vec::new();
    let mut written = Vec::new();
    for share in by_run(requests) {
        if let Some((wrote, answers)) = write(share) {
            written.extend(wrote);
            pending.push(answers);
        }
    }
    let synced = volume.sync(&written);
    for Pending { chain, next, answers } in pending {
        if synced.is_ok() {
            *chain.found.lock() = Some(Found::Whole(next));
        }
        // Who is answered may count on it that the chain is in use no more.
        drop(chain);
        for (answer, seal) in answers {
            // Nobody may be there to hear it.
            drop(answer.send(synced.map(|()| seal).map_err(|Lost| StoreError::Unsynced)));
        }
    }
}

fn by_run(requests: Vec<Request>) -> Vec<Share> {
    let (mut shares, mut places) = (Vec::<Share>::new(), HashMap::new());
    for request in requests {
        let place = *places
            .entry(request.chain.run_uid.clone())
            .or_insert_with(|| shares.len());
        match shares.get_mut(place) {
            Some(share) => share.requests.push(request),
            None => shares.push(Share {
                chain: Arc::clone(&request.chain),
                requests: vec![request],
            }),
        }
    }
    shares
}

/// Writes a run's share, and answers at once what is not to be stored.
fn write(share: Share) -> Option<(Option<Written>, Pending)> {
    let Share { chain, requests } = share;
    let (before, requests) = acknowledged(&chain, requests)?;
    let (mut next, mut lines, mut answers) = (before.clone(), Vec::new(), Vec::new());
    for Request { work, answer, .. } in requests {
        match take(&mut next, &chain.run_uid, work, &mut lines) {
            Ok(seal) => answers.push((answer, seal)),
            // Nobody may be there to hear it.
            Err(error) => drop(answer.send(Err(error))),
        }
    }
    let wrote = if lines.is_empty() {
        Ok(None)
    } else {
        append(&chain, &before, &lines).map(Some)
    };
    match wrote {
        Ok(wrote) => Some((wrote, Pending { chain, next, answers })),
        Err(error) => {
            tracing::warn!(run = chain.run_uid, %error, "records were not written");
            let answers = answers.into_iter().map(|(answer, _)| answer);
            refuse(answers, || io::Error::new(error.kind(), error.to_string()).into());
            None
        }
    }
}

fn take(next: &mut Log, run_uid: &str, work: Work, lines: &mut Vec<u8>) -> Answer {
    match work {
        Work::Batch(batch) => match next.take(run_uid, batch, lines) {
            Ok(()) => Ok(None),
            Err(NotTaken::Full) => Err(StoreError::Full),
            Err(NotTaken::Sealed) => Err(StoreError::Sealed),
        },
        Work::Seal(work) => match next.seal(run_uid, work, lines) {
            Ok(seal) => Ok(Some(seal)),
            Err(NotSealed::Open(streams)) => Err(StoreError::StreamsOpen(streams.join(", "))),
            Err(NotSealed::Full) => Err(StoreError::Full),
        },
    }
}

/// What is acknowledged of a chain; `None`: nothing can be stored, and the requests are answered.
fn acknowledged(chain: &Chain, requests: Vec<Request>) -> Option<(Log, Vec<Request>)> {
    let answers = |requests: Vec<Request>| requests.into_iter().map(|request| request.answer);
    match &*chain.found.lock() {
        Some(Found::Whole(log)) => Some((log.clone(), requests)),
        Some(Found::Corrupt { fault, .. }) => {
            refuse(answers(requests), || StoreError::Corrupt(fault.clone()));
            None
        }
        None => {
            refuse(answers(requests), || {
                io::Error::other("the chain was not read").into()
            });
            None
        }
    }
}

fn append(chain: &Chain, before: &Log, lines: &[u8]) -> io::Result<Written> {
    let is_new = before.length() == 0;
    if is_new
        && let Some(directory) = chain.path.parent()
        && let Err(error) = fs::create_dir(directory)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    match write_behind(&chain.path, before.length(), lines) {
        Ok(()) => Ok(Written {
            path: chain.path.clone(),
            is_new,
        }),
        Err(WriteError::Io(error)) => Err(error),
        Err(shorter @ WriteError::Shorter { .. }) => {
            // Acknowledged lines are gone: the run gets no further one.
            *chain.found.lock() = Some(before.read_again(&chain.run_uid, &chain.path)?);
            Err(io::Error::other(shorter))
        }
    }
}

fn refuse(answers: impl IntoIterator<Item = oneshot::Sender<Answer>>, error: impl Fn() -> StoreError) {
    for answer in answers {
        // Nobody may be there to hear it.
        drop(answer.send(Err(error())));
    }
}
