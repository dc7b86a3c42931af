//! Calls of git: no configuration, attributes, hooks or templates from anywhere, a deadline, bounded output.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::deadline::Deadline;
use super::text::complaint;

/// How often a watchdog looks whether the work was given up.
const WATCH: Duration = Duration::from_millis(100);
/// Bytes of standard error that are kept of its beginning, and of its end: the cause stands first, and what came of it
/// last.
const STDERR_LIMIT: usize = 16 * 1024;
/// Output of commands that say little.
const SMALL: u64 = 64 * 1024;

/// Settings of every call. They are given on the command line, which no repository can override.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.askPass=/bin/false",
    "core.autocrlf=false",
    "core.safecrlf=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    // Larger files are treated as binary: the cost of a line-wise difference is quadratic at worst.
    "core.bigFileThreshold=16m",
    "credential.helper=",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "transfer.fsckObjects=true",
];

/// Why a call of git gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It could not be started, fed or read.
    #[error("git cannot be run: {0}")]
    Io(#[from] std::io::Error),
    /// It ended with another status than 0.
    #[error("git {command}: {}", complaint(.stderr))]
    Failed {
        /// The subcommand.
        command: String,
        /// What it wrote to standard error; of a long text its beginning and its end.
        stderr: Vec<u8>,
    },
    /// The deadline passed.
    #[error("git {0} did not end in time")]
    TimedOut(String),
    /// It printed more than allowed.
    #[error("git {command} printed more than {limit} bytes")]
    TooLong {
        /// The subcommand.
        command: String,
        /// The limit.
        limit: u64,
    },
}

/// How git is called for one repository.
#[derive(Clone, Debug)]
pub struct Git {
    repository: PathBuf,
    directory: PathBuf,
    settings: Vec<String>,
    environment: Vec<(&'static str, OsString)>,
}

impl Git {
    /// Calls on the repository in `git_dir`, which is never discovered, only ever named.
    pub fn new(git_dir: &Path) -> Self {
        Self {
            repository: git_dir.to_owned(),
            directory: PathBuf::from("/"),
            settings: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Adds a setting `name=value`.
    #[must_use]
    pub fn setting(mut self, setting: impl Into<String>) -> Self {
        self.settings.push(setting.into());
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name, value.as_ref().to_owned()));
        self
    }

    /// Sets the work tree, which is also where git runs.
    #[must_use]
    pub fn work_tree(mut self, tree: &Path) -> Self {
        tree.clone_into(&mut self.directory);
        self.variable("GIT_WORK_TREE", tree)
    }

    /// The command, not yet started, in a process group of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env("GIT_DIR", &self.repository)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_GRAFT_FILE", "/dev/null")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            // No protocol unless a call names one.
            .env("GIT_ALLOW_PROTOCOL", "none")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for setting in SETTINGS
            .iter()
            .copied()
            .chain(self.settings.iter().map(String::as_str))
        {
            command.args(["-c", setting]);
        }
        command.args(arguments);
        command
    }

    /// Runs git to its end and returns what it printed, at most `limit` bytes.
    ///
    /// # Errors
    /// It failed, ran out of time or printed too much.
    pub fn run(
        &self,
        arguments: &[&str],
        input: &[u8],
        limit: u64,
        deadline: &Deadline,
    ) -> Result<Vec<u8>, GitError> {
        let mut output = Vec::new();
        self.run_into(arguments, input, &mut output, limit, deadline)?;
        Ok(output)
    }

    /// [`Git::run`] of a command that prints nothing; returns what it wrote to standard error, of a long text its
    /// beginning and its end.
    ///
    /// # Errors
    /// As [`Git::run`].
    pub fn run_for_warnings(&self, arguments: &[&str], deadline: &Deadline) -> Result<Vec<u8>, GitError> {
        self.run_to_end(arguments, b"", &mut std::io::sink(), SMALL, deadline)
    }

    /// [`Git::run`] for output that should not stand in memory.
    ///
    /// # Errors
    /// As [`Git::run`].
    pub fn run_into(
        &self,
        arguments: &[&str],
        input: &[u8],
        output: &mut impl Write,
        limit: u64,
        deadline: &Deadline,
    ) -> Result<(), GitError> {
        self.run_to_end(arguments, input, output, limit, deadline)
            .map(drop)
    }

    fn run_to_end(
        &self,
        arguments: &[&str],
        input: &[u8],
        output: &mut impl Write,
        limit: u64,
        deadline: &Deadline,
    ) -> Result<Vec<u8>, GitError> {
        let name = arguments.first().copied().unwrap_or_default().to_owned();
        let mut command = self.command(arguments);
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn()?;
        let group = Group::of(&child);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (ended, watch) = channel();
        std::thread::scope(|scope| {
            let watchdog = scope.spawn(move || watch_over(group, &watch, deadline));
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            let printed = scope.spawn(move || stderr.map(read_both_ends).unwrap_or_default());
            let copied = stdout.map_or(Ok(0), |stdout| {
                let mut output = Heard { output, deadline };
                std::io::copy(&mut stdout.take(limit.saturating_add(1)), &mut output)
            });
            let too_long = copied.as_ref().is_ok_and(|copied| *copied > limit);
            if too_long || copied.is_err() {
                group.kill();
            }
            let status = child.wait();
            drop(ended);
            let timed_out = watchdog.join().unwrap_or(false);
            let printed = printed.join().unwrap_or_default();
            copied?;
            deadline.progress();
            if timed_out {
                return Err(GitError::TimedOut(name));
            }
            if too_long {
                return Err(GitError::TooLong { command: name, limit });
            }
            if status?.success() {
                return Ok(printed);
            }
            Err(GitError::Failed {
                command: name,
                stderr: printed,
            })
        })
    }
}

/// Output that tells the deadline that something goes on.
struct Heard<'a, W> {
    output: &'a mut W,
    deadline: &'a Deadline,
}

impl<W: Write> Write for Heard<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.deadline.progress();
        self.output.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// The process group of a child that we started.
#[derive(Clone, Copy, Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// The group of `child`, which leads it.
    pub fn of(child: &Child) -> Self {
        Self(i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    }

    /// Kills it; that it is gone already is no error.
    pub fn kill(self) {
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "a process group had ended");
        }
    }
}

/// Kills `group` at the deadline unless the other end of `ended` is dropped before; says whether it did.
pub fn watch_over(group: Group, ended: &Receiver<()>, deadline: &Deadline) -> bool {
    loop {
        let left = deadline.left();
        if left.is_zero() {
            group.kill();
            return true;
        }
        if ended.recv_timeout(left.min(WATCH)) == Err(RecvTimeoutError::Disconnected) {
            return false;
        }
    }
}

/// Reads all, keeps the beginning and the end.
fn read_both_ends(mut from: impl Read) -> Vec<u8> {
    let (mut kept, mut end) = (Vec::new(), Vec::new());
    let mut cut = false;
    let mut buffer = [0; 4096];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            break;
        }
        let read = buffer.get(..read).unwrap_or_default();
        let (first, rest) = read.split_at(read.len().min(STDERR_LIMIT.saturating_sub(kept.len())));
        kept.extend_from_slice(first);
        end.extend_from_slice(rest);
        let surplus = end.len().saturating_sub(STDERR_LIMIT);
        cut |= surplus > 0;
        end.drain(..surplus);
    }
    if cut {
        // Neither the line that was cut at the beginning nor that at the end is one that git wrote.
        let whole = kept
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        kept.truncate(whole);
        let whole = end.iter().position(|byte| *byte == b'\n').unwrap_or(end.len());
        kept.extend(end.drain(..).skip(whole + 1));
    } else {
        kept.append(&mut end);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn repository() -> (tempfile::TempDir, Git) {
        let directory = tempfile::tempdir().unwrap();
        let git = Git::new(&directory.path().join("x.git"));
        git.run(
            &["init", "-q", "--bare", "--template="],
            b"",
            1000,
            &Deadline::after(Duration::from_secs(10)),
        )
        .unwrap();
        (directory, git)
    }

    #[test]
    fn what_git_complains_of_is_the_error() {
        let (_directory, git) = repository();
        let error = git
            .run(
                &["rev-parse", "--verify", "nothing"],
                b"",
                1000,
                &Deadline::after(Duration::from_secs(10)),
            )
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "git rev-parse: fatal: Needed a single revision"
        );
    }

    #[test]
    fn of_a_long_complaint_the_beginning_and_the_end_are_kept() {
        let line = |n: usize| format!("warning: line {n}\n");
        let short: String = (0..900).map(line).collect();
        assert_eq!(read_both_ends(short.as_bytes()), short.as_bytes());
        let long: String = ["error: the cause\n".to_owned()]
            .into_iter()
            .chain((0..9000).map(line))
            .chain(["fatal: the end\n".to_owned()])
            .collect();
        let kept = String::from_utf8(read_both_ends(long.as_bytes())).unwrap();
        assert!(
            kept.starts_with("error: the cause\nwarning: line 0\n") && kept.ends_with("\nfatal: the end\n")
        );
        assert!(kept.len() <= 2 * STDERR_LIMIT);
        assert!(kept.lines().all(|kept| long.lines().any(|line| line == kept)));
    }

    #[test]
    fn time_and_output_are_bounded() {
        let (_directory, git) = repository();
        let started = Instant::now();
        let git = git.setting("alias.hang=!sleep 30 & sleep 30");
        let error = git
            .run(&["hang"], b"", 1000, &Deadline::after(Duration::from_millis(200)))
            .unwrap_err();
        assert!(matches!(error, GitError::TimedOut(_)), "{error}");
        let given_up = Deadline::after(Duration::from_mins(1));
        given_up.clone().give_up();
        assert!(git.run(&["hang"], b"", 1000, &given_up).is_err());
        let git = git.setting("alias.flood=!yes");
        let error = git
            .run(&["flood"], b"", 1000, &Deadline::after(Duration::from_secs(20)))
            .unwrap_err();
        assert!(matches!(error, GitError::TooLong { limit: 1000, .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn no_configuration_of_the_machine_is_read() {
        let (_directory, git) = repository();
        let listed = git
            .run(
                &["config", "--list", "--show-scope"],
                b"",
                100_000,
                &Deadline::after(Duration::from_secs(10)),
            )
            .unwrap();
        for line in String::from_utf8(listed).unwrap().lines() {
            assert!(line.starts_with("command") || line.starts_with("local"), "{line}");
        }
    }
}
