//! How a command ends: its exit code, and what it says when it did not do what it was asked.

use std::io;
use std::process::ExitCode;

use cofferdam_text::escape;

use crate::place::{ConnectError, in_full};

/// Exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; of a run: it has completed.
    Done = 0,
    /// The answer is no: refused, does not verify, does not apply.
    No = 1,
    /// Nothing can be told: the command line, the cluster, a right, an answer that broke off.
    CannotTell = 2,
    /// There is no such thing.
    NotFound = 3,
    /// The run goes on.
    Unfinished = 4,
    /// The run failed, and the agent is at fault.
    AgentFailed = 10,
    /// The run failed, and the cluster is at fault.
    InfrastructureFailed = 11,
    /// A policy, a quota or an admission rule ended the run.
    PolicyRefused = 12,
    /// Someone ended the run, or asked for what cannot be.
    UserEnded = 13,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line contradicts itself, or what it names.
    #[error("{0}")]
    Usage(String),
    /// No client can be made.
    #[error("the cluster cannot be asked: {}", in_full(.0))]
    Cluster(#[from] ConnectError),
    /// The API server said no, or nothing.
    #[error("{what}: {why}")]
    Api {
        /// What was asked for.
        what: String,
        /// The API server's words.
        why: String,
        /// Its code; absent: no answer came.
        code: Option<u16>,
    },
    /// There is no such thing.
    #[error("{0}")]
    Absent(String),
    /// The answer is no.
    #[error("{0}")]
    No(String),
    /// What came is not what was asked for, or not all of it.
    #[error("{0}")]
    Broken(String),
    /// A file or a stream.
    #[error("{what}: {source}")]
    Io {
        /// Which, and what could not be done with it.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Whoever reads standard output reads no further.
    #[error("standard output is closed")]
    Closed,
}

impl Failure {
    /// What the API server's client says about `what`.
    pub fn api(what: impl Into<String>, error: &kube::Error) -> Self {
        let (why, code) = match error {
            kube::Error::Api(status) => (status.message.clone(), Some(status.code)),
            error => (in_full(error), None),
        };
        Self::Api {
            what: what.into(),
            why,
            code,
        }
    }

    /// A failure of a file or a stream.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Its exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Absent(_) | Self::Api { code: Some(404), .. } => Exit::NotFound,
            Self::No(_) | Self::Api { code: Some(422), .. } => Exit::No,
            Self::Usage(_)
            | Self::Cluster(_)
            | Self::Api { .. }
            | Self::Broken(_)
            | Self::Io { .. }
            | Self::Closed => Exit::CannotTell,
        }
    }

    /// What whoever reads it can do.
    fn help(&self) -> Option<&'static str> {
        match self {
            Self::Cluster(_) => Some("name a kubeconfig or a context that kubectl can use"),
            Self::Api { code: Some(401), .. } => Some("log in to the cluster anew"),
            Self::Api { code: Some(403), .. } => Some(
                "ask the owner of the namespace for the right; docs/access.md lists what each command needs",
            ),
            Self::Api { code: Some(503), .. } => Some("try again in a moment"),
            Self::Api { code: None, .. } => Some("see whether kubectl reaches the cluster"),
            _ => None,
        }
    }

    /// Writes it to standard error and gives its exit code.
    pub fn report(&self) -> Exit {
        if !matches!(self, Self::Closed) {
            eprintln!("error: {}", escape(&self.to_string()));
            if let Some(help) = self.help() {
                eprintln!("  to do: {help}");
            }
        }
        self.exit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16) -> Failure {
        let status = kube::core::Status::failure("no", "x").with_code(code);
        Failure::api("AgentRun a/b", &kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn exit_codes_tell_no_from_cannot_tell() {
        for (code, exit) in [
            (404, Exit::NotFound),
            (422, Exit::No),
            (401, Exit::CannotTell),
            (403, Exit::CannotTell),
            (500, Exit::CannotTell),
            (503, Exit::CannotTell),
        ] {
            assert_eq!(api(code).exit(), exit, "{code}");
        }
        assert_eq!(Failure::Absent(String::new()).exit(), Exit::NotFound);
        assert_eq!(Failure::No(String::new()).exit(), Exit::No);
        assert_eq!(Failure::Broken(String::new()).exit(), Exit::CannotTell);
    }
}
