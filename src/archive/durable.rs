//! Writes that are there after a crash, whole or not at all.
//!
//! A sync that fails is the end: Linux may drop the bytes and report the next sync as good (fsyncgate), so that nothing
//! which this process believes of the volume can be acknowledged any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Prefix of whatever is not finished; swept at the start of the process.
pub const TEMPORARY: &str = ".tmp-";

/// Why bytes are not on the disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Nothing was changed; it can be tried again.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The kernel failed to bring bytes to the disk. What is there is not known before the next start.
    #[error("bytes could not be brought to the disk: {0}")]
    Unsynced(#[source] io::Error),
}

/// Brings a file, or the entries of a directory, to the disk.
pub fn sync(file: &File) -> Result<(), DiskError> {
    file.sync_all().map_err(DiskError::Unsynced)
}

/// Writes a file under a temporary name, brings it to the disk and renames it into place.
pub fn write_file(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = directory.join(format!("{TEMPORARY}{name}"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    sync(&file)?;
    fs::rename(&temporary, directory.join(name))?;
    sync_directory(directory)
}

/// Brings a directory's entries to the disk.
pub fn sync_directory(directory: &Path) -> Result<(), DiskError> {
    sync(&File::open(directory)?)
}

/// Makes a directory, and its entry in its parent, durable. One that exists is fine.
pub fn make_directory(directory: &Path) -> Result<(), DiskError> {
    match fs::create_dir(directory) {
        Ok(()) => directory.parent().map_or(Ok(()), sync_directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes `lines` behind the first `length` bytes of a file; what stands there already was never acknowledged and goes.
/// They are not on the disk before a sync.
pub fn write_behind(path: &Path, length: u64, lines: &[u8]) -> Result<(), WriteError> {
    let opened = OpenOptions::new()
        .write(true)
        .create(length == 0)
        .truncate(false)
        .open(path);
    let file = match opened {
        Err(error) if length > 0 && error.kind() == io::ErrorKind::NotFound => {
            return Err(WriteError::Shorter { found: 0, length });
        }
        opened => opened?,
    };
    let found = file.metadata()?.len();
    if found < length {
        return Err(WriteError::Shorter { found, length });
    }
    if found > length {
        file.set_len(length)?;
    }
    if let Err(error) = file.write_all_at(lines, length) {
        // Best effort: what could not be cut off now is cut off before the next lines.
        let _ = file.set_len(length);
        return Err(error.into());
    }
    Ok(())
}

/// Appends one line to a file and brings it to the disk. What a crash tore before is a line of its own.
pub fn append_line(path: &Path, line: &[u8]) -> Result<(), DiskError> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)?;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    let start: &[u8] = if last == [b'\n'] { b"" } else { b"\n" };
    file.write_all(&[start, line, b"\n"].concat())?;
    sync(&file)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Why lines were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing was changed; it can be tried again.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Acknowledged bytes are gone.
    #[error("the file has {found} bytes, and had {length}")]
    Shorter {
        /// What it has.
        found: u64,
        /// What it had.
        length: u64,
    },
}

/// Removes everything unfinished from a directory.
pub fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY.as_bytes())
        {
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(path)?;
            } else {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_leftovers_go() {
        let directory = tempfile::tempdir().unwrap();
        write_file(directory.path(), "receipt.json", b"one").unwrap();
        fs::write(directory.path().join(".tmp-receipt.json"), "half").unwrap();
        make_directory(&directory.path().join(".tmp-upload")).unwrap();
        fs::write(directory.path().join(".tmp-upload/patch"), "half").unwrap();
        sweep(directory.path()).unwrap();
        let left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["receipt.json"]);
        assert_eq!(fs::read(directory.path().join("receipt.json")).unwrap(), b"one");
    }

    #[test]
    fn what_was_not_acknowledged_goes_before_the_next_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chain.jsonl");
        write_behind(&path, 0, b"one\ntwo\n").unwrap();
        for torn in [b"thr".to_vec(), vec![b'x'; 10_000], b"whole\n".to_vec()] {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&torn).unwrap();
            write_behind(&path, 8, b"three\n").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
        }
    }

    #[test]
    fn file_that_lost_acknowledged_bytes_is_written_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chain.jsonl");
        write_behind(&path, 0, b"one\n").unwrap();
        assert!(matches!(
            write_behind(&path, 8, b"three\n"),
            Err(WriteError::Shorter { found: 4, length: 8 })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"one\n");
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            write_behind(&path, 4, b"two\n"),
            Err(WriteError::Shorter { found: 0, length: 4 })
        ));
        assert!(!path.exists());
    }

    #[test]
    fn line_behind_a_torn_one_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deletions.jsonl");
        append_line(&path, b"one").unwrap();
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"to")
            .unwrap();
        append_line(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\nto\nthree\n");
    }

    #[test]
    fn full_disk_is_a_failure_to_try_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chain.jsonl");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        assert!(matches!(write_behind(&path, 0, b"one\n"), Err(WriteError::Io(_))));
    }
}
