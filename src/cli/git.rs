//! Git on the user's own checkouts. Nothing of a patch chooses what is run: hooks, pagers and configured programs stay out
//! of it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use cofferdam_text::escape_bytes;

/// A checkout.
#[derive(Clone, Debug)]
pub struct Checkout {
    root: PathBuf,
}

/// What git said.
pub struct Said {
    /// Whether it did what it was asked.
    pub done: bool,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error, escaped.
    pub error: String,
}

impl Checkout {
    /// The checkout that `directory` is in.
    ///
    /// # Errors
    /// It is in none.
    pub fn of(directory: &Path) -> Result<Self, Failure> {
        let said = git(directory, ["rev-parse", "--show-toplevel"], None)?;
        if !said.done {
            return Err(Failure::No(format!(
                "{} is in no git checkout: {}",
                directory.display(),
                said.error
            )));
        }
        let text = String::from_utf8(said.out)
            .map_err(|_| Failure::Broken("the path of the checkout is no text".to_owned()))?;
        Ok(Self {
            root: PathBuf::from(text.trim_end_matches('\n')),
        })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs git in it.
    ///
    /// # Errors
    /// Git cannot be run.
    pub fn git<const N: usize>(&self, args: [&str; N], input: Option<&[u8]>) -> Result<Said, Failure> {
        git(&self.root, args, input)
    }

    /// The commit that is checked out; none: there is no commit yet.
    ///
    /// # Errors
    /// Git cannot be run.
    pub fn head(&self) -> Result<Option<String>, Failure> {
        let said = self.git(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], None)?;
        Ok(said
            .done
            .then(|| String::from_utf8_lossy(&said.out).trim().to_owned()))
    }

    /// Whether it has this commit.
    ///
    /// # Errors
    /// Git cannot be run.
    pub fn has(&self, commit: &str) -> Result<bool, Failure> {
        let name = format!("{commit}^{{commit}}");
        Ok(self.git(["rev-parse", "--verify", "--quiet", &name], None)?.done)
    }

    /// Tracked files that differ from the commit, escaped.
    ///
    /// # Errors
    /// Git cannot be run.
    pub fn changes(&self) -> Result<Vec<String>, Failure> {
        let said = self.git(["status", "--porcelain", "--untracked-files=no", "-z"], None)?;
        let entries = said
            .out
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty());
        Ok(entries.map(escape_bytes).collect())
    }
}

/// Whether a text is a full commit id: nothing else is handed to git as one.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Runs git in a directory.
///
/// # Errors
/// It cannot be run.
pub fn git<S: AsRef<OsStr>>(
    directory: &Path,
    args: impl IntoIterator<Item = S>,
    input: Option<&[u8]>,
) -> Result<Said, Failure> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "advice.detachedHead=false",
            "--no-pager",
        ])
        .args(args)
        .env("LC_ALL", "C")
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Failure::io("git cannot be run"))?;
    let mut pipe = child.stdin.take();
    let said = std::thread::scope(|scope| {
        if let (Some(bytes), Some(mut pipe)) = (input, pipe.take()) {
            // Whoever does not read it has ended, and says why.
            scope.spawn(move || drop(pipe.write_all(bytes)));
        }
        child.wait_with_output()
    })
    .map_err(Failure::io("git broke off"))?;
    Ok(Said {
        done: said.status.success(),
        out: said.stdout,
        error: said
            .stderr
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(escape_bytes)
            .collect::<Vec<_>>()
            .join("; "),
    })
}
