//! Puts the contents of Git LFS files in the places of their pointers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use sha2::{Digest, Sha256};

use super::client::{Address, Client};
use super::{
    BATCH, LONGEST_POINTER, LfsError, MEDIA_TYPE, Place, Pointer, endpoint, hexadecimal, places, question,
};
use crate::clone::Transport;
use crate::clone::bytes::Bytes as Held;
use crate::collect::base::{Base, Mode, hex};
use crate::collect::limits::Limits;
use crate::collect::refusal::Refusal;
use crate::deadline::Deadline;
use crate::git::{Git, GitError};
use crate::work_tree;

/// Files of one repository.
const MOST: usize = 20_000;
/// Objects that are fetched at a time.
const AT_ONCE: usize = 4;
/// Longest answer of the API to one batch.
const ANSWER_LIMIT: usize = 1024 * 1024;
/// Longest list that git prints of attributes.
const LIST_LIMIT: u64 = 256 * 1024 * 1024;
/// Tries of what may pass by itself, and the pause after the first.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How often is looked whether all clones were given up.
const WATCH: Duration = Duration::from_millis(100);

/// Fetches the contents of all pointers in a work tree as it was checked out; `granted` says of host and port which layer does not let them be
/// reached. Gives how many files were written.
///
/// # Errors
/// See [`LfsError`].
pub fn fetch(
    repository: &work_tree::Place<'_>,
    transport: &Transport,
    held: &Held,
    granted: impl Fn(&str, u16) -> Result<(), String>,
    deadline: &Deadline,
) -> Result<usize, LfsError> {
    let pointers = pointers(repository, deadline)?;
    if pointers.is_empty() {
        return Ok(0);
    }
    let bytes = pointers.iter().fold(0u64, |sum, (pointer, paths)| {
        sum.saturating_add(pointer.size.saturating_mul(paths.len() as u64))
    });
    held.add_files(bytes)?;
    let client = Client::new(transport)?;
    let work = Work {
        client,
        endpoint: Address::parse(&endpoint(repository.url))?,
        directory: repository.tree.join(".git/lfs/incoming"),
        granted,
    };
    fs::create_dir_all(&work.directory)?;
    let asked: Vec<Pointer> = pointers.keys().cloned().collect();
    let runtime = tokio::runtime::Handle::current();
    for batch in asked.chunks(BATCH) {
        runtime.block_on(until(deadline, work.batch(batch)))?;
        for pointer in batch {
            let paths = pointers.get(pointer).into_iter().flatten();
            place(&work.directory.join(&pointer.oid), repository.tree, paths)?;
        }
    }
    fs::remove_dir_all(repository.tree.join(".git/lfs"))?;
    let paths: Vec<&PathBuf> = pointers.values().flatten().collect();
    leave_alone(repository, &paths, deadline)?;
    Ok(paths.len())
}

/// The pointers in a work tree, and the files of each: those for which attributes of the commit name the filter.
fn pointers(
    repository: &work_tree::Place<'_>,
    deadline: &Deadline,
) -> Result<BTreeMap<Pointer, Vec<PathBuf>>, LfsError> {
    let base = Base::read(repository.pristine, &Limits::default(), deadline).map_err(unread)?;
    let small: Vec<usize> = (0..base.len())
        .filter(|at| {
            base.entry(*at).is_some_and(|entry| {
                matches!(entry.mode, Mode::File | Mode::Executable)
                    && entry.size.is_some_and(|size| size <= LONGEST_POINTER)
            })
        })
        .collect();
    let git = Git::new(repository.pristine).variable("GIT_INDEX_FILE", repository.tree.join(".git/index"));
    let mut asked = Vec::new();
    for at in &small {
        asked.extend_from_slice(base.path(*at));
        asked.push(0);
    }
    let filtered = ["check-attr", "--cached", "--stdin", "-z", "filter"];
    let said = git.run(&filtered, &asked, LIST_LIMIT, deadline)?;
    drop(asked);
    // Path, attribute, value; in the order in which was asked.
    let said: Vec<&[u8]> = said.split(|byte| *byte == 0).collect();
    let kept = small.iter().zip(said.chunks(3));
    let kept: Vec<usize> = kept
        .filter(|(_, said)| said.get(2).is_some_and(|value| *value == b"lfs"))
        .map(|(at, _)| *at)
        .collect();
    if kept.len() > MOST {
        return Err(LfsError::TooMany(MOST));
    }
    let mut names = String::new();
    for at in &kept {
        names.extend(base.entry(*at).map(|entry| hex(&entry.oid) + "\n"));
    }
    // One process for all: a repository may have thousands.
    let printed = git.run(&["cat-file", "--batch"], names.as_bytes(), LIST_LIMIT, deadline)?;
    let mut found: BTreeMap<Pointer, Vec<PathBuf>> = BTreeMap::new();
    for (at, content) in kept.iter().zip(contents(&printed)) {
        let path = PathBuf::from(OsStr::from_bytes(base.path(*at)));
        // Outside of a sparse work tree there is no file.
        if let (Some(pointer), true) = (Pointer::parse(content), repository.tree.join(&path).is_file()) {
            found.entry(pointer).or_default().push(path);
        }
    }
    Ok(found)
}

/// The contents in what `cat-file --batch` prints: for each object a line with name, kind and size, the content, a line feed.
fn contents(printed: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = printed;
    std::iter::from_fn(move || {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let head = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size: usize = head.rsplit(' ').next()?.parse().ok()?;
        let content = rest.get(end + 1..)?.get(..size)?;
        rest = rest.get(end + 1 + size + 1..)?;
        Some(content)
    })
}

fn unread(refusal: Refusal) -> LfsError {
    match refusal {
        Refusal::TimedOut => LfsError::TimedOut,
        Refusal::Git(error) => LfsError::Git(error),
        other => LfsError::Io(std::io::Error::other(other.to_string())),
    }
}

/// What all objects of a repository have in common.
struct Work<G> {
    client: Client,
    endpoint: Address,
    directory: PathBuf,
    granted: G,
}

impl<G: Fn(&str, u16) -> Result<(), String>> Work<G> {
    async fn batch(&self, pointers: &[Pointer]) -> Result<(), LfsError> {
        let places = again(async || self.ask(pointers).await).await?;
        stream::iter(
            places
                .iter()
                .map(|place| again(async || self.download(place).await)),
        )
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
    }

    async fn ask(&self, pointers: &[Pointer]) -> Result<Vec<Place>, LfsError> {
        let media_type = HeaderValue::from_static(MEDIA_TYPE);
        let headers = [(ACCEPT, media_type.clone()), (CONTENT_TYPE, media_type)];
        let body = Bytes::from(question(pointers));
        let mut answer = self
            .client
            .send(Method::POST, &self.endpoint, &headers, body)
            .await?;
        let status = answer.response.status();
        if status != StatusCode::OK {
            return Err(LfsError::of_status(status.as_u16()));
        }
        let body = Limited::new(answer.response.body_mut(), ANSWER_LIMIT)
            .collect()
            .await;
        let body = body
            .map_err(|error| LfsError::Answer(error.to_string()))?
            .to_bytes();
        answer.keep();
        places(&body, pointers)
    }

    async fn download(&self, place: &Place) -> Result<(), LfsError> {
        let address = Address::parse(&place.href)?;
        (self.granted)(&address.host, address.port).map_err(|layer| LfsError::NotGranted {
            host: address.authority(),
            layer,
        })?;
        let headers = place.header.iter().filter_map(|(name, value)| given(name, value));
        let headers: Vec<(HeaderName, HeaderValue)> = headers.collect();
        let mut answer = self
            .client
            .send(Method::GET, &address, &headers, Bytes::new())
            .await?;
        let status = answer.response.status();
        if status != StatusCode::OK {
            return Err(LfsError::of_status(status.as_u16()));
        }
        let Pointer { oid, size } = &place.pointer;
        let mut file = File::create(self.directory.join(oid))?;
        let (mut hash, mut missing) = (Sha256::new(), *size);
        while let Some(frame) = answer.response.body_mut().frame().await {
            let frame = frame.map_err(|error| LfsError::Connection(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            missing = missing
                .checked_sub(data.len() as u64)
                .ok_or_else(|| LfsError::Mismatch(oid.clone()))?;
            hash.update(&data);
            file.write_all(&data)?;
        }
        if missing > 0 {
            return Err(LfsError::Connection("the content ended early".to_owned()));
        }
        answer.keep();
        let right = hexadecimal(&hash.finalize()) == *oid;
        right.then_some(()).ok_or_else(|| LfsError::Mismatch(oid.clone()))
    }
}

/// A header that the server wants to be asked with. How a request is framed, and whom it is for, is none of its concern.
fn given(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name: HeaderName = name.parse().ok()?;
    let ours = [
        HOST,
        CONNECTION,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        TE,
        TRAILER,
        UPGRADE,
        EXPECT,
    ];
    if ours.contains(&name) || name.as_str().starts_with("proxy-") {
        return None;
    }
    Some((name, value.parse().ok()?))
}

/// Tries what may pass by itself again.
async fn again<T>(call: impl AsyncFn() -> Result<T, LfsError>) -> Result<T, LfsError> {
    let mut tries = 1;
    loop {
        match call().await {
            Err(error) if error.passes() && tries < TRIES => {
                tracing::info!(%error, tries, "a server of Git LFS is asked again");
                tokio::time::sleep(PAUSE.saturating_mul(tries)).await;
                tries += 1;
            }
            done => return done,
        }
    }
}

/// `work`, until all clones must be over.
async fn until<T>(
    deadline: &Deadline,
    work: impl Future<Output = Result<T, LfsError>>,
) -> Result<T, LfsError> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(WATCH) => {
                if deadline.passed() {
                    return Err(LfsError::TimedOut);
                }
            }
        }
    }
}

/// Puts a content in the place of each of its pointers. They are written over: their modes stay.
fn place<'a>(content: &Path, tree: &Path, paths: impl Iterator<Item = &'a PathBuf>) -> Result<(), LfsError> {
    for path in paths {
        let mut to = File::options().write(true).truncate(true).open(tree.join(path))?;
        std::io::copy(&mut File::open(content)?, &mut to)?;
        to.flush()?;
    }
    Ok(fs::remove_file(content)?)
}

/// Has the agent's git take the files for what the commit has: it would call every one of them changed, for its filter is
/// switched off. A change of theirs is found by who collects.
fn leave_alone(
    repository: &work_tree::Place<'_>,
    paths: &[&PathBuf],
    deadline: &Deadline,
) -> Result<(), GitError> {
    let git = Git::new(&repository.tree.join(".git")).work_tree(repository.tree);
    let mut list = Vec::new();
    for path in paths {
        list.extend_from_slice(path.as_os_str().as_bytes());
        list.push(0);
    }
    let mark = ["update-index", "--assume-unchanged", "-z", "--stdin"];
    git.run(&mark, &list, LONGEST_POINTER, deadline).map(drop)
}

#[cfg(test)]
mod tests;
