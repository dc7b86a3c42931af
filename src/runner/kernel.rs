//! Whether the kernel under a container is gVisor's own, so that a `RuntimeClass` with a misleading name is found out.
//!
//! Two signs that need no privilege, in gVisor's sources:
//! `pkg/sentry/fsimpl/proc/tasks_files.go` writes `/proc/version` without the builder and the compiler that every Linux
//! puts between release and version (`init/version-timestamp.c`), and with the fixed version of
//! `pkg/sentry/kernel/version/version.go`; `pkg/sentry/fsimpl/proc/tasks.go` adds `/proc/sentry-meminfo`, which no
//! Linux has. A gVisor that changes either is not recognised, which ends the run and never lets one pass.

use std::path::Path;

use super::text::escape;
use cofferdam_text::cut;

/// `LinuxVersion` of every gVisor so far.
const VERSION: &str = "#1 SMP Sun Jan 10 15:06:54 PST 2016";
/// What stands before the release.
const SYSNAME: &str = "Linux version ";
/// Memory of gVisor's kernel, the sentry.
const SENTRY_FILE: &str = "sentry-meminfo";
/// `/proc/version` is one line of a few hundred characters.
const VERSION_LIMIT: usize = 1024;

/// What a container sees of its kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `/proc/version`.
    pub version: String,
    /// Whether `/proc/sentry-meminfo` exists.
    pub has_sentry_file: bool,
}

impl Kernel {
    /// Reads the signs below `proc`. What cannot be read is no sign.
    pub fn of(proc: &Path) -> Self {
        let version = std::fs::read(proc.join("version")).unwrap_or_default();
        let version = String::from_utf8_lossy(&version);
        Self {
            version: cut(version.trim_end(), VERSION_LIMIT),
            has_sentry_file: proc.join(SENTRY_FILE).is_file(),
        }
    }

    /// Whether both signs are gVisor's.
    pub fn is_gvisor(&self) -> bool {
        self.has_sentry_file && is_sentry_version(&self.version)
    }

    /// What was found, for people.
    pub fn found(&self) -> String {
        format!(
            "/proc/version is `{}` and /proc/{SENTRY_FILE} {}",
            escape(self.version.as_bytes()),
            if self.has_sentry_file {
                "exists"
            } else {
                "does not exist"
            }
        )
    }
}

/// `Linux version RELEASE VERSION`, with nothing else between.
fn is_sentry_version(line: &str) -> bool {
    line.strip_prefix(SYSNAME)
        .and_then(|rest| rest.split_once(' '))
        .is_some_and(|(release, version)| !release.is_empty() && version == VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GVISOR: &str = "Linux version 4.19.0-gvisor #1 SMP Sun Jan 10 15:06:54 PST 2016";

    fn kernel(version: &str, has_sentry_file: bool) -> Kernel {
        Kernel {
            version: version.to_owned(),
            has_sentry_file,
        }
    }

    #[test]
    fn every_release_of_gvisor_is_recognised() {
        for version in [
            GVISOR,
            "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016",
            "Linux version 5.15.0-gvisor #1 SMP Sun Jan 10 15:06:54 PST 2016",
        ] {
            assert!(kernel(version, true).is_gvisor(), "{version}");
        }
    }

    #[test]
    fn no_linux_is_not_even_one_that_is_a_guest() {
        for version in [
            // A host under Firecracker, seen from runc.
            "Linux version 6.18.44-fc-v657 (builder@sandboxing) (gcc (GCC) 15.3.0, GNU ld (GNU Binutils) 2.46) #1 SMP PREEMPT_DYNAMIC @0",
            // Distributions' hosts.
            "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)",
            "Linux version 4.4.0-210-generic (buildd@lgw01-amd64-009) (gcc version 5.4.0 20160609 (Ubuntu 5.4.0-6ubuntu1~16.04.12) ) #242-Ubuntu SMP Fri Apr 16 09:57:56 UTC 2021",
            // Kata's guest kernel: a sandbox, but not this one.
            "Linux version 6.12.47 (@4bcec8f4443d) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04.2) 11.4.0, GNU ld (GNU Binutils for Ubuntu) 2.38) #1 SMP Fri Nov 14 15:34:06 UTC 2025",
            // Who builds a kernel chooses names and the version, but not that the builder is left out.
            "Linux version 4.19.0-gvisor (gvisor@gvisor) (gcc) #1 SMP Sun Jan 10 15:06:54 PST 2016",
            "Linux version  #1 SMP Sun Jan 10 15:06:54 PST 2016",
            "",
        ] {
            assert!(!kernel(version, true).is_gvisor(), "{version}");
        }
    }

    #[test]
    fn one_sign_is_not_enough() {
        assert!(!kernel(GVISOR, false).is_gvisor());
        assert!(kernel(GVISOR, true).is_gvisor());
    }

    #[test]
    fn what_was_found_is_read_from_proc_and_said() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(Kernel::of(proc.path()), kernel("", false));
        std::fs::write(proc.path().join("version"), format!("{GVISOR}\n")).unwrap();
        std::fs::write(proc.path().join("sentry-meminfo"), "Alloc: 1 kB\n").unwrap();
        assert!(Kernel::of(proc.path()).is_gvisor());
        let forged = kernel("Linux version 6\n\u{1b}[31m", false).found();
        assert_eq!(
            forged,
            "/proc/version is `Linux version 6\\u{a}\\u{1b}[31m` and /proc/sentry-meminfo does not exist"
        );
    }
}
