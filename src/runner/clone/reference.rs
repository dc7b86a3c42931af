//! What a run's `ref` asks for.

use super::CloneError;
use crate::text::escape;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The remote's HEAD.
    Head,
    /// A full commit id.
    Commit(String),
    /// A branch or a tag.
    Name(String),
}

impl Reference {
    /// The rules of `git check-ref-format`, and no pattern characters, because the remote's list is asked by
    /// pattern.
    pub fn parse(text: Option<&str>) -> Result<Self, CloneError> {
        let Some(text) = text else { return Ok(Self::Head) };
        if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self::Commit(text.to_ascii_lowercase()));
        }
        let component = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && !part.ends_with('.')
                && part.strip_suffix(".lock").is_none()
        };
        let lawful = text.len() <= 255
            && !text.starts_with('-')
            && !text.contains("..")
            && !text.contains("@{")
            && text != "@"
            && !text.chars().any(|char| {
                char.is_control() || matches!(char, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
            })
            && text.split('/').all(component);
        if lawful {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(CloneError::Reference(escape(text.as_bytes())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_reads_otherwise_are_no_references() {
        for name in [
            "-x", "a..b", "a b", "a*", "a~1", "a^", "a:b", "+a", "@", "a@{1}", ".a", "a/.b", "a.lock",
            "a//b", "/a", "a/", "a\nb", "a\\b", "a[b", "",
        ] {
            let parsed = Reference::parse(Some(name));
            assert_eq!(parsed.is_err(), name != "+a", "{name:?}");
        }
        assert_eq!(
            Reference::parse(Some(&"A".repeat(40))).unwrap(),
            Reference::Commit("a".repeat(40))
        );
        assert!(matches!(
            Reference::parse(Some("abc123")).unwrap(),
            Reference::Name(_)
        ));
    }
}
