//! The line of waiting runs, ordered by age: a treap (a search tree by age that is a heap by a random priority) in
//! which each node sums up its subtree. Every operation visits O(log n) nodes.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::RunKey;

/// Waiting runs.
#[derive(Debug, Default)]
pub(super) struct Line(Link);

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    run: Arc<RunKey>,
    ceiling: usize,
    is_asleep: bool,
    priority: u64,
    older: Link,
    younger: Link,
    sum: Sum,
}

/// What is known of all runs of a subtree.
#[derive(Clone, Copy, Debug)]
struct Sum {
    count: usize,
    /// The smallest ceiling.
    strictest: usize,
    any_asleep: bool,
}

impl Sum {
    const NONE: Self = Self {
        count: 0,
        strictest: usize::MAX,
        any_asleep: false,
    };

    fn of(link: &Link) -> Self {
        link.as_ref().map_or(Self::NONE, |node| node.sum)
    }

    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            strictest: self.strictest.min(other.strictest),
            any_asleep: self.any_asleep || other.any_asleep,
        }
    }

    /// Whether these, as the oldest runs of the line, are all of its front.
    const fn fits(self, live: usize) -> bool {
        self.strictest >= live + self.count
    }
}

impl Node {
    const fn own(&self) -> Sum {
        Sum {
            count: 1,
            strictest: self.ceiling,
            any_asleep: self.is_asleep,
        }
    }

    fn sum_up(&mut self) {
        visit();
        self.sum = Sum::of(&self.older).and(self.own()).and(Sum::of(&self.younger));
    }
}

impl Line {
    /// Runs in the line.
    pub fn len(&self) -> usize {
        Sum::of(&self.0).count
    }

    /// Puts a run that is not in the line into it; `is_awake`: it is to be looked at anyway.
    pub fn insert(&mut self, run: Arc<RunKey>, ceiling: usize, is_awake: bool) {
        // Nobody chooses a uid, so nobody chooses the shape of the tree.
        let mut hasher = DefaultHasher::new();
        run.uid.hash(&mut hasher);
        let (older, younger) = split(self.0.take(), &run);
        let mut node = Box::new(Node {
            run,
            ceiling,
            is_asleep: !is_awake,
            priority: hasher.finish(),
            older: None,
            younger: None,
            sum: Sum::NONE,
        });
        node.sum_up();
        self.0 = merge(merge(older, Some(node)), younger);
    }

    /// Takes a run out of the line, if it is in it.
    pub fn remove(&mut self, run: &RunKey) {
        self.0 = remove(self.0.take(), run);
    }

    /// Runs that are older than `run`.
    pub fn older(&self, run: &RunKey) -> usize {
        let (mut link, mut count) = (&self.0, 0);
        while let Some(node) = link {
            visit();
            link = if *node.run < *run {
                count += Sum::of(&node.older).count + 1;
                &node.younger
            } else {
                &node.older
            };
        }
        count
    }

    /// Length of the front where `live` runs hold a slot: of the longest prefix whose runs can all start, in any order.
    pub fn front(&self, live: usize) -> usize {
        // A longer prefix has more runs and no larger strictest ceiling: where one does not fit, no longer one does.
        let (mut link, mut prefix) = (&self.0, Sum::NONE);
        while let Some(node) = link {
            visit();
            let with_older = prefix.and(Sum::of(&node.older));
            let with_own = with_older.and(node.own());
            link = if with_own.fits(live) {
                prefix = with_own;
                &node.younger
            } else {
                &node.older
            };
        }
        prefix.count
    }

    /// The oldest run that sleeps, and how many are older than it.
    pub fn first_asleep(&self) -> Option<(usize, Arc<RunKey>)> {
        let (mut link, mut position) = (&self.0, 0);
        while let Some(node) = link {
            visit();
            if Sum::of(&node.older).any_asleep {
                link = &node.older;
                continue;
            }
            position += Sum::of(&node.older).count;
            if node.is_asleep {
                return Some((position, Arc::clone(&node.run)));
            }
            position += 1;
            link = &node.younger;
        }
        None
    }

    /// Notes that a run of the line was woken.
    pub fn rouse(&mut self, run: &RunKey) {
        rouse(&mut self.0, run);
    }
}

fn rouse(link: &mut Link, run: &RunKey) {
    let Some(node) = link else { return };
    match run.cmp(&node.run) {
        Ordering::Less => rouse(&mut node.older, run),
        Ordering::Equal => node.is_asleep = false,
        Ordering::Greater => rouse(&mut node.younger, run),
    }
    node.sum_up();
}

/// The runs that are older than `run`, and the others.
fn split(link: Link, run: &RunKey) -> (Link, Link) {
    let Some(mut node) = link else {
        return (None, None);
    };
    if *node.run < *run {
        let (older, younger) = split(node.younger.take(), run);
        node.younger = older;
        node.sum_up();
        (Some(node), younger)
    } else {
        let (older, younger) = split(node.older.take(), run);
        node.older = younger;
        node.sum_up();
        (older, Some(node))
    }
}

/// One tree of two, all of whose runs are older in the first.
fn merge(older: Link, younger: Link) -> Link {
    match (older, younger) {
        (None, link) | (link, None) => link,
        (Some(mut older), Some(younger)) if older.priority >= younger.priority => {
            older.younger = merge(older.younger.take(), Some(younger));
            older.sum_up();
            Some(older)
        }
        (older, Some(mut younger)) => {
            younger.older = merge(older, younger.older.take());
            younger.sum_up();
            Some(younger)
        }
    }
}

fn remove(link: Link, run: &RunKey) -> Link {
    let mut node = link?;
    match run.cmp(&node.run) {
        Ordering::Less => node.older = remove(node.older.take(), run),
        Ordering::Equal => return merge(node.older.take(), node.younger.take()),
        Ordering::Greater => node.younger = remove(node.younger.take(), run),
    }
    node.sum_up();
    Some(node)
}

#[cfg(not(test))]
const fn visit() {}

/// Counts nodes that are looked at, for tests of cost.
#[cfg(test)]
fn visit() {
    super::tests::VISITS.with(|visits| visits.set(visits.get() + 1));
}
