//! What the project's `.gitattributes` say of a path, as they stand in the tree. Git answers, in a directory of ours that
//! holds nothing but copies of these files; it runs no filter, for nothing is checked in or out there.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use super::directories::{Directories, split};
use super::line_endings::Text;
use super::refusal::Refusal;
use super::rule_file::RuleFiles;
use crate::conversation::Conversation;
use crate::deadline::Deadline;
use crate::git::Git;

/// What is asked of each path.
const ASKED: [&str; 4] = ["text", "eol", "crlf", "filter"];

/// What attributes say of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Of its line endings.
    pub text: Text,
    /// Whether Git LFS keeps its content.
    pub lfs: bool,
}

impl Said {
    /// Where there are no attributes.
    pub const NOTHING: Self = Self {
        text: Text::No,
        lfs: false,
    };
}

/// Answers for one work tree.
#[derive(Debug)]
pub struct Attributes<'a> {
    git: Conversation,
    directory: PathBuf,
    directories: Directories<'a>,
    files: RuleFiles,
    /// Directories whose attributes were copied, and whether there were any on the way to them.
    known: HashSet<Vec<u8>>,
    any: HashSet<Vec<u8>>,
    deadline: &'a Deadline,
}

impl<'a> Attributes<'a> {
    /// Starts git over the tree below `root`; `directory` is empty and ours alone.
    pub fn start(
        pristine: &Path,
        root: BorrowedFd<'a>,
        directory: PathBuf,
        deadline: &'a Deadline,
    ) -> Result<Self, Refusal> {
        let git = Git::new(pristine).work_tree(&directory);
        let mut arguments = vec!["check-attr", "--stdin", "-z"];
        arguments.extend(ASKED);
        Ok(Self {
            git: Conversation::start(&git, &arguments, deadline).map_err(Refusal::Storage)?,
            directory,
            directories: Directories::new(root),
            files: RuleFiles::default(),
            known: HashSet::new(),
            any: HashSet::new(),
            deadline,
        })
    }

    /// What is said of the file `path`.
    pub fn of(&mut self, path: &[u8]) -> Result<Said, Refusal> {
        if !self.enter(split(path).0)? {
            return Ok(Said::NOTHING);
        }
        let question = |stdin: &mut ChildStdin| {
            stdin.write_all(path)?;
            stdin.write_all(&[0])?;
            stdin.flush()
        };
        let values = self.git.ask(question, |stdout| {
            ASKED
                .map(|_| value(stdout))
                .into_iter()
                .collect::<io::Result<Vec<_>>>()
        });
        let values = values.map_err(|error| {
            if self.deadline.passed() {
                Refusal::TimedOut
            } else {
                Refusal::Storage(error)
            }
        })?;
        let [text, eol, crlf, filter] = values.as_slice() else {
            return Ok(Said::NOTHING);
        };
        Ok(Said {
            text: Text::of(text, eol, crlf),
            lfs: filter == b"lfs",
        })
    }

    /// Copies the attributes of a directory and of those above it; says whether there are any.
    fn enter(&mut self, path: &[u8]) -> Result<bool, Refusal> {
        if self.known.contains(path) {
            return Ok(self.any.contains(path));
        }
        let above = !path.is_empty() && self.enter(split(path).0)?;
        let rules = match self.directories.enter(path) {
            Ok(Some(directory)) => self.files.read(directory, c".gitattributes"),
            // A directory that went away meanwhile, or that cannot be read, says nothing.
            _ => None,
        };
        if let Some(rules) = &rules {
            let copy = self.directory.join(OsStr::from_bytes(path));
            fs::create_dir_all(&copy)
                .and_then(|()| fs::write(copy.join(".gitattributes"), rules))
                .map_err(Refusal::Storage)?;
        }
        self.known.insert(path.to_vec());
        let any = above || rules.is_some();
        if any {
            self.any.insert(path.to_vec());
        }
        Ok(any)
    }
}

/// One answer: path, attribute, value, each ended by NUL.
fn value(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for _ in 0..3 {
        text.clear();
        from.read_until(0, &mut text)?;
        if text.pop() != Some(0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(text)
}
