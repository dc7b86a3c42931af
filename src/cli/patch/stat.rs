//! What a patch changes, file by file.

use std::fmt::Write as _;

use super::lines::{Kind, Lines};
use cofferdam_text::escape_bytes;

/// Columns of a graph.
const GRAPH: u64 = 40;

/// One file of a patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStat {
    /// Its path as the patch names it, escaped; both, where it was renamed.
    pub path: String,
    /// Lines that are added.
    pub added: u64,
    /// Lines that are removed.
    pub removed: u64,
    /// Whether its content is binary.
    pub binary: bool,
}

/// The files of a patch.
pub fn stat(patch: &[u8]) -> Vec<FileStat> {
    let mut files: Vec<FileStat> = Vec::new();
    for (kind, line) in Lines::of(patch) {
        if kind == Kind::File {
            files.push(FileStat {
                path: path(line),
                ..FileStat::default()
            });
        }
        let Some(file) = files.last_mut() else { continue };
        match kind {
            Kind::Added => file.added += 1,
            Kind::Removed => file.removed += 1,
            Kind::Binary => file.binary = true,
            Kind::Header if line.starts_with(b"rename to ") => {
                let to = line.get(b"rename to ".len()..).unwrap_or_default();
                file.path = format!("{} => {}", file.path, escape_bytes(to));
            }
            Kind::File | Kind::Header | Kind::Hunk | Kind::Context => {}
        }
    }
    files
}

/// `a/x b/x` is named once.
fn path(line: &[u8]) -> String {
    let both = line.strip_prefix(b"diff --git ").unwrap_or(line);
    // Equal names on both sides stand around the middle, whatever characters they have.
    let half = both.len() / 2;
    let (old, new) = (both.get(..half), both.get(half + 1..));
    let bare = |side: Option<&[u8]>, prefix: &[u8]| {
        side.and_then(|side| side.strip_prefix(prefix))
            .map(<[u8]>::to_vec)
    };
    match (bare(old, b"a/"), bare(new, b"b/")) {
        (Some(old), Some(new)) if old == new => escape_bytes(&old),
        _ => {
            let text = escape_bytes(both);
            let first = text.split(" b/").next().unwrap_or(&text);
            first.strip_prefix("a/").unwrap_or(first).to_owned()
        }
    }
}

/// As `git diff --stat` writes it.
pub fn table(files: &[FileStat]) -> String {
    let width = files
        .iter()
        .map(|file| file.path.chars().count())
        .max()
        .unwrap_or_default()
        .min(100);
    let most = files
        .iter()
        .map(|file| file.added + file.removed)
        .max()
        .unwrap_or_default()
        .max(1);
    let mut out = String::new();
    for file in files {
        let change = if file.binary {
            "Bin".to_owned()
        } else {
            let scale = |count: u64| {
                let shown = if most > GRAPH {
                    (count * GRAPH).div_ceil(most)
                } else {
                    count
                };
                usize::try_from(shown).unwrap_or_default()
            };
            let graph = format!(
                "{}{}",
                "+".repeat(scale(file.added)),
                "-".repeat(scale(file.removed))
            );
            format!("{} {graph}", file.added + file.removed)
        };
        let padding = " ".repeat(width.saturating_sub(file.path.chars().count()));
        let line = format!(" {}{padding} | {change}", file.path);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let (added, removed) = files.iter().fold((0, 0), |(added, removed), file| {
        (added + file.added, removed + file.removed)
    });
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        " {} files changed, {added} insertions(+), {removed} deletions(-)",
        files.len()
    );
    out
}
