//! Git as an oracle over ignore rules: one process, in a directory of ours that holds rules and the names of directories.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use crate::collect::refusal::Refusal;
use crate::conversation::Conversation;
use crate::deadline::Deadline;
use crate::git::Git;

/// What rules say of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing.
    Nothing,
    /// It is not ignored.
    Kept,
    /// A `.gitignore` ignores it.
    Ignored,
    /// The list of patterns for all repositories ignores it.
    Excluded,
}

/// A git that answers about one set of rules.
#[derive(Debug)]
pub struct Oracle {
    directory: PathBuf,
    git: Conversation,
}

impl Oracle {
    /// Starts it over the rules in `directory`, which is ours alone, and over the patterns in the file `excludes`.
    pub fn start(
        git: Git,
        directory: PathBuf,
        excludes: &Path,
        deadline: &Deadline,
    ) -> Result<Self, Refusal> {
        // Unlike other commands, this one refuses to be told that all paths are literal. None is a pattern here
        // anyway, and the `./` before each keeps a leading colon from being read as one.
        let git = git
            .work_tree(&directory)
            .variable("GIT_LITERAL_PATHSPECS", "0")
            .setting(format!("core.excludesFile={}", excludes.display()));
        let arguments = ["check-ignore", "--no-index", "--stdin", "-z", "-v", "-n"];
        let git = Conversation::start(&git, &arguments, deadline).map_err(Refusal::Storage)?;
        Ok(Self { directory, git })
    }

    /// Puts rules into the directory `path`. They count for what is asked of its names from now on, as long as none of
    /// them was asked for before.
    pub fn add(&self, path: &[u8], rules: &[u8]) -> io::Result<()> {
        add(&self.directory, path, rules)
    }

    /// What the rules say of each of `paths`; `true` beside a path says that it is a directory.
    pub fn ask(&mut self, paths: &[(&[u8], bool)], deadline: &Deadline) -> Result<Vec<Word>, Refusal> {
        // Rules that end in a slash look at what a path is.
        for (path, _) in paths.iter().filter(|(_, directory)| *directory) {
            match fs::create_dir_all(self.directory.join(OsStr::from_bytes(path))) {
                // A `.gitignore` that the agent turned into a directory.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
                    ) => {}
                done => done.map_err(Refusal::Storage)?,
            }
        }
        let question = |stdin: &mut ChildStdin| {
            for (path, _) in paths {
                stdin.write_all(b"./")?;
                stdin.write_all(path)?;
                stdin.write_all(&[0])?;
            }
            stdin.flush()
        };
        let answers = self
            .git
            .ask(question, |stdout| paths.iter().map(|_| answer(stdout)).collect());
        answers.map_err(|error| {
            if deadline.passed() {
                Refusal::TimedOut
            } else {
                Refusal::Storage(error)
            }
        })
    }
}

/// Puts the rules of the directory `path` of a tree below `directory`.
pub fn add(directory: &Path, path: &[u8], rules: &[u8]) -> io::Result<()> {
    let parent = directory.join(OsStr::from_bytes(path));
    fs::create_dir_all(&parent)?;
    fs::write(parent.join(".gitignore"), rules)
}

/// One answer: source, line, pattern, path, each ended by NUL. No pattern: no rule speaks of it; a pattern with
/// an exclamation mark: it is not ignored. The list for all repositories is named by its full path, other sources within
/// the directory.
fn answer(from: &mut impl BufRead) -> io::Result<Word> {
    let (mut source, mut pattern) = (Vec::new(), Vec::new());
    for field in 0..4 {
        let mut text = Vec::new();
        from.read_until(0, &mut text)?;
        if text.pop() != Some(0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match field {
            0 => source = text,
            2 => pattern = text,
            _ => {}
        }
    }
    Ok(match (pattern.first(), source.first()) {
        (None, _) => Word::Nothing,
        (Some(b'!'), _) => Word::Kept,
        (Some(_), Some(b'/')) => Word::Excluded,
        (Some(_), _) => Word::Ignored,
    })
}
