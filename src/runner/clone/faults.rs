//! Which faults of old history are harmless. Pure.
//!
//! A clone is checked whole, as by `git fsck --strict`. These checks alone are lowered to warnings: people's names, dates
//! and time zones that importers wrote wrongly, and file modes in an older spelling. No tool acts on them, and history
//! cannot be mended without changing every commit's id. Whatever bears on a path, on a link between objects or on
//! `.gitmodules` stays an error.

use std::collections::BTreeSet;

use super::cause::Fault;

/// Checks that are lowered, by git's names for them. A git that does not know one passes over it.
pub const TOLERATED: &[&str] = &[
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badFilemode",
    "badName",
    "badTagName",
    "badTimezone",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "missingTaggerEntry",
    "multipleAuthors",
    "nulInCommit",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
];

/// The settings of a fetch that lower them.
pub fn settings() -> impl Iterator<Item = String> {
    TOLERATED.iter().map(|check| format!("fetch.fsck.{check}=warn"))
}

/// The tolerated checks that failed, by what a fetch wrote to standard error; each once, in order.
pub fn tolerated(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let checks: BTreeSet<String> = text
        .lines()
        .filter_map(|line| Fault::read(line, "warning: "))
        .map(|fault| fault.check)
        .filter(|check| TOLERATED.contains(&check.as_str()))
        .collect();
    checks.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tolerated_check_is_recorded_once() {
        let id = "554cdb76be9e2d70740ea974b2c2e140035f8c0d";
        let printed = format!(
            "warning: Skipping unknown msg id 'nosuchcheck'\nwarning: object {id}: missingEmail: x\n\
             warning: object {id}: badDate: x\nwarning: object {id}: missingEmail: x\nwarning: object {id}: other: x\n\
             remote: warning: object {id}: badName: x\n"
        );
        assert_eq!(tolerated(printed.as_bytes()), ["badDate", "missingEmail"]);
        assert!(tolerated(b"").is_empty());
    }

    #[test]
    fn nothing_that_names_a_path_or_links_objects_is_tolerated() {
        for check in TOLERATED {
            for word in [
                "gitmodules",
                "gitattributes",
                "hasDot",
                "Pathname",
                "Tree",
                "Sha1",
                "Entries",
                "Object",
                "Parent",
            ] {
                assert!(!check.contains(word), "{check}");
            }
        }
    }
}
