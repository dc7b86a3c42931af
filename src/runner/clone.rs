//! Clones a repository at one commit into a pristine bare repository that the agent never sees.

pub mod bytes;
pub mod cause;
pub mod faults;
pub mod listing;
mod locate;
pub mod moved;
mod remote;
pub mod sparse;
pub mod submodules;

use std::path::Path;

use cofferdam_api::{CloneBranches, CloneOptions};
use cofferdam_policy::pattern::reference::{Reference, ReferenceError, abbreviated};

use self::cause::Cause;
use self::listing::{Found, Hint, candidates};
use self::moved::Moved;
use self::remote::Remote;
use super::deadline::Deadline;
use super::git::{Git, GitError};
use super::text::escape;

/// Output of commands that say little.
const SMALL: u64 = 64 * 1024;
/// The commit that everything is compared with.
pub const BASE: &str = "refs/cofferdam/base";
/// What was fetched: a commit, or a tag that leads to one.
const FETCHED: &str = "refs/cofferdam/fetched";
/// Where all branches and tags of a remote are kept.
const HEADS: &str = "refs/cofferdam/heads/";
const TAGS: &str = "refs/cofferdam/tags/";
/// What fetches them.
const EVERYTHING: [&str; 2] = [
    "+refs/heads/*:refs/cofferdam/heads/*",
    "+refs/tags/*:refs/cofferdam/tags/*",
];
/// Longest list of branches and tags.
const LIST_LIMIT: u64 = 16 * 1024 * 1024;
/// Branch of the work tree where the reference is a tag or a commit.
const DETACHED_BRANCH: &str = "work";

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
    #[error("ref {reference}: {error}; {}", .error.help())]
    Reference {
        /// What was written.
        reference: String,
        /// What is wrong with it.
        error: ReferenceError,
    },
    /// The remote does not have it.
    #[error("the remote has no branch, tag or other reference {name}{hint}")]
    NotFound {
        /// What was asked for.
        name: String,
        /// What to write instead.
        hint: Hint,
    },
    /// No branch and no tag of the remote leads to the commit.
    #[error(
        "no branch and no tag of the remote leads to a commit {0}: it was never pushed, or was forced away"
    )]
    NoCommit(String),
    /// Several commits begin so.
    #[error("several commits of the remote begin with {0}: write the full id")]
    Ambiguous(String),
    /// A tag of a file, say.
    #[error("{0} leads to no commit")]
    NotACommit(String),
    /// The remote has nothing.
    #[error("the repository is empty: it has no commit to work on")]
    Empty,
    /// HEAD leads nowhere.
    #[error("the remote's HEAD leads to a branch that is not there{0}: name one in ref")]
    NoHead(Hint),
    /// The remote answered with a redirect.
    #[error("the repository is not at this url, the server answers {status}: {to} ({git})")]
    Moved {
        /// The status.
        status: u16,
        /// Where it leads.
        to: Moved,
        /// Git's own words.
        git: GitError,
    },
    /// The remote gave nothing, or nothing that can be used.
    #[error("{cause}{}", .git.as_ref().map(|git| format!(" ({git})")).unwrap_or_default())]
    Remote {
        /// Why.
        cause: Cause,
        /// Git's own words.
        git: Option<GitError>,
    },
    /// The remote did not give all of it in time.
    #[error(
        "git {0} did not end in the time that a run has to start (startDeadlineSeconds): the server is slow or says nothing. \
         Give it more, or ask for less by clone.depth, clone.branches or clone.sparse"
    )]
    TimedOut(String),
    /// Git failed here, or ran out of time here.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Files.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Git printed something else than it does.
    #[error("git's output cannot be read")]
    Unreadable,
}

impl CloneError {
    /// Whether another attempt may end otherwise.
    pub const fn passes(&self) -> bool {
        match self {
            Self::Remote { cause, .. } => cause.passes(),
            Self::TimedOut(_) | Self::Git(_) | Self::Io(_) | Self::Unreadable => true,
            Self::Reference { .. }
            | Self::NotFound { .. }
            | Self::NoCommit(_)
            | Self::Ambiguous(_)
            | Self::NotACommit(_)
            | Self::Empty
            | Self::NoHead(_)
            | Self::Moved { .. } => false,
        }
    }

    /// Whether the server wants another credential than it was given, or one where it was given none.
    pub const fn is_unauthorized(&self) -> bool {
        matches!(
            self,
            Self::Remote {
                cause: Cause::Denied(Some(401)),
                ..
            }
        )
    }
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
    /// Checks of git that history failed and that were let pass, each once.
    pub tolerated: Vec<String>,
    /// Where all branches are cloned: what the work tree's repository calls them and tags, with their ids.
    pub references: Vec<(String, String)>,
}

/// What is to be fetched.
enum Wanted {
    /// What stands under a name.
    Named(Found),
    /// A commit.
    Commit(String),
}

/// Clones `url` at `reference` into `pristine`, which is made anew.
///
/// # Errors
/// See [`CloneError`]; what may pass by itself was tried three times.
pub fn clone(
    url: &str,
    reference: Option<&str>,
    options: &CloneOptions,
    pristine: &Path,
    transport: &Transport,
    deadline: &Deadline,
) -> Result<Cloned, CloneError> {
    let shown = reference.map_or_else(|| "HEAD".to_owned(), |text| escape(text.as_bytes()));
    let parsed = reference.map_or(Ok(Reference::Head), Reference::parse);
    let reference = parsed.map_err(|error| CloneError::Reference {
        reference: shown.clone(),
        error,
    })?;
    let git = prepare_git(pristine, transport, deadline)?;
    let remote = Remote {
        git: &git,
        url,
        deadline,
    };
    let wanted = find(&remote, &reference, pristine, transport)?;
    let depth = (options.depth > 0).then(|| format!("--depth={}", options.depth));
    let depth: Vec<&str> = depth.iter().map(String::as_str).collect();
    let mut printed = match &wanted {
        Wanted::Named(found) => remote.fetch(&depth, &[&format!("+{}:{FETCHED}", found.full)])?,
        Wanted::Commit(commit) => fetch_commit(&remote, commit, &depth, pristine, transport)?,
    };
    let references = match options.branches {
        CloneBranches::Single => Vec::new(),
        CloneBranches::All => {
            printed.extend(remote.fetch(&depth, &EVERYTHING)?);
            references(&git, deadline)?
        }
    };
    let (lookup, branch) = match wanted {
        Wanted::Named(found) => (format!("{FETCHED}^{{commit}}"), found.branch),
        Wanted::Commit(commit) => (format!("{commit}^{{commit}}"), None),
    };
    let commit = git.run(&["rev-parse", "--verify", "-q", &lookup], b"", SMALL, deadline);
    let commit = match commit {
        Err(GitError::Failed { .. }) => return Err(CloneError::NotACommit(shown)),
        printed => line(&printed?)?,
    };
    git.run(&["update-ref", BASE, &commit], b"", SMALL, deadline)?;
    Ok(Cloned {
        commit,
        remote_branch: branch.is_some(),
        branch: branch.unwrap_or_else(|| DETACHED_BRANCH.to_owned()),
        tolerated: faults::tolerated(&printed),
        references,
    })
}

/// All branches and tags that were fetched, by the names that a clone has for them.
fn references(git: &Git, deadline: &Deadline) -> Result<Vec<(String, String)>, CloneError> {
    let list = ["for-each-ref", "--format=%(objectname) %(refname)", HEADS, TAGS];
    let listed = git.run(&list, b"", LIST_LIMIT, deadline)?;
    let listed = String::from_utf8(listed).map_err(|_| CloneError::Unreadable)?;
    let named = listed.lines().filter_map(|line| {
        let (id, full) = line.split_once(' ')?;
        let name = match full.strip_prefix(HEADS) {
            Some(branch) => format!("refs/remotes/origin/{branch}"),
            None => format!("refs/tags/{}", full.strip_prefix(TAGS)?),
        };
        Some((name, id.to_owned()))
    });
    Ok(named.collect())
}

/// An empty repository, and git as it may be used there.
fn prepare_git(pristine: &Path, transport: &Transport, deadline: &Deadline) -> Result<Git, CloneError> {
    match std::fs::remove_dir_all(pristine) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => std::fs::create_dir_all(pristine)?,
    }
    let git = git_at(pristine, transport);
    let init = ["init", "-q", "--bare", "--template=", "--initial-branch=none"];
    git.run(&init, b"", SMALL, deadline)?;
    Ok(git)
}

/// Git as it reaches the remote from the repository `directory`. No guard of its own watches how fast bytes come: a
/// server that counts objects sends few, and the run's time is the one bound.
fn git_at(directory: &Path, transport: &Transport) -> Git {
    let mut git = Git::new(directory)
        .variable("GIT_ALLOW_PROTOCOL", transport.protocols)
        .setting("http.followRedirects=false")
        .setting("http.sslVerify=true");
    for setting in faults::settings() {
        git = git.setting(setting);
    }
    if let Some(proxy) = &transport.proxy {
        git = git.setting(format!("http.proxy={proxy}"));
    }
    if let Some(certificates) = &transport.certificates {
        git = git.setting(format!("http.sslCAInfo={certificates}"));
    }
    git
}

/// Finds out what the remote calls what is asked for.
fn find(
    remote: &Remote<'_>,
    reference: &Reference,
    pristine: &Path,
    transport: &Transport,
) -> Result<Wanted, CloneError> {
    let name = match reference {
        Reference::Commit(commit) => return Ok(Wanted::Commit(commit.clone())),
        Reference::Head => {
            if let Some(head) = remote.list(&["HEAD"])?.head() {
                return Ok(Wanted::Named(head));
            }
            let all = remote.list(&[])?;
            return Err(if all.is_empty() {
                CloneError::Empty
            } else {
                CloneError::NoHead(all.hint(""))
            });
        }
        Reference::Name(name) => name,
    };
    let full = candidates(name);
    let asked: Vec<&str> = full.iter().map(String::as_str).collect();
    if let Some(found) = remote.list(&asked)?.find(name) {
        return Ok(Wanted::Named(found));
    }
    let all = remote.list(&[])?;
    if all.is_empty() {
        return Err(CloneError::Empty);
    }
    if let Some(short) = abbreviated(name) {
        match all.ids(&short).as_slice() {
            [] => match locate::commit(remote, &short, pristine, transport) {
                // It is an abbreviated commit or a name, and neither is there.
                Err(CloneError::NoCommit(_)) => {}
                found => return found.map(Wanted::Commit),
            },
            [one] => return Ok(Wanted::Commit((*one).to_owned())),
            _ => return Err(CloneError::Ambiguous(short)),
        }
    }
    Err(CloneError::NotFound {
        hint: all.hint(name),
        name: escape(name.as_bytes()),
    })
}

/// A commit by its id; where the remote does not give commits by id, everything that its branches and tags reach.
fn fetch_commit(
    remote: &Remote<'_>,
    commit: &str,
    depth: &[&str],
    pristine: &Path,
    transport: &Transport,
) -> Result<Vec<u8>, CloneError> {
    let alone = remote.fetch(depth, &[&format!("+{commit}:{FETCHED}")]);
    if !matches!(
        alone,
        Err(CloneError::Remote {
            cause: Cause::NoCommit,
            ..
        })
    ) {
        return alone;
    }
    // Whether it is there at all is found out by commits alone, before everything is fetched for it.
    locate::commit(remote, commit, pristine, transport)?;
    remote.fetch(&[], &EVERYTHING)
}

/// The one line of an output.
fn line(output: &[u8]) -> Result<String, CloneError> {
    let text = std::str::from_utf8(output).map_err(|_| CloneError::Unreadable)?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests;
