//! Which runs had which name: `namespace/name` to uids. Kept in memory, and read from the volume at a start.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use parking_lot::Mutex;

/// Longest `namespace/name`.
const NAME_LIMIT: u64 = 253 + 1 + 253;

/// The index.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashMap<String, Vec<String>>>);

impl Names {
    /// Notes a run; a run that is noted twice is there once.
    pub fn add(&self, name: &str, run_uid: &str) {
        let mut names = self.0.lock();
        let runs = names.entry(name.to_owned()).or_default();
        if !runs.iter().any(|known| known == run_uid) {
            runs.push(run_uid.to_owned());
        }
    }

    /// Forgets a run.
    pub fn remove(&self, name: &str, run_uid: &str) {
        let mut names = self.0.lock();
        if let Some(runs) = names.get_mut(name) {
            runs.retain(|known| known != run_uid);
            if runs.is_empty() {
                names.remove(name);
            }
        }
    }

    /// The runs of this name, in no order.
    pub fn of(&self, name: &str) -> Vec<String> {
        self.0.lock().get(name).cloned().unwrap_or_default()
    }
}

/// `namespace/name` of the run whose directory this is; none: it left no output.
///
/// # Errors
/// The file cannot be read.
pub fn read(directory: &Path) -> io::Result<Option<String>> {
    use std::io::Read as _;
    let file = match fs::File::open(directory.join("run")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(NAME_LIMIT + 1).read_to_end(&mut bytes)?;
    // A name that is none belongs to nobody.
    Ok(String::from_utf8(bytes)
        .ok()
        .filter(|name| name.len() as u64 <= NAME_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_name_are_told_apart_and_forgotten_one_by_one() {
        let names = Names::default();
        for (name, run) in [("a/x", "1"), ("a/x", "2"), ("a/x", "1"), ("b/x", "3")] {
            names.add(name, run);
        }
        assert_eq!(names.of("a/x"), ["1", "2"]);
        assert_eq!(names.of("b/x"), ["3"]);
        assert_eq!(names.of("a"), Vec::<String>::new());
        names.remove("a/x", "1");
        names.remove("a/x", "9");
        names.remove("c/x", "1");
        assert_eq!(names.of("a/x"), ["2"]);
        names.remove("a/x", "2");
        assert_eq!(names.0.lock().len(), 1);
    }

    #[test]
    fn a_name_that_is_none_belongs_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), None);
        for (bytes, name) in [
            (b"team-a/fix".to_vec(), Some("team-a/fix".to_owned())),
            (b"\xff/x".to_vec(), None),
            (vec![b'a'; 508], None),
        ] {
            fs::write(directory.path().join("run"), bytes).unwrap();
            assert_eq!(read(directory.path()).unwrap(), name);
        }
    }
}
