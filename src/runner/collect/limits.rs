//! How much of a work tree is read. Everything that an agent can make large has a bound.

/// Bounds of one collection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files and links beyond those of the base commit; the newest are taken.
    pub added_files: usize,
    /// Bytes of the paths of new files that are kept in memory.
    pub added_path_bytes: usize,
    /// Directory entries that are looked at, ignored ones included.
    pub entries: usize,
    /// Bytes of one changed or new file, by its size: holes count as what they pretend to be.
    pub file_bytes: u64,
    /// Bytes of all changed and new files.
    pub total_bytes: u64,
    /// Levels of directories.
    pub depth: usize,
    /// Bytes of a path within the tree; the system's 4096 less the directories that trees stand in.
    pub path_bytes: usize,
    /// Bytes of a patch; what an upload may carry.
    pub patch_bytes: u64,
    /// Bytes of the list of the base commit's files.
    pub base_list_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            added_files: 50_000,
            added_path_bytes: 16 * 1024 * 1024,
            entries: 1_000_000,
            file_bytes: 100 * 1024 * 1024,
            total_bytes: 512 * 1024 * 1024,
            depth: 64,
            path_bytes: 3840,
            patch_bytes: cofferdam_wire::output::UPLOAD_LIMIT - cofferdam_wire::output::MANIFEST_LIMIT as u64,
            base_list_bytes: 128 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::left_out::{LISTED, Reason};
    use crate::collect::submodules::LONGEST;

    /// The page has each bound with its number, and the reason that is shown.
    #[test]
    fn the_page_has_each_bound() {
        let page = include_str!("../../../docs/limits.md");
        let limits = Limits::default();
        let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
        let grouped = |number: usize| match number / 1000 {
            0 => number.to_string(),
            thousands if thousands >= 1000 => {
                format!(
                    "{},{:03},{:03}",
                    thousands / 1000,
                    thousands % 1000,
                    number % 1000
                )
            }
            thousands => format!("{thousands},{:03}", number % 1000),
        };
        for (what, bound, reason) in [
            (
                "bytes of one changed or new file",
                mebibytes(limits.file_bytes),
                Some(Reason::FileTooLarge),
            ),
            (
                "bytes of all changed and new files",
                mebibytes(limits.total_bytes),
                Some(Reason::TreeTooLarge),
            ),
            (
                "bytes of all patches of a run",
                "64 MiB less 64 KiB".to_owned(),
                Some(Reason::PatchTooLarge),
            ),
            (
                "new files of a work tree",
                grouped(limits.added_files),
                Some(Reason::TooManyFiles),
            ),
            (
                "bytes of their paths",
                mebibytes(limits.added_path_bytes as u64),
                Some(Reason::TooManyFiles),
            ),
            (
                "directories below each other",
                limits.depth.to_string(),
                Some(Reason::TooDeep),
            ),
            (
                "bytes of a path",
                grouped(limits.path_bytes),
                Some(Reason::PathTooLong),
            ),
            (
                "directory entries of a work tree",
                grouped(limits.entries),
                Some(Reason::TooManyEntries),
            ),
            (
                "list of the commit's own files",
                mebibytes(limits.base_list_bytes),
                None,
            ),
            ("paths that are listed", LISTED.to_string(), None),
        ] {
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| {what}")) || line.contains(&format!("; {what}")));
            let row = row.unwrap_or_else(|| panic!("no row of {what}"));
            assert!(row.contains(&bound), "{row} has no {bound}");
            assert!(reason.is_none_or(|reason| row.contains(reason.as_str())), "{row}");
        }
        assert_eq!(limits.patch_bytes, (64 << 20) - (64 << 10));
        // Every reason has its row on the page of collecting.
        let page = include_str!("../../../docs/collect.md");
        for reason in Reason::ALL {
            assert!(
                page.contains(&format!("`{}`", reason.as_str())),
                "{}",
                reason.as_str()
            );
        }
        assert!(page.contains(&format!("longer than {LONGEST} bytes")));
    }
}
