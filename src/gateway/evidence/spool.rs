//! Records on this pod's own disk until the archive has them: they outlive the process, killed or not, and not the pod.
//!
//! One file for each stream, `<uid of the run>.<stream>`, which only grows: a line is a record, or says up to which
//! number the archive has them all, or which number was given last where its record found no place. Nothing is synced: a kill loses nothing, the end of the node does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use cofferdam_wire::record::StreamId;

/// A file that has grown beyond this is written anew when the archive has all of it.
const COMPACT_BYTES: u64 = 256 * 1024;
/// Prefix of a file that is being written anew.
const TEMPORARY: &str = ".tmp-";

/// The archive has every record up to this number.
#[derive(Serialize, Deserialize)]
struct Acknowledged {
    acknowledged: u64,
}

/// The number that was given last, of a record that found no place.
#[derive(Serialize, Deserialize)]
struct Reached {
    reached: u64,
}

/// Bytes of such a line, which is written over by the next one.
const REACHED_BYTES: usize = 40;

/// The number of a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Numbered {
    source_seq: u64,
}

/// The directory of the spool.
#[derive(Debug)]
pub struct Spool(PathBuf);

/// What a process before this one left of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    /// Uid of the run.
    pub run_uid: String,
    /// The stream.
    pub stream: StreamId,
    /// Its records that the archive may not have, as lines.
    pub lines: Vec<Vec<u8>>,
    /// Number of its last record.
    pub last: u64,
    path: PathBuf,
}

impl Spool {
    /// A spool in `directory`, which is made.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        fs::read_dir(directory)?.next().transpose()?;
        Ok(Self(directory.to_owned()))
    }

    /// The file of a stream of this process.
    pub fn file(&self, run_uid: &str, stream: &StreamId) -> SpoolFile {
        SpoolFile {
            path: self.0.join(format!("{run_uid}.{}", stream.as_str())),
            file: None,
            reached: None,
            is_torn: false,
            length: 0,
        }
    }

    /// What processes before this one left. What cannot be read is told in the log, and stays.
    pub fn left(&self) -> Vec<Left> {
        let read = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            match left(&path) {
                Ok(left) => left,
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a file of the spool cannot be read");
                    None
                }
            }
        };
        match fs::read_dir(&self.0) {
            Ok(entries) => entries.filter_map(read).collect(),
            Err(error) => {
                tracing::error!(path = %self.0.display(), %error, "the spool cannot be read");
                Vec::new()
            }
        }
    }
}

fn left(path: &Path) -> io::Result<Option<Left>> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let Some((run_uid, stream)) = name.split_once('.') else {
        return Ok(None);
    };
    let Ok(stream) = stream.parse() else {
        return Ok(None);
    };
    if name.starts_with(TEMPORARY) {
        return Ok(None);
    }
    let bytes = fs::read(path)?;
    let (mut lines, mut last) = (Vec::new(), 0);
    // A line without its end was not whole when the process was killed: what it is about was not answered.
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.last() != Some(&b'\n') {
            break;
        }
        if let Ok(Acknowledged { acknowledged }) = serde_json::from_slice(line) {
            lines.clear();
            last = last.max(acknowledged);
        } else if let Ok(Numbered { source_seq }) = serde_json::from_slice(line) {
            lines.push(line.to_vec());
            last = last.max(source_seq);
        } else if let Ok(Reached { reached }) = serde_json::from_slice(line) {
            last = last.max(reached);
        }
    }
    Ok(Some(Left {
        run_uid: run_uid.to_owned(),
        stream,
        lines,
        last,
        path: path.to_owned(),
    }))
}

impl Left {
    /// Removes it: the archive has all of it.
    pub fn remove(&self) {
        remove(&self.path);
    }
}

/// The file of one stream.
#[derive(Debug)]
pub struct SpoolFile {
    path: PathBuf,
    file: Option<File>,
    /// The file again, and where its last line begins, if that says which number was given last.
    reached: Option<(File, u64)>,
    is_torn: bool,
    length: u64,
}

impl SpoolFile {
    /// Appends a record's line, without its line feed.
    ///
    /// # Errors
    /// The disk takes it not.
    pub fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.reached = None;
        // What a failed write left of a line is a line of its own.
        let start: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let line = [start, line, b"\n"].concat();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).create(true).open(&self.path)?,
        };
        self.is_torn = true;
        // One write: a kill leaves a whole line or a torn last one.
        file.write_all(&line)?;
        self.is_torn = false;
        self.file = Some(file);
        self.length += line.len() as u64;
        Ok(())
    }

    /// Notes that this number was given to a record that found no place. However many there are, they take one line.
    ///
    /// # Errors
    /// The disk takes it not.
    pub fn reached(&mut self, number: u64) -> io::Result<()> {
        let note = serde_json::to_string(&Reached { reached: number })?;
        // Spaces after a document are none of it.
        let note = format!("{note:<width$}", width = REACHED_BYTES - 1);
        if let Some((file, start)) = &self.reached {
            return file.write_all_at(note.as_bytes(), *start);
        }
        self.append(note.as_bytes())?;
        // What is opened to append writes nowhere else.
        let file = OpenOptions::new().write(true).open(&self.path)?;
        let start = file.metadata()?.len().saturating_sub(REACHED_BYTES as u64);
        self.reached = Some((file, start));
        Ok(())
    }

    /// Notes that the archive has every record up to number `last`.
    ///
    /// # Errors
    /// The disk takes it not.
    pub fn acknowledge(&mut self, last: u64) -> io::Result<()> {
        let note = serde_json::to_vec(&Acknowledged { acknowledged: last })?;
        if self.length < COMPACT_BYTES {
            return self.append(&note);
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.path.with_file_name(format!("{TEMPORARY}{name}"));
        fs::write(&temporary, [&note[..], b"\n"].concat())?;
        fs::rename(&temporary, &self.path)?;
        self.file = None;
        self.reached = None;
        self.length = 0;
        Ok(())
    }

    /// Removes it: the stream is over, and the archive has all of it.
    pub fn remove(&mut self) {
        self.file = None;
        self.reached = None;
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file of the spool stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_wire::record::ProcessId;

    fn line(number: u64) -> Vec<u8> {
        format!(r#"{{"sourceSeq":{number},"time":"t","type":"A"}}"#).into_bytes()
    }

    fn numbers(left: &Left) -> Vec<u64> {
        let read = |line: &Vec<u8>| serde_json::from_slice::<Numbered>(line).unwrap().source_seq;
        left.lines.iter().map(read).collect()
    }

    #[test]
    fn what_was_not_acknowledged_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&directory.path().join("spool")).unwrap();
        let stream = StreamId::new(ProcessId(7), 1);
        let mut file = spool.file("run-1", &stream);
        assert!(spool.left().is_empty());
        for number in 1..=3 {
            file.append(&line(number)).unwrap();
        }
        let left = spool.left();
        assert_eq!(
            (left.len(), &left[0].run_uid[..], &left[0].stream),
            (1, "run-1", &stream)
        );
        assert_eq!((numbers(&left[0]), left[0].last), (vec![1, 2, 3], 3));
        file.acknowledge(3).unwrap();
        assert_eq!((numbers(&spool.left()[0]), spool.left()[0].last), (vec![], 3));
        file.append(&line(4)).unwrap();
        fs::write(directory.path().join("spool/odd"), "x").unwrap();
        fs::write(directory.path().join("spool/.tmp-run-1.7-1"), "x").unwrap();
        // The kill came in the middle of a line.
        let path = directory
            .path()
            .join("spool")
            .join(format!("run-1.{}", stream.as_str()));
        let torn = [&fs::read(&path).unwrap()[..], b"{\"sourceSeq\":5,"].concat();
        fs::write(&path, torn).unwrap();
        let left = spool.left();
        assert_eq!((left.len(), numbers(&left[0]), left[0].last), (1, vec![4], 4));
        left[0].remove();
        assert!(spool.left().is_empty());
        file.remove();
    }

    #[test]
    fn file_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let mut file = spool.file("run-1", &StreamId::new(ProcessId(7), 1));
        for number in 1..=30_000 {
            file.append(&line(number)).unwrap();
            if number % 10 == 0 {
                file.acknowledge(number).unwrap();
            }
        }
        assert!(fs::metadata(&file.path).unwrap().len() < 2 * COMPACT_BYTES);
        let left = spool.left();
        assert_eq!((numbers(&left[0]), left[0].last), (vec![], 30_000));
        file.append(&line(30_001)).unwrap();
        assert_eq!(numbers(&spool.left()[0]), [30_001]);
    }

    /// A number without a record is known after a kill, and a million of them take one line.
    #[test]
    fn numbers_of_what_found_no_place_take_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        let mut file = spool.file("run-1", &StreamId::new(ProcessId(7), 1));
        file.append(&line(1)).unwrap();
        for number in 2..=1000 {
            file.reached(number).unwrap();
        }
        let length = fs::metadata(&file.path).unwrap().len();
        assert!(length < 200, "{length}");
        assert_eq!((numbers(&spool.left()[0]), spool.left()[0].last), (vec![1], 1000));
        // What comes after it stays, and the next number is noted behind that.
        file.append(&line(1001)).unwrap();
        file.reached(u64::MAX).unwrap();
        let left = spool.left();
        assert_eq!((numbers(&left[0]), left[0].last), (vec![1, 1001], u64::MAX));
        file.acknowledge(1002).unwrap();
        file.reached(1003).unwrap();
        assert_eq!(
            (numbers(&spool.left()[0]), spool.left()[0].last),
            (vec![], u64::MAX)
        );
    }

    #[test]
    fn full_disk_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = Spool::open(directory.path())
            .unwrap()
            .file("run", &StreamId::new(ProcessId(7), 1));
        std::os::unix::fs::symlink("/dev/full", &file.path).unwrap();
        assert!(file.append(&line(1)).is_err());
    }
}
