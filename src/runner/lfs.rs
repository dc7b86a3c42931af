//! Files of Git LFS: a repository holds a pointer to each, and a server beside it the content. Pure.
//!
//! `prepare` fetches contents by the basic transfer of the batch API, and puts them in the pointers' places. Git's own
//! filter is never run: it would be a program that a repository configures.

pub mod client;
pub mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::clone::bytes::TooLarge;
use crate::git::GitError;
use crate::text::{escape, escape_within};

/// How a pointer begins.
const VERSION: &str = "version https://git-lfs.github.com/spec/v1";
/// No pointer is longer.
pub const LONGEST_POINTER: u64 = 1024;
/// Objects that are asked for at a time, as git-lfs does.
pub const BATCH: usize = 100;
/// Media type of the API.
pub const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// What stands in a repository for a file of Git LFS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Pointer {
    /// SHA-256 of the content, in hexadecimal.
    pub oid: String,
    /// Its bytes.
    pub size: u64,
}

impl Pointer {
    /// Reads a pointer; nothing where the content is none, or one of an extension, which only its program could undo.
    pub fn parse(content: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content).ok()?;
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let version = lines.next()?;
        let oid = lines.next()?.strip_prefix("oid sha256:")?;
        let size = lines.next()?.strip_prefix("size ")?;
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let whole = version == VERSION && oid.len() == 64 && oid.bytes().all(hexadecimal);
        let plain = size.bytes().all(|byte| byte.is_ascii_digit()) && lines.next().is_none();
        (whole && plain && content.len() as u64 <= LONGEST_POINTER).then_some(Self {
            oid: oid.to_owned(),
            size: size.parse().ok()?,
        })
    }
}

/// Bytes in hexadecimal, as a pointer has its digest.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Why files of Git LFS are not there.
#[derive(Debug, thiserror::Error)]
pub enum LfsError {
    /// The server gives nothing to people without a name.
    #[error(
        "its server gives no files of Git LFS to callers without credentials (it answers {0}), and a sandbox holds none: set \
         clone.lfs to Pointers to work without their contents"
    )]
    Refused(u16),
    /// The server cannot now.
    #[error("the server of its Git LFS files answers {0}, that it cannot serve this now")]
    Unavailable(u16),
    /// No connection, or it broke.
    #[error("the server of its Git LFS files cannot be reached: {0}")]
    Connection(String),
    /// The answer makes no sense.
    #[error("the server of its Git LFS files answers with something that cannot be read: {0}")]
    Answer(String),
    /// One object is not there.
    #[error("its server does not have the Git LFS object {oid}: {message} ({code})")]
    Object {
        /// Which.
        oid: String,
        /// The server's number for why.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The content is somewhere that policy does not let be reached.
    #[error(
        "its Git LFS files are at {host}, which is not granted by {layer} (limits.repositories.clone): ask the owner of it to \
         add https://{host}/**, or set clone.lfs to Pointers"
    )]
    NotGranted {
        /// Host and port.
        host: String,
        /// The first layer that does not.
        layer: String,
    },
    /// What came is not what the pointer says.
    #[error("the Git LFS object {0} has another content than its name says")]
    Mismatch(String),
    /// More than is worth asking for.
    #[error("it has more than {0} files of Git LFS: set clone.lfs to Pointers")]
    TooMany(usize),
    /// More bytes than the run may have.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The time was over.
    #[error("fetching its Git LFS files did not end in time")]
    TimedOut,
    /// Git.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Our own files.
    #[error("its Git LFS files cannot be written: {0}")]
    Io(#[from] std::io::Error),
}

impl LfsError {
    /// Whether another attempt may end otherwise.
    pub const fn passes(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Connection(_) | Self::TimedOut | Self::Git(_) | Self::Io(_) => true,
            Self::Refused(_)
            | Self::Answer(_)
            | Self::Object { .. }
            | Self::NotGranted { .. }
            | Self::Mismatch(_)
            | Self::TooMany(_)
            | Self::TooLarge(_) => false,
        }
    }

    /// What a status other than success means.
    pub const fn of_status(status: u16) -> Self {
        match status {
            408 | 425 | 429 | 500 | 502..=599 => Self::Unavailable(status),
            _ => Self::Refused(status),
        }
    }
}

/// Where the API of a repository's server is.
pub fn endpoint(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    format!("{url}.git/info/lfs/objects/batch")
}

#[derive(Serialize)]
struct Batch<'a> {
    operation: &'static str,
    transfers: [&'static str; 1],
    objects: &'a [Pointer],
    hash_algo: &'static str,
}

/// What is asked of the API.
pub fn question(pointers: &[Pointer]) -> Vec<u8> {
    let batch = Batch {
        operation: "download",
        transfers: ["basic"],
        objects: pointers,
        hash_algo: "sha256",
    };
    // Strings and numbers always have a form in JSON.
    serde_json::to_vec(&batch).unwrap_or_default()
}

/// Where the content of an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The object.
    pub pointer: Pointer,
    /// The address.
    pub href: String,
    /// Headers to ask with: what the server gives everybody who asks it.
    pub header: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    transfer: Option<String>,
    objects: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Actions {
    #[serde(default)]
    download: Option<Download>,
}

#[derive(Deserialize)]
struct Download {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Failure {
    code: u16,
    #[serde(default)]
    message: String,
}

/// Reads what the API says of each of `asked`; what was not asked for counts for nothing.
pub fn places(answer: &[u8], asked: &[Pointer]) -> Result<Vec<Place>, LfsError> {
    let unreadable = |why: &str| LfsError::Answer(escape(why.as_bytes()));
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| unreadable(&error.to_string()))?;
    if answer.transfer.is_some_and(|transfer| transfer != "basic") {
        return Err(unreadable("it wants another transfer than the basic one"));
    }
    let mut missing: BTreeSet<&Pointer> = asked.iter().collect();
    let mut places = Vec::with_capacity(asked.len());
    for Answered { oid, actions, error } in answer.objects {
        let Some(pointer) = missing.iter().copied().find(|pointer| pointer.oid == oid) else {
            continue;
        };
        missing.remove(pointer);
        if let Some(Failure { code, message }) = error {
            return Err(LfsError::Object {
                oid,
                code,
                message: escape_within(message.as_bytes(), 100),
            });
        }
        let download = actions.and_then(|actions| actions.download);
        let Download { href, header } = download.ok_or_else(|| unreadable("an object has no address"))?;
        places.push(Place {
            pointer: pointer.clone(),
            href,
            header,
        });
    }
    if missing.is_empty() {
        Ok(places)
    } else {
        Err(unreadable("it leaves out an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn pointer(digit: char, size: u64) -> Pointer {
        Pointer {
            oid: digit.to_string().repeat(64),
            size,
        }
    }

    fn text(of: &Pointer) -> String {
        format!("{VERSION}\noid sha256:{}\nsize {}\n", of.oid, of.size)
    }

    #[rstest]
    #[case::whole(|text: String| text, true)]
    #[case::without_its_last_line_feed(|text: String| text.trim_end().to_owned(), false)]
    #[case::with_an_extension(|text: String| text.replace("oid", "ext-0-x sha256:00\noid"), false)]
    #[case::with_more(|text: String| text + "more\n", false)]
    #[case::upper_case(|text: String| text.replace('a', "A"), false)]
    #[case::another_hash(|text: String| text.replace("sha256", "sha512"), false)]
    #[case::a_short_name(|text: String| text.replacen("aaaa", "aaa", 1), false)]
    #[case::a_negative_size(|text: String| text.replace("size ", "size -"), false)]
    #[case::a_signed_size(|text: String| text.replace("size ", "size +"), false)]
    #[case::no_size(|text: String| text.replace("size 7", "size "), false)]
    #[case::a_huge_size(|text: String| text.replace("size 7", &format!("size {}", "9".repeat(30))), false)]
    #[case::carriage_returns(|text: String| text.replace('\n', "\r\n"), false)]
    #[case::another_version(|text: String| text.replace("v1", "v2"), false)]
    fn pointers(#[case] change: fn(String) -> String, #[case] is_one: bool) {
        let pointer = pointer('a', 7);
        let text = change(text(&pointer));
        assert_eq!(
            Pointer::parse(text.as_bytes()),
            is_one.then_some(pointer),
            "{text}"
        );
    }

    #[test]
    fn the_api_is_beside_the_repository() {
        for (url, of) in [
            ("https://h/a/b", "https://h/a/b.git/info/lfs/objects/batch"),
            ("https://h/a/b.git", "https://h/a/b.git/info/lfs/objects/batch"),
            (
                "https://h:8443/a/b/",
                "https://h:8443/a/b.git/info/lfs/objects/batch",
            ),
        ] {
            assert_eq!(endpoint(url), of);
        }
        let question: serde_json::Value = serde_json::from_slice(&question(&[pointer('a', 7)])).unwrap();
        assert_eq!(question["operation"], "download");
        assert_eq!(question["objects"][0]["size"], 7);
    }

    #[rstest]
    #[case::places(r#"{"transfer":"basic","objects":[{"oid":"B","actions":{"download":{"href":"https://s/b"}}},
        {"oid":"A","size":7,"actions":{"download":{"href":"https://s/a","header":{"X-Y":"z"},"expires_in":5}}}]}"#, "")]
    #[case::what_was_not_asked_for(r#"{"objects":[{"oid":"C","error":{"code":404}},
        {"oid":"A","actions":{"download":{"href":"https://s/a"}}},{"oid":"B","actions":{"download":{"href":"https://s/b"}}}]}"#, "")]
    #[case::absent(
        r#"{"objects":[{"oid":"A","error":{"code":404,"message":"gone\u001b"}}]}"#,
        "gone\\u{1b} (404)"
    )]
    #[case::left_out(
        r#"{"objects":[{"oid":"A","actions":{"download":{"href":"https://s/a"}}}]}"#,
        "it leaves out an object"
    )]
    #[case::without_a_place(r#"{"objects":[{"oid":"A","actions":{}}]}"#, "an object has no address")]
    #[case::another_transfer(r#"{"transfer":"tus","objects":[]}"#, "another transfer")]
    #[case::no_answer("<html>", "cannot be read")]
    fn answers(#[case] answer: &str, #[case] words: &str) {
        let asked = [pointer('a', 7), pointer('b', 8)];
        let answer = answer
            .replace("\"A\"", &format!("\"{}\"", "a".repeat(64)))
            .replace("\"B\"", &format!("\"{}\"", "b".repeat(64)));
        match places(answer.as_bytes(), &asked) {
            Ok(mut places) => {
                places.sort_by(|one, other| one.href.cmp(&other.href));
                let found: Vec<(&str, u64)> = places
                    .iter()
                    .map(|place| (place.href.as_str(), place.pointer.size))
                    .collect();
                assert_eq!(found, [("https://s/a", 7), ("https://s/b", 8)]);
                assert_eq!(words, "");
            }
            Err(error) => assert!(!words.is_empty() && error.to_string().contains(words), "{error}"),
        }
    }
}
