//! How much the gateway takes on, from the descriptors and the memory that the process has. Pure but for one system call.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of the process itself: watches, calls to the archive, the resolver, files.
const OWN_DESCRIPTORS: u64 = 128;
/// Memory of a tunnel in which nothing moves, in bytes.
const IDLE_TUNNEL: u64 = 32 * 1024;
/// Most connections whose callers are not known yet.
const MOST_PENDING: u64 = 512;
/// Most connections that are kept for the control routes.
const MOST_CONTROL: u64 = 4096;
/// Least of each, so that a gateway with next to nothing still serves somebody.
const LEAST: u64 = 16;

/// What the gateway takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections of all runs to the outside at the same time.
    pub exits: usize,
    /// Connections whose callers are not known yet.
    pub pending: usize,
    /// Connections that are kept for the control routes.
    pub control: usize,
    /// Bytes in flight of all runs.
    pub in_flight: u64,
}

impl Capacity {
    /// What fits into so many descriptors and bytes of memory: half of the memory is for tunnels in which nothing
    /// moves, a quarter for bytes in flight, the rest for everything else.
    pub fn of(descriptors: u64, memory: u64) -> Self {
        let free = descriptors.saturating_sub(OWN_DESCRIPTORS);
        let pending = (free / 8).clamp(LEAST, MOST_PENDING);
        let control = (free / 8).clamp(LEAST, MOST_CONTROL);
        // Two descriptors a tunnel: one to the sandbox, one to the host.
        let by_descriptors = free.saturating_sub(pending + control) / 2;
        let by_memory = memory / 2 / IDLE_TUNNEL;
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            exits: count(by_descriptors.min(by_memory).max(LEAST)),
            pending: count(pending),
            control: count(control),
            in_flight: memory / 4,
        }
    }

    /// Connections that are accepted at the same time.
    pub fn accepted(&self) -> usize {
        self.exits + self.pending + self.control
    }
}

/// Raises the soft limit of descriptors to the hard one, and gives what holds then.
pub fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // `None` is without limit.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            current.unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const MEMORY: u64 = 512 << 20;

    #[rstest]
    #[case::small_soft_limit(1_024, MEMORY, (336, 112, 112))]
    #[case::memory_decides(1 << 20, MEMORY, (8_192, 512, 4_096))]
    #[case::no_limit(u64::MAX, MEMORY, (8_192, 512, 4_096))]
    #[case::next_to_nothing(64, 1 << 20, (16, 16, 16))]
    fn capacities(#[case] descriptors: u64, #[case] memory: u64, #[case] expected: (usize, usize, usize)) {
        let capacity = Capacity::of(descriptors, memory);
        assert_eq!((capacity.exits, capacity.pending, capacity.control), expected);
        assert_eq!(capacity.in_flight, memory / 4);
    }

    #[test]
    fn soft_limit_is_raised_to_the_hard_one() {
        let raised = raise_descriptors();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(raised, maximum.unwrap_or(u64::MAX));
    }

    proptest! {
        #[test]
        fn descriptors_suffice(descriptors in 300u64..2_000_000, memory in (64u64 << 20)..(8 << 30)) {
            let capacity = Capacity::of(descriptors, memory);
            let needed = 2 * capacity.exits + capacity.pending + capacity.control;
            prop_assert!(needed as u64 + OWN_DESCRIPTORS <= descriptors);
        }
    }
}
