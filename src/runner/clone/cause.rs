//! What git's complaint about a remote means: whether it may pass by itself, and what it is in our words. Pure.
//!
//! Git has no codes for this, so its words are read. They are those of git 2.25 to 2.51 and of curl with `GnuTLS`
//! or OpenSSL, in the locale C, which [`crate::git`] sets.

use std::fmt;

use crate::text::escape;

/// Why a remote gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It wants credentials, or says that there is nothing: servers say either of a private repository.
    Denied(Option<u16>),
    /// It is elsewhere.
    Moved(u16),
    /// It answered with another refusal.
    Rejected(u16),
    /// It answered that it cannot now.
    Unavailable(u16),
    /// The gateway, or a proxy behind it, opened no way to it.
    NoTunnel(u16),
    /// It answered with something else than git's protocol.
    NotGit,
    /// Its certificate is not one to be trusted.
    Untrusted,
    /// Its objects are named by another hash.
    ObjectFormat,
    /// One of its objects is faulty, and not harmlessly so.
    Fault(Fault),
    /// It does not have the commit, or does not give it by its id.
    NoCommit,
    /// Objects are missing or broken at the server itself.
    Damaged,
    /// The volume is full.
    NoSpace,
    /// Git may not use the protocol.
    Protocol,
    /// Nobody answered, or the connection broke, or git said something that is not known.
    Broken,
}

/// A fault that git's check of objects found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Id of the object.
    pub object: String,
    /// The check, by the name that git's configuration has for it; empty where git is too old to say.
    pub check: String,
    /// What git says of it.
    pub text: String,
}

impl Cause {
    /// Reads what git wrote to standard error.
    pub fn read(stderr: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stderr);
        // What the server says for people is quoted elsewhere; it decides nothing.
        let own: Vec<&str> = text.lines().filter(|line| !line.starts_with("remote:")).collect();
        let text = own.join("\n");
        if let Some(fault) = text.lines().find_map(|line| Fault::read(line, "error: ")) {
            return Self::Fault(fault);
        }
        let has = |words: &str| text.contains(words);
        let any = |list: &[&str]| list.iter().any(|words| text.contains(words));
        if any(&["No space left on device", "Disk quota exceeded"]) {
            return Self::NoSpace;
        }
        if has("repository corruption on the remote side") {
            return Self::Damaged;
        }
        if any(&["mismatched algorithms", "does not support algorithm"]) {
            return Self::ObjectFormat;
        }
        if has("not allowed") && has("transport '") {
            return Self::Protocol;
        }
        if any(&["not our ref", "unadvertised object"]) {
            return Self::NoCommit;
        }
        for before in ["CONNECT tunnel failed, response ", "Received HTTP code "] {
            if let Some(status) = number_after(&text, before) {
                return Self::NoTunnel(status);
            }
        }
        let statuses = [
            "The requested URL returned error: ",
            "HTTP code = ",
            "RPC failed; HTTP ",
        ];
        if let Some(status) = statuses.iter().find_map(|before| number_after(&text, before)) {
            return Self::of_status(status);
        }
        if any(&[
            "could not read Username",
            "could not read Password",
            "Authentication failed for",
        ]) {
            return Self::Denied(Some(401));
        }
        if text
            .lines()
            .any(|line| line.starts_with("fatal: repository '") && line.ends_with("' not found"))
        {
            return Self::Denied(Some(404));
        }
        if any(&[
            "does not appear to be a git repository",
            "access denied or repository not exported",
        ]) {
            return Self::Denied(None);
        }
        if any(&[
            "not valid: is this a git repository?",
            "invalid server response",
            "protocol error: expected sha/ref",
            "did you run git update-server-info",
        ]) {
            return Self::NotGit;
        }
        if has("certificate") {
            return Self::Untrusted;
        }
        Self::Broken
    }

    const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 | 404 | 410 | 451 => Self::Denied(Some(status)),
            300..=399 => Self::Moved(status),
            408 | 425 | 429 | 500..=599 => Self::Unavailable(status),
            400..=499 => Self::Rejected(status),
            _ => Self::Broken,
        }
    }

    /// Whether it may be otherwise in a moment.
    pub const fn passes(&self) -> bool {
        match self {
            // A gateway whose view of the cluster is stale refuses what it grants a moment later.
            Self::Unavailable(_) | Self::NoTunnel(_) | Self::Broken => true,
            Self::Denied(_)
            | Self::Moved(_)
            | Self::Rejected(_)
            | Self::NotGit
            | Self::Untrusted
            | Self::ObjectFormat
            | Self::Fault(_)
            | Self::NoCommit
            | Self::Damaged
            | Self::NoSpace
            | Self::Protocol => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(status) => {
                f.write_str("the repository is private or absent")?;
                if let Some(status) = status {
                    write!(f, " (the server answers {status})")?;
                }
                f.write_str(
                    ": it was asked as policy says, with a credential only where limits.repositories.clone names one. Check \
                     the url, or ask whoever owns the policies for a SandboxCredential for it",
                )
            }
            Self::Moved(status) => write!(f, "the server answers {status}, a redirect, and none is followed"),
            Self::Rejected(status) => write!(f, "the server refuses the request with {status}"),
            Self::Unavailable(status) => write!(f, "the server answers {status}, that it cannot serve this now"),
            Self::NoTunnel(status) => write!(f, "no connection to the server was opened ({status})"),
            Self::NotGit => f.write_str(
                "the server answers with something else than git's protocol, such as a page to log in: check the url",
            ),
            Self::Untrusted => f.write_str(
                "the server's certificate is not trusted here: no authority of the runner image or of the installation has \
                 signed it for this host",
            ),
            Self::ObjectFormat => f.write_str(
                "the repository has SHA-256 objects, which are not supported: use a copy of it with SHA-1 objects",
            ),
            Self::Fault(fault) => fault.fmt(f),
            Self::NoCommit => f.write_str("the server does not give this commit"),
            Self::Damaged => f.write_str("the repository is damaged at the server itself, which git fsck there shows"),
            Self::NoSpace => f.write_str("the volume for clones is full"),
            Self::Protocol => f.write_str("the url's protocol is not allowed"),
            Self::Broken => f.write_str("the server could not be reached, or the connection broke"),
        }
    }
}

impl Fault {
    /// A line such as `error: object 12…: missingEmail: invalid author/committer line - missing email`.
    pub fn read(line: &str, level: &str) -> Option<Self> {
        let (object, said) = line
            .strip_prefix(level)?
            .strip_prefix("object ")?
            .split_once(':')?;
        let is_id = object.len() >= 40 && object.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_check =
            |check: &str| !check.is_empty() && check.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let said = said.trim_ascii();
        let (check, text) = said
            .split_once(": ")
            .filter(|(check, _)| is_check(check))
            .unwrap_or(("", said));
        is_id.then(|| Self {
            object: object.to_owned(),
            check: check.to_owned(),
            text: escape(text.as_bytes()),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, check, text } = self;
        let check = if check.is_empty() { "a check of git" } else { check };
        write!(
            f,
            "object {object} fails {check} ({text}), which is not among the harmless faults of old history: it has to be \
             rewritten, or a ref be named whose history is without it"
        )
    }
}

/// The number of three digits that follows `before`.
fn number_after(text: &str, before: &str) -> Option<u16> {
    let digits = text.split(before).nth(1)?.get(..3)?;
    digits.parse().ok().filter(|status| *status >= 100)
}

#[cfg(test)]
mod tests;
