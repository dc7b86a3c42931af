//! Which new paths are ignored: by the rules of the base commit, by those of the tree as the agent left it, and by a list of
//! patterns for what tools leave behind. Only new paths are asked about: what the base commit has is never ignored.
//!
//! What only a rule of the agent's ignores is told apart, so that it is named: nothing disappears without a word because the
//! agent wrote a rule.

mod litter;
mod oracle;

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

use self::oracle::{Oracle, Word, add};
use super::base::{Base, read_blob};
use super::directories::split;
use super::refusal::Refusal;
use super::rule_file::{LONGEST, RuleFiles};
use crate::deadline::Deadline;
use crate::git::Git;
use cofferdam_wire::runner::Exclude;

/// What becomes of a new path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is collected.
    Kept,
    /// The base commit's rules or the list of patterns ignore it.
    Ignored,
    /// Only a rule that the agent added ignores it.
    ByNewRule,
}

/// The lines of a file of patterns. They count least: a rule of the repository that keeps a path is stronger.
fn lines(exclude: &Exclude) -> String {
    let built_in = if exclude.keep_litter {
        &[]
    } else {
        litter::PATTERNS
    };
    let all = built_in
        .iter()
        .copied()
        .chain(exclude.patterns.iter().map(String::as_str));
    all.flat_map(|pattern| [pattern, "\n"]).collect()
}

/// Answers for one work tree.
#[derive(Debug)]
pub struct Ignores {
    /// Absent: the base commit has no rules.
    base: Option<Oracle>,
    tree: Oracle,
    files: RuleFiles,
}

impl Ignores {
    /// Starts the oracles; `directory` is empty and ours alone.
    pub fn start(
        pristine: &Path,
        base: &Base,
        exclude: &Exclude,
        directory: &Path,
        deadline: &Deadline,
    ) -> Result<Self, Refusal> {
        let git = Git::new(pristine);
        let excludes = directory.join("exclude");
        let (of_base, of_tree) = (directory.join("base"), directory.join("tree"));
        fs::write(&excludes, lines(exclude))
            .and_then(|()| fs::create_dir(&of_base))
            .and_then(|()| fs::create_dir(&of_tree))
            .map_err(Refusal::Storage)?;
        let mut any = false;
        for (path, entry) in base.ignore_files() {
            let rules = read_blob(&git, &entry.oid, LONGEST, deadline)?;
            add(&of_base, split(path).0, &rules).map_err(Refusal::Storage)?;
            any = true;
        }
        let nothing = Path::new("/dev/null");
        Ok(Self {
            base: any
                .then(|| Oracle::start(git.clone(), of_base, nothing, deadline))
                .transpose()?,
            tree: Oracle::start(git, of_tree, &excludes, deadline)?,
            files: RuleFiles::default(),
        })
    }

    /// Reads the rules of a directory of the agent's tree, before any of its names is asked about. Rules that cannot be
    /// read, or are too many, count for nothing.
    pub fn enter(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), Refusal> {
        match self.files.read(directory, c".gitignore") {
            None => Ok(()),
            Some(rules) => self.tree.add(path, &rules).map_err(Refusal::Storage),
        }
    }

    /// What becomes of each of `paths`; `true` beside a path says that it is a directory.
    pub fn ask(&mut self, paths: &[(&[u8], bool)], deadline: &Deadline) -> Result<Vec<Verdict>, Refusal> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let of_tree = self.tree.ask(paths, deadline)?;
        let of_base = match &mut self.base {
            None => vec![Word::Nothing; paths.len()],
            Some(base) => base.ask(paths, deadline)?,
        };
        Ok(of_tree
            .into_iter()
            .zip(of_base)
            .map(|(tree, base)| verdict(tree, base))
            .collect())
    }
}

/// What two words come to. A rule of the base commit that the agent took away still counts; one that it set another against
/// does not, since the agent wants that path.
const fn verdict(tree: Word, base: Word) -> Verdict {
    match (tree, base) {
        (Word::Kept, _) | (Word::Nothing, Word::Nothing | Word::Kept) => Verdict::Kept,
        (Word::Excluded, _) | (_, Word::Ignored | Word::Excluded) => Verdict::Ignored,
        (Word::Ignored, Word::Nothing | Word::Kept) => Verdict::ByNewRule,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_the_agent_hides_only_what_it_is_named_for() {
        let words = [Word::Nothing, Word::Kept, Word::Ignored, Word::Excluded];
        let table: Vec<Verdict> = words
            .iter()
            .flat_map(|tree| words.iter().map(|base| verdict(*tree, *base)))
            .collect();
        let (kept, ignored, new) = (Verdict::Kept, Verdict::Ignored, Verdict::ByNewRule);
        assert_eq!(
            table,
            [
                [kept, kept, ignored, ignored],
                [kept, kept, kept, kept],
                [new, new, ignored, ignored],
                [ignored, ignored, ignored, ignored],
            ]
            .concat()
        );
    }

    #[test]
    fn patterns_replace_or_extend_the_built_in_list() {
        let lines = |keep_litter: bool| {
            lines(&Exclude {
                keep_litter,
                patterns: vec!["*.tmp".to_owned(), "/out/".to_owned()],
            })
        };
        assert_eq!(lines(true), "*.tmp\n/out/\n");
        assert!(lines(false).ends_with("\n*.tmp\n/out/\n") && lines(false).contains("__pycache__/\n"));
    }
}
