//! Brings what was written to the disk, and believes nothing of the volume after a sync that failed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, fstatvfs, syncfs};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::durable::{DiskError, sync_directory};

/// Files that are synced one by one; for more, one sync of the whole volume takes less time.
const FEW_FILES: usize = 2;
/// Files that are synced at the same time where the volume cannot be synced as a whole.
const PARALLEL_SYNCS: usize = 16;
/// The first Linux whose `syncfs` says that bytes were lost.
const HONEST_SYNCFS: (u32, u32) = (5, 8);

/// How often a lock that another process has is asked for.
const LOCK_TRIES: u32 = 20;
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Nothing that this process believes of the volume can be acknowledged any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the volume lost what was written to it; the archive starts again")]
pub struct Lost;

/// A file that was written to since the last sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// Whether the file, and with it its directory, may be new.
    pub is_new: bool,
}

/// How full a volume is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// What is used, by whatever.
    pub used: u64,
    /// All of it.
    pub all: u64,
}

impl Filled {
    /// Percent that is used once `more` bytes are, rounded up.
    pub fn percent(self, more: u64) -> u8 {
        let used = self.used.saturating_add(more).min(self.all.max(1));
        let percent = (u128::from(used) * 100).div_ceil(u128::from(self.all.max(1)));
        u8::try_from(percent).unwrap_or(u8::MAX)
    }
}

/// The volume. One process at a time.
#[derive(Debug)]
pub struct Volume {
    root: File,
    is_own: bool,
    syncs_whole: bool,
    lost: CancellationToken,
    _lock: File,
}

/// Takes the lock of the volume. Whoever held it may be ending just now: a process that it started has the lock as long as
/// it has not become another program.
fn take(lock: &File) -> io::Result<()> {
    for _ in 1..LOCK_TRIES {
        if flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(());
        }
        thread::sleep(LOCK_PAUSE);
    }
    Ok(flock(lock, FlockOperation::NonBlockingLockExclusive)?)
}

impl Volume {
    /// Takes the volume that is mounted at `data`.
    ///
    /// # Errors
    /// It cannot be used, or another process uses it.
    pub fn open(data: &Path) -> io::Result<Self> {
        let lock = File::create(data.join("lock"))?;
        take(&lock)?;
        Ok(Self {
            root: File::open(data)?,
            is_own: is_own(data),
            syncs_whole: is_own(data) && is_honest(),
            lost: CancellationToken::new(),
            _lock: lock,
        })
    }

    /// Ends when a sync has failed; the process is to end then.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives the volume up.
    pub fn give_up(&self) {
        self.lost.cancel();
    }

    /// Whether it is synced as a whole.
    #[cfg(feature = "testing")]
    pub fn syncs_whole(&self) -> bool {
        self.syncs_whole
    }

    /// Whether nobody else fills its file system.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// How full it is.
    pub fn filled(&self) -> io::Result<Filled> {
        let space = fstatvfs(&self.root)?;
        // As `df` has it: what only root may use is neither full nor free.
        let used = space.f_blocks.saturating_sub(space.f_bfree);
        let block = space.f_frsize.max(1);
        Ok(Filled {
            used: used.saturating_mul(block),
            all: used.saturating_add(space.f_bavail).saturating_mul(block),
        })
    }

    /// Looks at a result of work on the volume: after a sync that failed no result is to be believed.
    pub fn observe<T>(&self, result: &Result<T, DiskError>) -> Result<(), Lost> {
        if let Err(DiskError::Unsynced(error)) = result {
            tracing::error!(%error, "a sync failed: nothing more is acknowledged");
            self.lost.cancel();
        }
        if self.lost.is_cancelled() {
            Err(Lost)
        } else {
            Ok(())
        }
    }

    /// Brings these files, and the entries of their directories where they are new, to the disk.
    pub fn sync(&self, written: &[Written]) -> Result<(), Lost> {
        self.observe(&self.try_sync(written).map_err(DiskError::Unsynced))
    }

    fn try_sync(&self, written: &[Written]) -> io::Result<()> {
        if written.len() > FEW_FILES && self.syncs_whole {
            match syncfs(&self.root) {
                // A file system without it.
                Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {}
                synced => return Ok(synced?),
            }
        }
        sync_files(written)
    }
}

fn sync_files(written: &[Written]) -> io::Result<()> {
    if written.len() <= FEW_FILES {
        return written.iter().try_for_each(sync_file);
    }
    thread::scope(|scope| {
        let share = written.len().div_ceil(PARALLEL_SYNCS);
        let sync = |files: &'_ [Written]| files.iter().try_for_each(sync_file);
        let threads: Vec<_> = written
            .chunks(share)
            .map(|files| thread::Builder::new().spawn_scoped(scope, move || sync(files)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let broke_off = |_| Err(io::Error::other("a sync broke off"));
            thread?.join().unwrap_or_else(broke_off)
        })
    })
}

fn sync_file(written: &Written) -> io::Result<()> {
    File::options().write(true).open(&written.path)?.sync_data()?;
    if written.is_new {
        for directory in written.path.ancestors().skip(1).take(2) {
            sync_directory(directory).map_err(|error| match error {
                DiskError::Io(error) | DiskError::Unsynced(error) => error,
            })?;
        }
    }
    Ok(())
}

/// Whether this kernel tells of bytes that a sync of a whole file system lost.
fn is_honest() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .ok()
        .and_then(|release| version(&release))
        .is_some_and(|version| version >= HONEST_SYNCFS)
}

/// Whether nobody else writes to the file system, whose bytes a sync of all of it would wait for as well.
fn is_own(data: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    data.canonicalize()
        .is_ok_and(|data| is_file_system(&mounts, &data.to_string_lossy()))
}

/// Whether the root of a file system is mounted at `path`, not a directory of one that others use too (proc(5),
/// `mountinfo`).
fn is_file_system(mounts: &str, path: &str) -> bool {
    let mut at_path = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        (mount_point == path).then_some(root)
    });
    // What was mounted last is what is seen.
    at_path.next_back() == Some("/")
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(data: &Path, syncs_whole: bool) -> Volume {
        Volume {
            syncs_whole,
            ..Volume::open(data).unwrap()
        }
    }

    #[test]
    fn two_processes_do_not_share_a_volume() {
        let data = tempfile::tempdir().unwrap();
        let volume = Volume::open(data.path()).unwrap();
        assert!(Volume::open(data.path()).is_err());
        drop(volume);
        assert!(Volume::open(data.path()).is_ok());
    }

    #[test]
    fn fill_is_a_percentage() {
        let data = tempfile::tempdir().unwrap();
        let filled = Volume::open(data.path()).unwrap().filled().unwrap();
        assert!((1..=100).contains(&filled.percent(0)));
        assert_eq!(filled.percent(filled.all), 100);
        let small = Filled { used: 7, all: 1000 };
        assert_eq!((small.percent(0), small.percent(3), small.percent(4)), (1, 1, 2));
        assert_eq!(Filled { used: 0, all: 0 }.percent(u64::MAX), 100);
    }

    #[test]
    fn few_files_and_many_are_synced() {
        let data = tempfile::tempdir().unwrap();
        let files: Vec<Written> = (0..5)
            .map(|index| {
                let directory = data.path().join(format!("run-{index}"));
                fs::create_dir(&directory).unwrap();
                let path = directory.join("chain.jsonl");
                fs::write(&path, "line\n").unwrap();
                Written { path, is_new: true }
            })
            .collect();
        for syncs_whole in [true, false] {
            let volume = volume(data.path(), syncs_whole);
            for count in 0..files.len() {
                assert_eq!(volume.sync(&files[..count]), Ok(()));
            }
        }
    }

    /// `/dev/null` refuses to be synced.
    #[tokio::test]
    async fn sync_that_fails_is_the_end() {
        let data = tempfile::tempdir().unwrap();
        let volume = volume(data.path(), false);
        let path = data.path().join("chain.jsonl");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert_eq!(volume.sync(&[]), Ok(()));
        assert_eq!(volume.sync(&[Written { path, is_new: false }]), Err(Lost));
        assert_eq!(volume.sync(&[]), Err(Lost));
        assert_eq!(volume.observe(&Ok(())), Err(Lost));
        volume.lost().await;
    }

    #[test]
    fn directory_of_a_shared_file_system_is_no_volume_of_its_own() {
        let mounts = "\
            1 0 254:0 / / rw - ext4 /dev/vda rw\n\
            2 1 254:0 /var/lib/kubelet/pods/1/volumes/data /data rw,relatime - ext4 /dev/vda rw\n\
            3 1 254:16 / /own rw,relatime shared:5 - ext4 /dev/vdb rw\n\
            4 1 254:32 / /covered rw - ext4 /dev/vdc rw\n\
            5 4 254:0 /other /covered rw - ext4 /dev/vda rw\n";
        for (path, own) in [
            ("/data", false),
            ("/own", true),
            ("/covered", false),
            ("/own/runs", false),
            ("/", true),
        ] {
            assert_eq!(is_file_system(mounts, path), own, "{path}");
        }
        assert!(!is_file_system("", "/data") && !is_file_system("odd\n", "/data"));
    }

    #[test]
    fn versions_of_linux() {
        for (release, expected) in [
            ("6.18.44-fc\n", Some((6, 18))),
            ("5.8", Some((5, 8))),
            ("5", None),
            ("", None),
            ("x.y", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }
}
