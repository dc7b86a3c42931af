//! Calls of git: no configuration, attributes, hooks or templates from anywhere, a deadline, bounded output.

pub mod process;

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use self::process::{Group, Heard, read_both_ends, watch_over};
use super::deadline::Deadline;
use super::text::complaint;

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
                let mut output = Heard::new(output, deadline);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

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
