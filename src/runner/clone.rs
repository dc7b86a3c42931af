//! Clones a repository at one commit into a pristine bare repository that the agent never sees.

mod reference;

use std::path::Path;
use std::time::Duration;

use self::reference::Reference;
use super::deadline::Deadline;
use super::git::{Git, GitError};

/// Tries of what goes over the network.
const TRIES: u32 = 3;
/// Wait after the first failed try; doubled after the second.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest list of references that is read.
const LIST_LIMIT: u64 = 4 * 1024 * 1024;
/// Output of commands that say little.
const SMALL: u64 = 64 * 1024;
/// The commit that everything is compared with.
pub const BASE: &str = "refs/cofferdam/base";
/// What was fetched: a commit, or a tag that leads to one.
const FETCHED: &str = "refs/cofferdam/fetched";
/// Branch of the work tree where the reference is a tag or a commit.
const DETACHED_BRANCH: &str = "work";

/// Flaws in objects that old tools left behind and that harm nobody; without these, many old projects could not
/// be cloned under a full check.
const TOLERATED: &[&str] = &[
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.missingSpaceBeforeEmail=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
];

/// How the remote is reached.
#[derive(Clone, Debug)]
pub struct Transport {
    /// `http://address:port` of a proxy; absent: none.
    pub proxy: Option<String>,
    /// File of trusted certificates.
    pub certificates: Option<String>,
    /// Protocols that git may use, separated by `:`.
    pub protocols: &'static str,
}

/// Why a repository could not be cloned.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// The reference is not one.
    #[error("ref {0} is neither a branch, a tag nor a full commit id")]
    Reference(String),
    /// The remote does not have it.
    #[error("the remote has neither a branch nor a tag {0}")]
    NotFound(String),
    /// The remote has nothing.
    #[error("the remote has no HEAD; is it empty?")]
    Empty,
    /// Git failed, or the network, or the remote.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Files.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Git printed something else than it does.
    #[error("git's output cannot be read")]
    Unreadable,
}

/// What was cloned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloned {
    /// Full commit id.
    pub commit: String,
    /// Branch of the work tree.
    pub branch: String,
    /// Whether the remote has a branch of that name.
    pub remote_branch: bool,
}

/// What the remote calls it.
struct Found {
    /// Full name of the reference.
    full: String,
    /// Its branch, if it is one.
    branch: Option<String>,
}

/// Clones `url` at `reference` into `pristine`, which is made anew.
///
/// # Errors
/// See [`CloneError`]; what may pass by itself was tried three times.
pub fn clone(
    url: &str,
    reference: Option<&str>,
    pristine: &Path,
    transport: &Transport,
    deadline: &Deadline,
) -> Result<Cloned, CloneError> {
    let reference = Reference::parse(reference)?;
    let git = prepare_git(pristine, transport)?;
    git.run(
        &["init", "-q", "--bare", "--template=", "--initial-branch=none"],
        b"",
        SMALL,
        deadline,
    )?;
    let mut tries = 1;
    let (branch, remote_branch) = loop {
        match fetch(&git, url, &reference, deadline) {
            Ok(branch) => break branch,
            Err(CloneError::Git(error @ GitError::Failed { .. })) if tries < TRIES && !deadline.passed() => {
                tracing::debug!(%error, tries, "a clone is tried again");
                std::thread::sleep(PAUSE.saturating_mul(tries).min(deadline.left()));
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    };
    let wanted = match &reference {
        Reference::Commit(commit) => format!("{commit}^{{commit}}"),
        _ => format!("{FETCHED}^{{commit}}"),
    };
    let commit = line(&git.run(&["rev-parse", "--verify", &wanted], b"", SMALL, deadline)?)?;
    git.run(&["update-ref", BASE, &commit], b"", SMALL, deadline)?;
    Ok(Cloned {
        commit,
        branch,
        remote_branch,
    })
}

/// An empty directory, and git as it may be used there.
fn prepare_git(pristine: &Path, transport: &Transport) -> Result<Git, CloneError> {
    match std::fs::remove_dir_all(pristine) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => std::fs::create_dir_all(pristine)?,
    }
    let mut git = Git::new(pristine)
        .variable("GIT_ALLOW_PROTOCOL", transport.protocols)
        .setting("http.followRedirects=false")
        .setting("http.sslVerify=true")
        .setting("http.lowSpeedLimit=1000")
        .setting("http.lowSpeedTime=30");
    for setting in TOLERATED {
        git = git.setting(*setting);
    }
    if let Some(proxy) = &transport.proxy {
        git = git.setting(format!("http.proxy={proxy}"));
    }
    if let Some(certificates) = &transport.certificates {
        git = git.setting(format!("http.sslCAInfo={certificates}"));
    }
    Ok(git)
}

/// Fetches what is asked for, with as little history as the remote lets one have; returns the branch for the work
/// tree and whether the remote has it.
fn fetch(
    git: &Git,
    url: &str,
    reference: &Reference,
    deadline: &Deadline,
) -> Result<(String, bool), CloneError> {
    let found = match reference {
        Reference::Commit(commit) => {
            fetch_commit(git, url, commit, deadline)?;
            return Ok((DETACHED_BRANCH.to_owned(), false));
        }
        Reference::Head => find_head(git, url, deadline)?,
        Reference::Name(name) => find_name(git, url, name, deadline)?,
    };
    let refspec = format!("+{}:{FETCHED}", found.full);
    fetch_refspecs(git, url, &["--depth=1"], &[&refspec], deadline)?;
    Ok(found
        .branch
        .map_or_else(|| (DETACHED_BRANCH.to_owned(), false), |branch| (branch, true)))
}

fn fetch_refspecs(
    git: &Git,
    url: &str,
    options: &[&str],
    refspecs: &[&str],
    deadline: &Deadline,
) -> Result<(), CloneError> {
    let mut arguments = vec!["fetch", "-q", "--no-tags", "--no-write-fetch-head"];
    arguments.extend(options);
    arguments.extend(["--", url]);
    arguments.extend(refspecs);
    git.run(&arguments, b"", SMALL, deadline)?;
    Ok(())
}

/// A commit by its id; where the remote does not give commits by id, everything that its branches and tags reach.
fn fetch_commit(git: &Git, url: &str, commit: &str, deadline: &Deadline) -> Result<(), CloneError> {
    let refspec = format!("+{commit}:{FETCHED}");
    match fetch_refspecs(git, url, &["--depth=1"], &[&refspec], deadline) {
        Err(CloneError::Git(GitError::Failed { .. })) => {}
        done => return done,
    }
    fetch_refspecs(
        git,
        url,
        &[],
        &[
            "+refs/heads/*:refs/cofferdam/heads/*",
            "+refs/tags/*:refs/cofferdam/tags/*",
        ],
        deadline,
    )?;
    let present = format!("{commit}^{{commit}}");
    git.run(&["cat-file", "-e", &present], b"", SMALL, deadline)
        .map_err(|_| CloneError::NotFound(format!("that leads to commit {commit}")))?;
    Ok(())
}

fn find_head(git: &Git, url: &str, deadline: &Deadline) -> Result<Found, CloneError> {
    let listed = git.run(
        &["ls-remote", "--symref", "--", url, "HEAD"],
        b"",
        LIST_LIMIT,
        deadline,
    )?;
    let listed = String::from_utf8(listed).map_err(|_| CloneError::Unreadable)?;
    let branch = listed
        .lines()
        .find_map(|line| line.strip_prefix("ref: refs/heads/")?.strip_suffix("\tHEAD"))
        .filter(|branch| matches!(Reference::parse(Some(branch)), Ok(Reference::Name(_))))
        .map(str::to_owned);
    if !listed.lines().any(|line| line.ends_with("\tHEAD")) {
        return Err(CloneError::Empty);
    }
    Ok(Found {
        full: "HEAD".to_owned(),
        branch,
    })
}

/// A branch of that name, else a tag.
fn find_name(git: &Git, url: &str, name: &str, deadline: &Deadline) -> Result<Found, CloneError> {
    let (head, tag) = if name.starts_with("refs/") {
        (name.to_owned(), name.to_owned())
    } else {
        (format!("refs/heads/{name}"), format!("refs/tags/{name}"))
    };
    let listed = git.run(&["ls-remote", "--", url, &head, &tag], b"", LIST_LIMIT, deadline)?;
    let listed = String::from_utf8(listed).map_err(|_| CloneError::Unreadable)?;
    // A pattern matches the ends of names, too; only the exact name counts.
    let has = |full: &str| {
        listed
            .lines()
            .any(|line| line.split_once('\t').is_some_and(|(_, name)| name == full))
    };
    let full = [head, tag]
        .into_iter()
        .find(|full| has(full))
        .ok_or_else(|| CloneError::NotFound(name.to_owned()))?;
    let branch = full.strip_prefix("refs/heads/").map(str::to_owned);
    Ok(Found { full, branch })
}

/// The one line of an output.
fn line(output: &[u8]) -> Result<String, CloneError> {
    let text = std::str::from_utf8(output).map_err(|_| CloneError::Unreadable)?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests;
