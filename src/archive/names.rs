//! Which runs had which name, in which namespace. Kept in memory, and read from the volume at a start.
//!
//! The uid of the namespace is the controller's word, out of the chain; the name alone is also the gateway's, with an output.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::keep::Keep;

/// Longest `namespace/name`.
const NAME_LIMIT: u64 = 253 + 1 + 253;
/// Longest document of [`Origin`] in bytes.
const ORIGIN_LIMIT: u64 = 4096;
/// File of the name that came with an output.
pub const NAME_FILE: &str = "run";
/// File of what the controller told.
pub const ORIGIN_FILE: &str = "index.json";

/// Which run a chain is of, as the controller told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// `namespace/name`.
    pub run: String,
    /// Uid of the namespace; absent: a controller wrote the records that tells none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_uid: Option<String>,
    /// RFC 3339 time of the record that tells it.
    pub time: String,
    /// Days that its policies say. An archive that is older than this field left it out, so that the chain is asked before
    /// something is removed.
    #[serde(default, skip_serializing_if = "Keep::is_silent")]
    pub keep: Keep,
}

/// What is known of which run this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The name that came with an output; what the controller told is not known here yet.
    Name(String),
    /// What the controller told.
    Origin(Origin),
}

impl Known {
    /// `namespace/name`.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Origin(origin) => &origin.run,
        }
    }

    /// Name of the namespace.
    pub fn namespace(&self) -> Option<&str> {
        self.name().split_once('/').map(|(namespace, _)| namespace)
    }

    /// Days that its policies say, as far as they were told.
    pub fn keep(&self) -> Keep {
        match self {
            Self::Name(_) => Keep::default(),
            Self::Origin(origin) => origin.keep,
        }
    }

    /// Uid of the namespace, as far as it was told.
    pub fn namespace_uid(&self) -> Option<&str> {
        match self {
            Self::Name(_) => None,
            Self::Origin(origin) => origin.namespace_uid.as_deref(),
        }
    }
}

/// The index.
#[derive(Debug, Default)]
pub struct Names(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    runs: HashMap<String, Known>,
    by_name: HashMap<String, Vec<String>>,
}

impl Names {
    /// Notes a run. What the controller told stays where only a name is known besides.
    pub fn add(&self, run_uid: &str, known: Known) {
        let mut inner = self.0.lock();
        match (inner.runs.get(run_uid), &known) {
            (Some(Known::Origin(_)), Known::Name(_)) => return,
            (Some(before), known) if before == known => return,
            _ => {}
        }
        inner.forget(run_uid);
        let runs = inner.by_name.entry(known.name().to_owned()).or_default();
        runs.push(run_uid.to_owned());
        inner.runs.insert(run_uid.to_owned(), known);
    }

    /// Forgets a run.
    pub fn remove(&self, run_uid: &str) {
        self.0.lock().forget(run_uid);
    }

    /// What is known of a run.
    pub fn get(&self, run_uid: &str) -> Option<Known> {
        self.0.lock().runs.get(run_uid).cloned()
    }

    /// The runs of this name, in no order.
    pub fn of(&self, name: &str) -> Vec<String> {
        self.0.lock().by_name.get(name).cloned().unwrap_or_default()
    }
}

impl Inner {
    fn forget(&mut self, run_uid: &str) {
        let Some(known) = self.runs.remove(run_uid) else {
            return;
        };
        if let Some(runs) = self.by_name.get_mut(known.name()) {
            runs.retain(|run| run != run_uid);
            if runs.is_empty() {
                self.by_name.remove(known.name());
            }
        }
    }
}

/// What the files of a run's directory say of which run this is.
///
/// # Errors
/// A file cannot be read.
pub fn read(directory: &Path) -> io::Result<Option<Known>> {
    // A document that is none says nothing: the chain is asked again.
    let told = bounded(&directory.join(ORIGIN_FILE), ORIGIN_LIMIT)?;
    if let Some(origin) = told.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Ok(Some(Known::Origin(origin)));
    }
    // A name that is none belongs to nobody.
    let name = bounded(&directory.join(NAME_FILE), NAME_LIMIT)?;
    Ok(name
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(Known::Name))
}

/// A whole file; none where there is none, or it is longer.
fn bounded(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Known {
        Known::Name(name.to_owned())
    }

    fn origin(run: &str, namespace_uid: Option<&str>) -> Known {
        Known::Origin(Origin {
            run: run.to_owned(),
            namespace_uid: namespace_uid.map(str::to_owned),
            time: "t".to_owned(),
            keep: Keep::default(),
        })
    }

    #[test]
    fn runs_of_one_name_are_told_apart_and_forgotten_one_by_one() {
        let names = Names::default();
        for (run, known) in [("1", "a/x"), ("2", "a/x"), ("1", "a/x"), ("3", "b/x")] {
            names.add(run, name(known));
        }
        assert_eq!(names.of("a/x"), ["1", "2"]);
        assert_eq!(names.of("b/x"), ["3"]);
        assert_eq!(names.of("a"), Vec::<String>::new());
        for run in ["1", "9"] {
            names.remove(run);
        }
        assert_eq!(names.of("a/x"), ["2"]);
        names.remove("2");
        assert_eq!(names.0.lock().by_name.len(), 1);
        assert_eq!(names.0.lock().runs.len(), 1);
    }

    #[test]
    fn what_the_controller_told_stays_and_is_completed() {
        let names = Names::default();
        let (bare, whole) = (origin("a/x", None), origin("a/x", Some("n")));
        for known in [name("b/y"), bare.clone(), name("b/y"), whole.clone(), name("a/x")] {
            names.add("1", known);
        }
        assert_eq!(names.get("1"), Some(whole));
        assert_eq!(
            (names.of("a/x"), names.of("b/y")),
            (vec!["1".to_owned()], Vec::new())
        );
    }

    #[test]
    fn a_name_that_is_none_belongs_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), None);
        for (bytes, known) in [
            (b"team-a/fix".to_vec(), Some(name("team-a/fix"))),
            (b"\xff/x".to_vec(), None),
            (vec![b'a'; 508], None),
        ] {
            fs::write(directory.path().join(NAME_FILE), bytes).unwrap();
            assert_eq!(read(directory.path()).unwrap(), known);
        }
    }

    #[test]
    fn what_the_controller_told_counts_more_than_the_name_of_an_output() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NAME_FILE), "b/y").unwrap();
        for (text, known) in [
            (
                r#"{"run":"a/x","namespaceUid":"n","time":"t","later":1}"#,
                origin("a/x", Some("n")),
            ),
            (r#"{"run":"a/x","time":"t"}"#, origin("a/x", None)),
            (r#"{"run":"a/x""#, name("b/y")),
        ] {
            fs::write(directory.path().join(ORIGIN_FILE), text).unwrap();
            assert_eq!(read(directory.path()).unwrap(), Some(known));
        }
    }
}
