//! New files, as many of the newest as fit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::limits::Limits;

/// A new file or link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// When it was written last: seconds, nanoseconds.
    pub modified: (i64, i64),
    /// Path within the tree.
    pub path: Vec<u8>,
    /// Whether it is a symbolic link.
    pub link: bool,
}

/// The newest of the new files.
#[derive(Debug)]
pub struct Newest {
    oldest_first: BinaryHeap<Reverse<Candidate>>,
    files: usize,
    path_bytes: usize,
    held_bytes: usize,
}

impl Newest {
    /// Holds as many as `limits` say.
    pub const fn new(limits: &Limits) -> Self {
        Self {
            oldest_first: BinaryHeap::new(),
            files: limits.added_files,
            path_bytes: limits.added_path_bytes,
            held_bytes: 0,
        }
    }

    /// Takes `candidate`; gives what had to go for it, the oldest.
    pub fn push(&mut self, candidate: Candidate) -> Vec<Candidate> {
        self.held_bytes += candidate.path.len();
        self.oldest_first.push(Reverse(candidate));
        let mut gone = Vec::new();
        while self.oldest_first.len() > self.files || self.held_bytes > self.path_bytes {
            let Some(Reverse(oldest)) = self.oldest_first.pop() else {
                break;
            };
            self.held_bytes -= oldest.path.len();
            gone.push(oldest);
        }
        gone
    }

    /// All that are held, the newest first.
    pub fn into_newest_first(self) -> Vec<Candidate> {
        self.oldest_first
            .into_sorted_vec()
            .into_iter()
            .map(|Reverse(candidate)| candidate)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(time: i64, path: &str) -> Candidate {
        Candidate {
            modified: (time, 0),
            path: path.as_bytes().to_vec(),
            link: false,
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let limits = Limits {
            added_files: 3,
            added_path_bytes: 10,
            ..Limits::default()
        };
        let mut newest = Newest::new(&limits);
        assert_eq!(newest.push(candidate(2, "b")), []);
        assert_eq!(newest.push(candidate(1, "a")), []);
        assert_eq!(newest.push(candidate(3, "c")), []);
        assert_eq!(newest.push(candidate(4, "d")), [candidate(1, "a")]);
        assert_eq!(newest.push(candidate(0, "z")), [candidate(0, "z")]);
        // A long path takes the room of several.
        assert_eq!(
            newest.push(candidate(5, "longlong9")),
            [candidate(2, "b"), candidate(3, "c")]
        );
        let held = newest.into_newest_first();
        assert_eq!(held, [candidate(5, "longlong9"), candidate(4, "d")]);
    }
}
