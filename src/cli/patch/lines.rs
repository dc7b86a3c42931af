//! What each line of a patch is. Within a hunk its header says how many lines follow, so that no content passes for a
//! header.

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `diff --git …`: a file begins.
    File,
    /// Other lines before the hunks of a file.
    Header,
    /// `@@ … @@`.
    Hunk,
    /// A line that is added.
    Added,
    /// A line that is removed.
    Removed,
    /// A line around changes, or a remark of git's about one.
    Context,
    /// Content of a binary file.
    Binary,
}

/// The lines of a patch with what each is.
pub struct Lines<'a> {
    rest: &'a [u8],
    removed: u64,
    added: u64,
    binary: bool,
}

impl<'a> Lines<'a> {
    /// Of this patch.
    pub fn of(patch: &'a [u8]) -> Self {
        Self {
            rest: patch,
            removed: 0,
            added: 0,
            binary: false,
        }
    }

    fn kind(&mut self, line: &[u8]) -> Kind {
        if self.removed > 0 || self.added > 0 {
            match line.first() {
                Some(b'+') => {
                    self.added = self.added.saturating_sub(1);
                    return Kind::Added;
                }
                Some(b'-') => {
                    self.removed = self.removed.saturating_sub(1);
                    return Kind::Removed;
                }
                Some(b' ') | None => {
                    self.added = self.added.saturating_sub(1);
                    self.removed = self.removed.saturating_sub(1);
                    return Kind::Context;
                }
                Some(b'\\') => return Kind::Context,
                // The hunk is shorter than it says: what follows is read anew.
                Some(_) => (self.removed, self.added) = (0, 0),
            }
        }
        if line.starts_with(b"diff --git ") {
            self.binary = false;
            return Kind::File;
        }
        if self.binary {
            return Kind::Binary;
        }
        if line == b"GIT binary patch" {
            self.binary = true;
            return Kind::Header;
        }
        if let Some((removed, added)) = hunk(line) {
            (self.removed, self.added) = (removed, added);
            return Kind::Hunk;
        }
        if line.first() == Some(&b'\\') {
            Kind::Context
        } else {
            Kind::Header
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (Kind, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (self.rest.get(..end)?, self.rest.get(end + 1..)?),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some((self.kind(line), line))
    }
}

/// Lines that `@@ -1,2 +3,4 @@` announces: of the old side, and of the new one.
fn hunk(line: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(line.get(..line.len().min(80))?)
        .ok()
        .or_else(|| {
            // What stands behind the second @@ is content.
            let end = line.windows(3).skip(3).position(|window| window == b" @@")? + 6;
            std::str::from_utf8(line.get(..end)?).ok()
        })?;
    let mut words = text.strip_prefix("@@ ")?.split(' ');
    let (old, new) = (words.next()?.strip_prefix('-')?, words.next()?.strip_prefix('+')?);
    words.next().filter(|word| *word == "@@")?;
    let count = |range: &str| match range.split_once(',') {
        Some((_, count)) => count.parse().ok(),
        None => Some(1),
    };
    Some((count(old)?, count(new)?))
}
