//! What a run's `ref` names: HEAD, a commit, or a name that the remote knows.

/// Longest reference in bytes, as in the schema.
const REFERENCE_LIMIT: usize = 255;
/// Hexadecimal digits of a commit under SHA-1, and under SHA-256.
const SHA1_DIGITS: usize = 40;
const SHA256_DIGITS: usize = 64;
/// Git abbreviates no commit to less than this by itself.
const LEAST_ABBREVIATED: usize = 7;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The remote's HEAD: `HEAD` or `@`, or nothing at all.
    Head,
    /// A full commit id, in lower case.
    Commit(String),
    /// A branch, a tag, or the name of any other reference, from its full name to what git would complete. Perhaps an
    /// abbreviated commit.
    Name(String),
}

/// Why a text is no reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Empty, or more than 255 bytes.
    #[error("a reference has 1 to 255 bytes")]
    Length,
    /// Git would take it for an option.
    #[error("no reference starts with '-'")]
    Dash,
    /// `main~1`, `v1^{}`, `main@{1}`, `a..b`: only a repository can work it out, and there is none yet.
    #[error("this is an expression over commits, which no server can be asked for")]
    Expression,
    /// A character that git allows in no reference.
    #[error("a reference has no spaces, control characters or invisible ones, and none of : ? * [ \\")]
    Character,
    /// Empty components, or those that start or end with a dot or end in `.lock`.
    #[error("no part of a reference between slashes is empty, starts or ends with '.', or ends in '.lock'")]
    Component,
    /// A commit of a repository with SHA-256 objects.
    #[error("this is the id of a SHA-256 object, and repositories with such objects are not supported")]
    Sha256,
}

impl Reference {
    /// Reads what stands in a manifest, by the rules of `git check-ref-format`.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() || text.len() > REFERENCE_LIMIT {
            return Err(ReferenceError::Length);
        }
        if matches!(text, "HEAD" | "@") {
            return Ok(Self::Head);
        }
        if text.starts_with('-') {
            return Err(ReferenceError::Dash);
        }
        if text.contains("..") || text.contains("@{") || text.contains(['~', '^']) {
            return Err(ReferenceError::Expression);
        }
        let odd = |char: char| {
            char.is_whitespace()
                || cofferdam_text::is_hidden(char)
                || matches!(char, ':' | '?' | '*' | '[' | '\\')
        };
        if text.contains(odd) {
            return Err(ReferenceError::Character);
        }
        let component = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && !part.ends_with('.')
                && part.strip_suffix(".lock").is_none()
        };
        if !text.split('/').all(component) {
            return Err(ReferenceError::Component);
        }
        match (is_hexadecimal(text), text.len()) {
            (true, SHA1_DIGITS) => Ok(Self::Commit(text.to_ascii_lowercase())),
            (true, SHA256_DIGITS) => Err(ReferenceError::Sha256),
            _ => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl ReferenceError {
    /// What to write instead.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Length | Self::Dash | Self::Character | Self::Component => {
                "write a branch, a tag, a full name such as refs/heads/main, or a commit"
            }
            Self::Expression => "write the commit that it stands for: git rev-parse says it",
            Self::Sha256 => {
                "use a repository with SHA-1 objects, which is what git makes unless it is told otherwise"
            }
        }
    }
}

/// Whether a name could be the beginning of a commit's id, in lower case.
pub fn abbreviated(name: &str) -> Option<String> {
    let lengths = LEAST_ABBREVIATED..SHA1_DIGITS;
    (lengths.contains(&name.len()) && is_hexadecimal(name)).then(|| name.to_ascii_lowercase())
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("-x", ReferenceError::Dash)]
    #[case("a..b", ReferenceError::Expression)]
    #[case("main..dev", ReferenceError::Expression)]
    #[case("a~1", ReferenceError::Expression)]
    #[case("a^", ReferenceError::Expression)]
    #[case("v1^{}", ReferenceError::Expression)]
    #[case("main@{0}", ReferenceError::Expression)]
    #[case("@{u}", ReferenceError::Expression)]
    #[case("a b", ReferenceError::Character)]
    #[case("a\u{a0}b", ReferenceError::Character)]
    #[case("a\u{202e}b", ReferenceError::Character)]
    #[case("a*", ReferenceError::Character)]
    #[case("a:b", ReferenceError::Character)]
    #[case("+refs/heads/*:refs/x", ReferenceError::Character)]
    #[case("a\nb", ReferenceError::Character)]
    #[case("a\\b", ReferenceError::Character)]
    #[case("a[b", ReferenceError::Character)]
    #[case(".a", ReferenceError::Component)]
    #[case("a/.b", ReferenceError::Component)]
    #[case("a.lock", ReferenceError::Component)]
    #[case("a.lock/b", ReferenceError::Component)]
    #[case("a//b", ReferenceError::Component)]
    #[case("/a", ReferenceError::Component)]
    #[case("a/", ReferenceError::Component)]
    #[case("a.", ReferenceError::Component)]
    #[case("", ReferenceError::Length)]
    fn what_git_reads_otherwise_is_no_reference(#[case] text: &str, #[case] error: ReferenceError) {
        assert_eq!(Reference::parse(text), Err(error));
    }

    #[rstest]
    #[case("@user/fix")]
    #[case("#12-fix")]
    #[case("it's")]
    #[case("a&b")]
    #[case("(wip)")]
    #[case("ünï")]
    #[case("a$b")]
    #[case("\"quoted\"")]
    #[case("%41")]
    #[case("a;b")]
    #[case("x@y")]
    #[case("dependabot/npm_and_yarn/@types/node-20.1.0")]
    #[case("refs/pull/5/head")]
    #[case("head")]
    #[case("+a")]
    #[case("日本語")]
    #[case("abc123")]
    fn what_people_call_branches_is_a_name(#[case] text: &str) {
        assert_eq!(Reference::parse(text), Ok(Reference::Name(text.to_owned())));
    }

    #[test]
    fn head_and_commits_are_told_from_names() {
        for text in ["HEAD", "@"] {
            assert_eq!(Reference::parse(text), Ok(Reference::Head));
        }
        assert_eq!(
            Reference::parse(&"A".repeat(40)),
            Ok(Reference::Commit("a".repeat(40)))
        );
        assert_eq!(Reference::parse(&"a".repeat(64)), Err(ReferenceError::Sha256));
        assert_eq!(abbreviated("ABCDEF1").as_deref(), Some("abcdef1"));
        for name in ["abcdef", "abcdefg", "release", &"a".repeat(40)] {
            assert_eq!(abbreviated(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_a_name_reads_as_itself(text in "\\PC{0,40}|[-a-f0-9./@{}^~]{0,70}") {
            if let Ok(Reference::Name(name)) = Reference::parse(&text) {
                prop_assert_eq!(name, text);
            }
        }
    }
}
