//! What was written in the cluster, from the API server's audit log. Pure but for reading the file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

/// One request that changes something, as the API server wrote it down.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    #[serde(default, rename = "requestURI")]
    uri: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    /// When the API server had its head.
    #[serde(rename = "requestReceivedTimestamp")]
    pub received: Timestamp,
    /// When it had answered.
    #[serde(rename = "stageTimestamp")]
    pub answered: Timestamp,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl Request {
    /// The line of an audit log; `None` if it is none of ours to read.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// Whether it stored something: dry runs, tokens and reviews do not, nor does what was refused.
    pub fn stored(&self) -> bool {
        self.response_status.code < 400 && self.asks_to_store()
    }

    /// Whether it would have stored something, but was refused: a conflict, mostly.
    pub fn refused(&self) -> bool {
        self.response_status.code >= 400 && self.asks_to_store()
    }

    fn asks_to_store(&self) -> bool {
        !self.uri.contains("dryRun=All")
            && self.object_ref.subresource != "token"
            && !self.object_ref.resource.ends_with("reviews")
    }

    /// The HTTP code of the answer.
    pub const fn code(&self) -> u16 {
        self.response_status.code
    }

    /// `resource`, or `resource/subresource`.
    pub fn resource(&self) -> String {
        let ObjectRef {
            resource,
            subresource,
            ..
        } = &self.object_ref;
        if subresource.is_empty() {
            resource.clone()
        } else {
            format!("{resource}/{subresource}")
        }
    }

    /// The object's namespace; empty for objects of the cluster.
    pub fn namespace(&self) -> &str {
        &self.object_ref.namespace
    }

    /// The object's name; empty where the API server chose it.
    pub fn name(&self) -> &str {
        &self.object_ref.name
    }

    /// The program that asked, without its version.
    pub fn agent(&self) -> &str {
        self.user_agent.split(['/', ' ']).next().unwrap_or_default()
    }
}

/// Counts by a key, in the order of keys.
pub type Counts = BTreeMap<String, u64>;

/// Counts `requests` by `<verb> <resource>`.
pub fn by_resource<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Counts {
    count(requests, |request| {
        format!("{} {}", request.verb, request.resource())
    })
}

/// Counts `requests` by `<program> <verb> <resource>`.
pub fn by_writer<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Counts {
    count(requests, |request| {
        format!("{} {} {}", request.agent(), request.verb, request.resource())
    })
}

/// Counts `requests` by the program that asked.
pub fn by_agent<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Counts {
    count(requests, |request| request.agent().to_owned())
}

fn count<'a>(requests: impl IntoIterator<Item = &'a Request>, key: impl Fn(&Request) -> String) -> Counts {
    let mut counts = Counts::new();
    for request in requests {
        *counts.entry(key(request)).or_default() += 1;
    }
    counts
}

/// A place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    inode: u64,
    offset: u64,
}

/// The log of one API server, which starts a new file when one is full and keeps two of the old ones.
#[derive(Clone, Debug)]
pub struct Log(PathBuf);

impl Log {
    /// The log whose current file is `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The end of the log as it is now.
    pub fn mark(&self) -> io::Result<Mark> {
        let file = fs::metadata(&self.0)?;
        Ok(Mark {
            inode: file.ino(),
            offset: file.len(),
        })
    }

    /// Everything that was written down after `mark`, whole lines only.
    pub fn since(&self, mark: Mark) -> io::Result<Vec<Request>> {
        let mut text = String::new();
        for (path, offset) in self.files(mark)? {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            file.read_to_string(&mut text)?;
        }
        let whole = text
            .rfind('\n')
            .map_or("", |end| text.get(..end).unwrap_or_default());
        Ok(whole.lines().filter_map(Request::parse).collect())
    }

    /// The files to read, oldest first, each with where to begin.
    fn files(&self, mark: Mark) -> io::Result<Vec<(PathBuf, u64)>> {
        let current = fs::metadata(&self.0)?;
        if current.ino() == mark.inode {
            return Ok(vec![(self.0.clone(), mark.offset)]);
        }
        let stem = self
            .0
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut old: Vec<PathBuf> = fs::read_dir(self.0.parent().unwrap_or(Path::new(".")))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&format!("{stem}-"))
            })
            .collect();
        // The time of its end is in a file's name.
        old.sort();
        let mut files = Vec::new();
        for path in old {
            if fs::metadata(&path)?.ino() == mark.inode {
                files = vec![(path, mark.offset)];
            } else if !files.is_empty() {
                files.push((path, 0));
            }
        }
        if files.is_empty() {
            return Err(io::Error::other(
                "the audit log has gone round more than twice since the measurement began",
            ));
        }
        files.push((self.0.clone(), 0));
        Ok(files)
    }
}
