//! Nothing outside reads the memory of this process, which holds credentials and the key of an authority.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dumps, and no reading by other processes of the same user.
///
/// # Errors
/// The kernel refuses.
pub fn keep_memory_private() -> Result<(), Errno> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{dumpable_behavior, getrlimit};

    #[test]
    fn the_process_leaves_no_core_behind() {
        keep_memory_private().unwrap();
        let limit = getrlimit(Resource::Core);
        // Many start without core dumps; what nobody can raise again is this process's own doing.
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
