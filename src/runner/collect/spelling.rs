//! Names that git, or a file system on which someone checks the patch out, reads as `.git`.
//!
//! The rules are those by which git protects work trees on HFS+ (code points that its comparison ignores, ASCII
//! case) and on NTFS (short names, trailing dots and spaces, streams after a colon, backslash as a separator).

/// How a name relates to `.git`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `.git` itself.
    Exact,
    /// Another spelling of it.
    Alias,
    /// Something else.
    Other,
}

/// How `name`, one component of a path, relates to `.git`.
pub fn of(name: &[u8]) -> Spelling {
    if name == b".git" {
        return Spelling::Exact;
    }
    let alias = name
        .split(|byte| *byte == b'\\')
        .map(folded)
        .any(|part| part == ".git" || part == "git~1");
    if alias { Spelling::Alias } else { Spelling::Other }
}

/// Whether `name` is, or reads as, `.gitmodules`: git refuses it as a symbolic link, because it obeys its content.
pub fn is_gitmodules(name: &[u8]) -> bool {
    let folded = folded(name);
    // NTFS shortens it to `GITMOD~1`, or after four collisions to a hash.
    let short = folded
        .split_once('~')
        .is_some_and(|(stem, number)| stem == "gitmod" && number.chars().all(|char| char.is_ascii_digit()));
    short || folded == ".gitmodules" || folded.starts_with("gi7eba~")
}

/// `name` as the most forgiving file system compares it.
fn folded(name: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(name)
        .chars()
        .filter(|char| !ignorable(*char))
        .map(|char| char.to_ascii_lowercase())
        .collect();
    let stream = text.split(':').next().unwrap_or_default();
    stream.trim_end_matches([' ', '.']).to_owned()
}

/// Code points that HFS+ ignores when it compares names, and others that show nothing.
///
/// The list is git's own (`next_hfs_char`) and more. It is not `cofferdam_text::is_hidden`: that one is about what
/// a reader sees, and a character added to it must not change which trees are refused.
fn ignorable(char: char) -> bool {
    matches!(char,
        '\u{00ad}' | '\u{034f}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_that_git_refuses_is_an_alias() {
        assert_eq!(of(b".git"), Spelling::Exact);
        for name in [
            ".GIT",
            ".Git",
            ".giT",
            "git~1",
            "GIT~1",
            ".git.",
            ".git ",
            ".git. .",
            ".git::$INDEX_ALLOCATION",
            ".git:x",
            "git~1.",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{202e}t",
            ".git\u{200d}",
            "a\\.git",
            ".git\\config",
            "a\\GIT~1\\b",
        ] {
            assert_eq!(of(name.as_bytes()), Spelling::Alias, "{name:?}");
        }
        for name in [
            ".gitignore",
            ".github",
            "git",
            "x.git",
            "git~2",
            "agit~1",
            ".g\u{131}t",
            "..git",
            ".git-x",
        ] {
            assert_eq!(of(name.as_bytes()), Spelling::Other, "{name:?}");
        }
        assert_eq!(of(b".gi\xfft"), Spelling::Other);
    }

    #[test]
    fn what_a_file_system_ignores_is_hidden_from_readers_too() {
        let unseen = |char: &char| ignorable(*char) && !cofferdam_text::is_hidden(*char);
        assert_eq!(('\0'..=char::MAX).find(unseen), None);
    }

    #[test]
    fn the_file_that_may_not_be_a_link_is_known_by_all_its_names() {
        for name in [
            ".gitmodules",
            ".GitModules",
            "GITMOD~1",
            "gi7eba~9",
            ".gitmodules ",
            ".git\u{200c}modules",
        ] {
            assert!(is_gitmodules(name.as_bytes()), "{name}");
        }
        for name in [
            "gitmodules",
            ".gitmodulesx",
            "gitmod~x",
            ".gitignore",
            ".gitattributes",
        ] {
            assert!(!is_gitmodules(name.as_bytes()), "{name}");
        }
    }
}
