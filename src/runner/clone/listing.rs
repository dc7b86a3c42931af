//! A remote's list of references: what a name stands for there, and what to say where it stands for nothing. Pure.

use std::fmt;

use cofferdam_policy::pattern::reference::Reference;

use crate::text::escape;

/// Names that a message shows at most.
const SHOWN: usize = 5;
/// Where branches and tags stand.
const BRANCHES: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";

/// What `git ls-remote --symref` printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Full name of what HEAD stands for, where the server says so.
    head: Option<String>,
    /// Id and full name of each reference, without what annotated tags lead to.
    references: Vec<(String, String)>,
}

/// What a remote calls the thing asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Full name of the reference.
    pub full: String,
    /// Its branch, if it is one.
    pub branch: Option<String>,
}

/// What to write instead of a name that the remote does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// This is what was meant.
    Meant(String),
    /// The remote has these branches, and more of them.
    Branches(Vec<String>, usize),
    /// Nothing can be said.
    Nothing,
}

impl Listing {
    /// Reads the list; [`None`] if it is none.
    pub fn parse(printed: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(printed).ok()?;
        let mut listing = Self::default();
        for line in text.lines() {
            let (what, name) = line.split_once('\t')?;
            if let Some(full) = what.strip_prefix("ref: ") {
                if name == "HEAD" {
                    listing.head = Some(full.to_owned());
                }
            } else if !name.ends_with("^{}") {
                listing.references.push((what.to_owned(), name.to_owned()));
            }
        }
        Some(listing)
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.references.is_empty()
    }

    /// Whether the objects are named by SHA-256.
    pub fn is_sha256(&self) -> bool {
        self.references.iter().any(|(id, _)| id.len() == 64)
    }

    /// What HEAD stands for; [`None`] where it leads to no commit.
    pub fn head(&self) -> Option<Found> {
        self.has("HEAD").then(|| {
            let branch = self.head.as_deref().and_then(|full| full.strip_prefix(BRANCHES));
            Found {
                full: "HEAD".to_owned(),
                // A branch that cannot be asked for is no name for ours either.
                branch: branch
                    .filter(|branch| matches!(Reference::parse(branch), Ok(Reference::Name(_))))
                    .map(str::to_owned),
            }
        })
    }

    /// What `name` stands for: a branch of this name, a tag, or what is left out of a full name before it. A mirror's
    /// own `refs/remotes` is not looked at.
    pub fn find(&self, name: &str) -> Option<Found> {
        let full = candidates(name).into_iter().find(|full| self.has(full))?;
        let branch = full.strip_prefix(BRANCHES).map(str::to_owned);
        Some(Found { full, branch })
    }

    /// The full ids that begin with `short`, each once.
    pub fn ids(&self, short: &str) -> Vec<&str> {
        let mut ids: Vec<&str> = self
            .references
            .iter()
            .map(|(id, _)| id.as_str())
            .filter(|id| id.starts_with(short))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What may have been meant by a `name` that stands for nothing.
    pub fn hint(&self, name: &str) -> Hint {
        let known = || {
            let names = self.references.iter().map(|(_, name)| name.as_str());
            names.filter_map(|name| name.strip_prefix(BRANCHES).or_else(|| name.strip_prefix(TAGS)))
        };
        // `origin/main`, `refs/remotes/origin/main`, `tree/main`: the longest end that the remote has.
        let ends = name.match_indices('/').filter_map(|(at, _)| name.get(at + 1..));
        let end = ends.into_iter().find(|end| known().any(|known| known == *end));
        let otherwise = || known().find(|known| known.to_lowercase() == name.to_lowercase());
        if let Some(meant) = end.or_else(otherwise) {
            return Hint::Meant(escape(meant.as_bytes()));
        }
        let mut branches = self.branches();
        let more = branches.len().saturating_sub(SHOWN);
        branches.truncate(SHOWN);
        if branches.is_empty() {
            Hint::Nothing
        } else {
            Hint::Branches(branches, more)
        }
    }

    /// The branches.
    fn branches(&self) -> Vec<String> {
        let names = self.references.iter().map(|(_, name)| name.as_str());
        names
            .filter_map(|name| name.strip_prefix(BRANCHES))
            .map(|branch| escape(branch.as_bytes()))
            .collect()
    }

    fn has(&self, full: &str) -> bool {
        self.references.iter().any(|(_, name)| name == full)
    }
}

/// Full names that `name` may stand for, in the order in which they are looked for.
pub fn candidates(name: &str) -> Vec<String> {
    if name.starts_with("refs/") {
        return vec![name.to_owned()];
    }
    ["refs/heads/", "refs/tags/", "refs/"]
        .map(|before| format!("{before}{name}"))
        .into()
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meant(name) => write!(f, "; it has {name}: write that"),
            Self::Branches(names, more) => {
                write!(f, "; its branches are {}", names.join(", "))?;
                if *more > 0 {
                    write!(f, " and {more} more")?;
                }
                Ok(())
            }
            Self::Nothing => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const ID: &str = "554cdb76be9e2d70740ea974b2c2e140035f8c0d";
    const OTHER: &str = "554cdb7aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn listing(names: &[&str]) -> Listing {
        let lines: String = names.iter().flat_map(|name| [ID, "\t", *name, "\n"]).collect();
        Listing::parse(format!("ref: refs/heads/main\tHEAD\n{lines}").as_bytes()).unwrap()
    }

    #[rstest]
    #[case("main", Some("refs/heads/main"), Some("main"))]
    #[case("heads/main", Some("refs/heads/main"), Some("main"))]
    #[case("refs/heads/main", Some("refs/heads/main"), Some("main"))]
    #[case("both", Some("refs/heads/both"), Some("both"))]
    #[case("tags/both", Some("refs/tags/both"), None)]
    #[case("v1", Some("refs/tags/v1"), None)]
    #[case("pull/5/head", Some("refs/pull/5/head"), None)]
    #[case("refs/pull/5/head", Some("refs/pull/5/head"), None)]
    #[case("merge-requests/7/head", Some("refs/merge-requests/7/head"), None)]
    #[case("upstream/main", None, None)]
    #[case("origin/main", None, None)]
    #[case("MAIN", None, None)]
    #[case("FETCH_HEAD", None, None)]
    #[case("hidden", None, None)]
    fn names_are_completed_as_git_does(
        #[case] name: &str,
        #[case] full: Option<&str>,
        #[case] branch: Option<&str>,
    ) {
        let listing = listing(&[
            "HEAD",
            "refs/heads/main",
            "refs/heads/both",
            "refs/tags/both",
            "refs/tags/v1",
            "refs/tags/v1^{}",
            "refs/pull/5/head",
            "refs/merge-requests/7/head",
            "refs/remotes/upstream/main",
            "refs/odd/refs/heads/hidden",
        ]);
        let found = listing.find(name);
        assert_eq!(found.as_ref().map(|found| found.full.as_str()), full);
        assert_eq!(found.and_then(|found| found.branch).as_deref(), branch);
    }

    #[rstest]
    #[case("origin/main", "; it has main: write that")]
    #[case("refs/remotes/origin/main", "; it has main: write that")]
    #[case("remotes/origin/feature/x", "; it has feature/x: write that")]
    #[case("upstream/v1", "; it has v1: write that")]
    #[case("tree/feature/x", "; it has feature/x: write that")]
    #[case("refs/head/main", "; it has main: write that")]
    #[case("MAIN", "; it has main: write that")]
    #[case("master", "; its branches are main, feature/x, a, b, c and 1 more")]
    fn a_name_that_is_not_there_is_answered_with_one_that_is(#[case] name: &str, #[case] hint: &str) {
        let listing = listing(&[
            "HEAD",
            "refs/heads/main",
            "refs/heads/feature/x",
            "refs/tags/v1",
            "refs/heads/a",
            "refs/heads/b",
            "refs/heads/c",
            "refs/heads/d",
        ]);
        assert_eq!(listing.find(name), None);
        assert_eq!(listing.hint(name).to_string(), hint);
    }

    #[test]
    fn head_may_lead_to_a_branch_to_something_else_or_nowhere() {
        let to_main = listing(&["HEAD", "refs/heads/main"]).head().unwrap();
        assert_eq!(to_main.branch.as_deref(), Some("main"));
        let detached = Listing::parse(format!("{ID}\tHEAD\n").as_bytes()).unwrap();
        assert_eq!(detached.head().unwrap().branch, None);
        for to in ["refs/odd/head", "refs/heads/-x", "refs/heads/HEAD"] {
            let elsewhere = Listing::parse(format!("ref: {to}\tHEAD\n{ID}\tHEAD\n").as_bytes()).unwrap();
            assert_eq!(elsewhere.head().unwrap().branch, None, "{to}");
        }
        // A server that tells of a HEAD without a commit, and one that does not.
        assert_eq!(listing(&["refs/heads/dev"]).head(), None);
        assert!(Listing::parse(b"").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_list_is_not_read() {
        for text in [&b"no tab\n"[..], b"\xff\t\n"] {
            assert_eq!(Listing::parse(text), None);
        }
        let long = format!("{}\trefs/heads/main\n", "a".repeat(64));
        assert!(Listing::parse(long.as_bytes()).unwrap().is_sha256());
        assert!(!listing(&["HEAD"]).is_sha256());
    }

    #[test]
    fn an_abbreviated_id_may_be_of_several_commits() {
        let text = format!("{ID}\trefs/heads/a\n{ID}\trefs/tags/b\n{OTHER}\trefs/heads/c\n");
        let listing = Listing::parse(text.as_bytes()).unwrap();
        assert_eq!(listing.ids("554cdb7"), [ID, OTHER]);
        assert_eq!(listing.ids("554cdb76"), [ID]);
        assert!(listing.ids("1234567").is_empty());
    }
}
