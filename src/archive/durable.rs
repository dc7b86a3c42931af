//! Writes that are there after a crash, whole or not at all.
//!
//! A sync that fails is the end: Linux may drop the bytes and report the next sync as good (fsyncgate), so that nothing
//! which this process believes of the volume can be acknowledged any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
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

/// Appends whole lines and brings them to the disk.
///
/// A line that a crash tore is cut off first; after a failure to write nothing of `lines` is left. Returns the new
/// length, or `None` if it would pass `limit`.
pub fn append_lines(path: &Path, lines: &[u8], limit: u64) -> Result<Option<u64>, DiskError> {
    let is_new = !path.try_exists()?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let start = end_of_whole_lines(&mut file)?;
    let end = start.saturating_add(lines.len() as u64);
    if end > limit {
        return Ok(None);
    }
    if file.metadata()?.len() > start {
        file.set_len(start)?;
    }
    file.seek(SeekFrom::Start(start))?;
    if let Err(error) = file.write_all(lines) {
        // Best effort: what could not be cut off now is a torn line for the next append.
        let _ = file.set_len(start);
        return Err(error.into());
    }
    sync(&file)?;
    if is_new && let Some(directory) = path.parent() {
        sync_directory(directory)?;
    }
    Ok(Some(end))
}

/// Where the last whole line ends.
fn end_of_whole_lines(file: &mut File) -> io::Result<u64> {
    const BLOCK: u64 = 4096;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&mut *file).take(end - start).read_to_end(&mut block)?;
        if let Some(position) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + position as u64 + 1);
        }
        end = start;
    }
    Ok(0)
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
    fn a_torn_line_is_cut_off_before_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.jsonl");
        assert_eq!(append_lines(&path, b"one\ntwo\n", 100).unwrap(), Some(8));
        for torn in [b"thr".to_vec(), vec![b'x'; 10_000]] {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&torn).unwrap();
            assert_eq!(append_lines(&path, b"", 100).unwrap(), Some(8));
            assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        }
        assert_eq!(append_lines(&path, b"three\n", 13).unwrap(), None);
        assert_eq!(append_lines(&path, b"three\n", 14).unwrap(), Some(14));
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_file_that_is_nothing_but_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.jsonl");
        fs::write(&path, vec![b'x'; 9000]).unwrap();
        assert_eq!(append_lines(&path, b"one\n", 100).unwrap(), Some(4));
        assert_eq!(fs::read(&path).unwrap(), b"one\n");
    }

    /// `/dev/null` takes every byte and refuses to be synced.
    #[test]
    fn append_that_is_not_synced_is_no_failure_to_try_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.jsonl");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(matches!(
            append_lines(&path, b"one\n", 100),
            Err(DiskError::Unsynced(_))
        ));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        assert!(matches!(
            append_lines(&path, b"one\n", 100),
            Err(DiskError::Io(_))
        ));
    }
}
