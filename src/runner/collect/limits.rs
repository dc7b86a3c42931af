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
