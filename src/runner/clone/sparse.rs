//! The file that tells git which directories of a work tree have files, in its cone form. Pure.

use std::collections::BTreeSet;

/// The patterns for `directories`: the files of each and all below it, and the files of each directory above.
pub fn patterns(directories: &[String]) -> String {
    let mut above: BTreeSet<String> = BTreeSet::new();
    let wanted: BTreeSet<&str> = directories.iter().map(String::as_str).collect();
    for directory in &wanted {
        for (at, _) in directory.match_indices('/') {
            above.extend(directory.get(..at).map(str::to_owned));
        }
    }
    let mut text = "/*\n!/*/\n".to_owned();
    // Parents first, or a later pattern would take away again what stands below.
    let all: BTreeSet<&str> = above
        .iter()
        .map(String::as_str)
        .chain(wanted.iter().copied())
        .collect();
    for directory in all {
        let covered = |other: &&str| {
            directory
                .strip_prefix(*other)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        if wanted.iter().any(covered) {
            continue;
        }
        text.extend(["/", directory, "/\n"]);
        if !wanted.contains(directory) {
            text.extend(["!/", directory, "/*/\n"]);
        }
    }
    text
}

/// Whether `path` has its file in the work tree of these directories; every path has without any.
pub fn holds(directories: &[String], path: &[u8]) -> bool {
    let Some(end) = path.iter().rposition(|byte| *byte == b'/') else {
        return true;
    };
    let directory = path.get(..end).unwrap_or_default();
    let within = |path: &[u8], above: &[u8]| {
        path.strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    directories.is_empty()
        || directories.iter().any(|wanted| {
            let wanted = wanted.as_bytes();
            within(directory, wanted) || within(wanted, directory)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(directories: &[&str]) -> Vec<String> {
        directories.iter().map(|each| (*each).to_owned()).collect()
    }

    #[test]
    fn patterns_are_in_gits_cone_form() {
        let text = patterns(&list(&["src/app", "docs", "src/app/deep", "src/lib"]));
        assert_eq!(text, "/*\n!/*/\n/docs/\n/src/\n!/src/*/\n/src/app/\n/src/lib/\n");
    }

    #[test]
    fn files_of_a_directory_of_all_below_and_of_those_above_are_held() {
        let wanted = list(&["src/app", "docs"]);
        for path in [
            "README",
            "src/mod.rs",
            "src/app/a",
            "src/app/deep/b",
            "docs/x",
            "docs/y/z",
        ] {
            assert!(holds(&wanted, path.as_bytes()), "{path}");
        }
        for path in [
            "src/lib/a",
            "src/application/a",
            "doc/x",
            "other/a",
            "other/docs/x",
        ] {
            assert!(!holds(&wanted, path.as_bytes()), "{path}");
        }
        assert!(holds(&[], b"any/where"));
    }
}
