//! Which new files the base commit's own rules ignore. The agent's rules count for nothing: they could hide files.
//!
//! Git itself answers, in a directory of ours that holds nothing but the base commit's `.gitignore` files and the
//! names of the directories that were asked for: rules that end in a slash look at what a path is.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use super::base::{Base, read_blob};
use super::refusal::Refusal;
use crate::deadline::Deadline;
use crate::git::{Git, Group, watch_over};

/// Longest `.gitignore` in bytes.
const RULES_LIMIT: u64 = 1024 * 1024;

/// An oracle over the base commit's rules.
#[derive(Debug)]
pub struct Ignores {
    directory: PathBuf,
    /// Absent: the base commit has no rules.
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    ended: Option<Sender<()>>,
    watchdog: Option<JoinHandle<bool>>,
}

impl Ignores {
    /// Starts it; `directory` is empty and ours alone.
    pub fn start(
        pristine: &Path,
        base: &Base,
        directory: PathBuf,
        deadline: &Deadline,
    ) -> Result<Self, Refusal> {
        let git = Git::new(pristine);
        let mut any = false;
        for (path, entry) in base.ignore_files() {
            let rules = read_blob(&git, &entry.oid, RULES_LIMIT, deadline)?;
            let target = directory.join(OsStr::from_bytes(path));
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(Refusal::Storage)?;
            }
            fs::write(target, rules).map_err(Refusal::Storage)?;
            any = true;
        }
        let process = any
            .then(|| Process::start(&oracle(git, &directory), deadline))
            .transpose()
            .map_err(Refusal::Storage)?;
        Ok(Self { directory, process })
    }

    /// For each of `paths`, whether the rules ignore it; `true` beside a path says that it is a directory.
    pub fn ask(&mut self, paths: &[(&[u8], bool)], deadline: &Deadline) -> Result<Vec<bool>, Refusal> {
        let Some(process) = self.process.as_mut().filter(|_| !paths.is_empty()) else {
            return Ok(vec![false; paths.len()]);
        };
        for (path, _) in paths.iter().filter(|(_, directory)| *directory) {
            match fs::create_dir_all(self.directory.join(OsStr::from_bytes(path))) {
                // A `.gitignore` that the agent turned into a directory.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => done.map_err(Refusal::Storage)?,
            }
        }
        process.ask(paths).map_err(|error| {
            if deadline.passed() {
                Refusal::TimedOut
            } else {
                Refusal::Storage(error)
            }
        })
    }
}

/// Unlike other commands, this one refuses to be told that all paths are literal. None is a pattern here
/// anyway, and the `./` before each keeps a leading colon from being read as one.
fn oracle(git: Git, directory: &Path) -> Git {
    git.work_tree(directory).variable("GIT_LITERAL_PATHSPECS", "0")
}

impl Process {
    fn start(git: &Git, deadline: &Deadline) -> io::Result<Self> {
        let mut child = git
            .command(&["check-ignore", "--no-index", "--stdin", "-z", "-v", "-n"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let group = Group::of(&child);
        let (ended, watch) = channel();
        let deadline = deadline.clone();
        let watchdog = std::thread::spawn(move || watch_over(group, &watch, &deadline));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout.ok_or(io::ErrorKind::BrokenPipe)?),
            ended: Some(ended),
            watchdog: Some(watchdog),
        })
    }

    fn ask(&mut self, paths: &[(&[u8], bool)]) -> io::Result<Vec<bool>> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let stdout = &mut self.stdout;
        std::thread::scope(|scope| {
            // Both pipes are short; one thread for both directions would wait for itself.
            let writer = scope.spawn(move || {
                for (path, _) in paths {
                    stdin.write_all(b"./")?;
                    stdin.write_all(path)?;
                    stdin.write_all(&[0])?;
                }
                stdin.flush()
            });
            let answers = paths.iter().map(|_| answer(stdout)).collect::<io::Result<_>>();
            writer
                .join()
                .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
            answers
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input ends it; the watchdog sees to it should it not.
        self.stdin = None;
        if let Err(error) = self.child.wait() {
            tracing::debug!(%error, "git check-ignore was gone");
        }
        self.ended = None;
        if let Some(watchdog) = self.watchdog.take()
            && watchdog.join().is_err()
        {
            tracing::debug!("a watchdog was gone");
        }
    }
}

/// One answer: source, line, pattern, path, each ended by NUL. No pattern: no rule speaks of it; a pattern with
/// an exclamation mark: it is not ignored.
fn answer(from: &mut impl BufRead) -> io::Result<bool> {
    let mut pattern = Vec::new();
    for field in 0..4 {
        let mut text = Vec::new();
        from.read_until(0, &mut text)?;
        if text.pop() != Some(0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if field == 2 {
            pattern = text;
        }
    }
    Ok(pattern.first().is_some_and(|first| *first != b'!'))
}
