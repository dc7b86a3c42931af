//! A git process that is asked many things, until it is dropped or the deadline passes.

use std::io::{self, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use super::deadline::Deadline;
use super::git::Git;
use super::git::process::{Group, watch_over};

/// One process.
#[derive(Debug)]
pub struct Conversation {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    ended: Option<Sender<()>>,
    watchdog: Option<JoinHandle<bool>>,
}

impl Conversation {
    /// Starts git with these arguments.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(git: &Git, arguments: &[&str], deadline: &Deadline) -> io::Result<Self> {
        let mut child = git
            .command(arguments)
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

    /// Asks by `question` and reads with `answer`.
    ///
    /// # Errors
    /// Git ended, or answered something else.
    pub fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut ChildStdin) -> io::Result<()> + Send,
        answer: impl FnOnce(&mut BufReader<ChildStdout>) -> io::Result<T>,
    ) -> io::Result<T> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let stdout = &mut self.stdout;
        std::thread::scope(|scope| {
            // Both pipes are short; one thread for both directions would wait for itself.
            let writer = scope.spawn(move || question(stdin));
            let answered = answer(stdout);
            writer
                .join()
                .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
            answered
        })
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The end of its input ends it; the watchdog sees to it should it not.
        self.stdin = None;
        if let Err(error) = self.child.wait() {
            tracing::debug!(%error, "a git process was gone");
        }
        self.ended = None;
        if let Some(watchdog) = self.watchdog.take()
            && watchdog.join().is_err()
        {
            tracing::debug!("a watchdog was gone");
        }
    }
}
