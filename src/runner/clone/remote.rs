//! What is asked of a remote: its list of references, and objects. What may pass by itself is asked again.

use std::time::Duration;

use super::CloneError;
use super::cause::Cause;
use super::listing::Listing;
use super::moved::Moved;
use crate::deadline::Deadline;
use crate::git::{Git, GitError};

/// Tries of what may pass by itself.
const TRIES: u32 = 3;
/// Wait after the first failed try; doubled after the second.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest list of references that is read.
const LIST_LIMIT: u64 = 4 * 1024 * 1024;

/// A remote, and the repository that is filled from it.
#[derive(Clone, Copy, Debug)]
pub struct Remote<'a> {
    /// Git in that repository.
    pub git: &'a Git,
    /// The remote's address.
    pub url: &'a str,
    /// When all of it must be over.
    pub deadline: &'a Deadline,
}

impl Remote<'_> {
    /// The references that end in one of `names`, or all, and what HEAD stands for.
    pub fn list(&self, names: &[&str]) -> Result<Listing, CloneError> {
        let mut arguments = vec!["ls-remote", "--symref", "--", self.url];
        arguments.extend(names);
        let printed = self.ask(|| self.git.run(&arguments, b"", LIST_LIMIT, self.deadline))?;
        let listing = Listing::parse(&printed).ok_or(CloneError::Unreadable)?;
        if listing.is_sha256() {
            return Err(CloneError::Remote {
                cause: Cause::ObjectFormat,
                git: None,
            });
        }
        Ok(listing)
    }

    /// Fetches `refspecs`; returns what git wrote to standard error.
    pub fn fetch(&self, options: &[&str], refspecs: &[&str]) -> Result<Vec<u8>, CloneError> {
        let mut arguments = vec!["fetch", "-q", "--no-tags", "--no-write-fetch-head"];
        arguments.extend(options);
        arguments.extend(["--", self.url]);
        arguments.extend(refspecs);
        self.ask(|| self.git.run_for_warnings(&arguments, self.deadline))
    }

    fn ask<T>(&self, call: impl Fn() -> Result<T, GitError>) -> Result<T, CloneError> {
        let mut tries = 1;
        loop {
            let error = match call() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let stderr = match &error {
                GitError::Failed { stderr, .. } => stderr,
                GitError::TimedOut(command) => return Err(CloneError::TimedOut(command.clone())),
                _ => return Err(error.into()),
            };
            let cause = Cause::read(stderr);
            if !cause.passes() || tries >= TRIES || self.deadline.passed() {
                return Err(match cause {
                    Cause::Moved(status) => CloneError::Moved {
                        status,
                        to: self.moved(),
                        git: error,
                    },
                    cause => CloneError::Remote {
                        cause,
                        git: Some(error),
                    },
                });
            }
            tracing::info!(%error, tries, "a remote is asked again");
            std::thread::sleep(PAUSE.saturating_mul(tries).min(self.deadline.left()));
            tries += 1;
        }
    }

    /// Asks once more, for git shows only in a trace where a redirect leads.
    fn moved(&self) -> Moved {
        let git = self
            .git
            .clone()
            .variable("GIT_TRACE_CURL", "1")
            .variable("GIT_TRACE_CURL_NO_DATA", "1");
        match git.run(
            &["ls-remote", "--", self.url, "HEAD"],
            b"",
            LIST_LIMIT,
            self.deadline,
        ) {
            Err(GitError::Failed { stderr, .. }) => Moved::read(&stderr, self.url),
            _ => Moved::Unknown,
        }
    }
}
