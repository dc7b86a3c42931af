//! What has a bound, what moves, and what cannot be read.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cofferdam_runner::collect::limits::Limits;
use cofferdam_runner::collect::{Collection, collect};
use cofferdam_runner::deadline::Deadline;

use crate::world::{World, code, named};
use cofferdam_runner::testing::sh;

/// At a new path they are left out, beside a change that arrives; in the place of a tracked file they refuse the tree.
#[test]
fn a_socket_and_a_device_are_left_out() {
    let world = World::new();
    fs::write(world.tree().join("README"), "changed\n").unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(world.tree().join("socket")).unwrap();
    let patch = world.collect().unwrap();
    assert_eq!(named(&patch), [("socket".to_owned(), "SpecialFile")]);
    assert_eq!(patch.facts.files, 1);
    world.assert_exact(&patch, &["socket"]);

    let made = |path: &str| {
        Command::new("mknod")
            .args([path, "c", "1", "5"])
            .current_dir(world.tree())
            .status()
            .unwrap()
            .success()
    };
    // Making a device needs root; CI has it.
    if made("zero") {
        let patch = world.collect().unwrap();
        let named = named(&patch);
        let all = ["socket", "zero"].map(|path| (path.to_owned(), "SpecialFile"));
        assert_eq!(named, all);
    }

    let world = World::new();
    fs::remove_file(world.tree().join("README")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(world.tree().join("README")).unwrap();
    let refusal = world.collect().unwrap_err();
    assert_eq!(
        refusal.to_string().split(';').next().unwrap(),
        "README is a socket"
    );
}

#[test]
fn what_the_base_commit_ignores_may_be_of_any_kind_and_number() {
    let world = World::new();
    sh(
        &world.tree(),
        "mkfifo a.log; mkdir -p build/.GIT; truncate -s 1T build/sparse; ln README build/link; rm build/link
         cd build; n=0; while [ $n -lt 3000 ]; do : >$n; n=$((n + 1)); done",
    );
    let limits = Limits {
        added_files: 10,
        ..Limits::default()
    };
    assert_eq!(world.collect_with(&limits, false).unwrap().facts.bytes, 0);
}

#[test]
fn totals_are_bounded() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    // What each bound leaves of three files of 1000 bytes, the newest of which is called `two`, and of a change.
    for (limits, left, reason) in [
        (limits(|limits| limits.total_bytes = 2500), 2, "TreeTooLarge"),
        (limits(|limits| limits.patch_bytes = 2300), 1, "PatchTooLarge"),
        (limits(|limits| limits.added_files = 2), 2, "TooManyFiles"),
        (limits(|limits| limits.added_path_bytes = 10), 2, "TooManyFiles"),
        (limits(|limits| limits.file_bytes = 999), 0, "FileTooLarge"),
        (limits(|limits| limits.path_bytes = 15), 2, "PathTooLong"),
        (limits(|_| {}), 3, ""),
    ] {
        let world = World::new();
        for name in ["three-is-longest", "one", "two"] {
            fs::write(world.tree().join(name), vec![b'x'; 1000]).unwrap();
        }
        // The oldest: not by the clock of the file system, which may be coarse.
        for (name, seconds) in [("three-is-longest", 1), ("one", 2), ("two", 3)] {
            let file = fs::File::options()
                .write(true)
                .open(world.tree().join(name))
                .unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
                .unwrap();
        }
        fs::write(world.tree().join("README"), "changed\n").unwrap();
        let patch = world.collect_with(&limits, false).unwrap();
        assert_eq!(patch.facts.files, left + 1, "{reason}");
        let reasons: Vec<&str> = named(&patch).iter().map(|(_, reason)| *reason).collect();
        assert_eq!(reasons, vec![reason; 3 - left as usize]);
        let mut absent: Vec<String> = named(&patch).into_iter().map(|(path, _)| path).collect();
        world.assert_exact(&patch, &absent.iter().map(String::as_str).collect::<Vec<_>>());
        // The oldest had to go.
        absent.retain(|path| path == "two");
        assert!(left == 0 || absent.is_empty(), "{reason}");
    }
}

/// Beyond the bound of entries new files are not found, and the patch says that it is partial; changes of tracked files
/// are in it.
#[test]
fn entries_are_bounded() {
    let world = World::new();
    for number in 0..2000 {
        fs::write(world.tree().join(format!("new-{number}")), "x\n").unwrap();
    }
    fs::write(world.tree().join("README"), "changed\n").unwrap();
    let limits = Limits {
        entries: 1000,
        ..Limits::default()
    };
    let patch = world.collect_with(&limits, false).unwrap();
    assert!(!patch.complete);
    assert_eq!(named(&patch).last().unwrap().1, "TooManyEntries");
    let text = String::from_utf8(fs::read(&patch.file).unwrap()).unwrap();
    assert!(text.contains("+changed\n"));
    assert!((900..=1001).contains(&patch.facts.files), "{}", patch.facts.files);
}

/// A tracked file that is too large cannot be left out: the patch would say that it did not change.
#[test]
fn a_tracked_file_beyond_the_bounds_refuses_the_tree() {
    let world = World::new();
    fs::write(world.tree().join("README"), vec![b'x'; 1000]).unwrap();
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    for (limits, expected) in [
        (limits(|limits| limits.file_bytes = 999), "FileTooLarge"),
        (limits(|limits| limits.total_bytes = 999), "TreeTooLarge"),
        (limits(|limits| limits.patch_bytes = 999), "PatchTooLarge"),
        (limits(|_| {}), "exact"),
    ] {
        assert_eq!(code(&world.collect_with(&limits, false)), expected);
    }
}

#[test]
fn the_deadline_is_kept() {
    let world = World::new();
    world.make("many_files");
    let collection = Collection::new(world.pristine(), world.tree(), world.root().join("scratch"));
    let limits = Limits {
        added_files: 1_000_000,
        ..Limits::default()
    };
    fs::write(world.tree().join("README"), "changed\n").unwrap();
    let started = Instant::now();
    let patch = collect(
        &collection,
        &limits,
        &Deadline::after(Duration::from_millis(1500)),
    )
    .unwrap()
    .unwrap();
    assert!(!patch.complete);
    let text = String::from_utf8(fs::read(&patch.file).unwrap()).unwrap();
    assert!(
        text.contains("+changed\n"),
        "the change of a tracked file comes first"
    );
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

/// A new file whose writer never rests: left out once the agent has ended (then nobody may write), taken as it was
/// read while the agent lives.
#[test]
fn a_file_that_never_holds_still() {
    let world = World::new();
    let path = world.tree().join("restless");
    fs::write(&path, vec![b'a'; 4_000_000]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (seen, target) = (Arc::clone(&stop), path.clone());
    let writer = std::thread::spawn(move || {
        let mut file = fs::OpenOptions::new().append(true).open(target).unwrap();
        while !seen.load(Ordering::Relaxed) {
            file.write_all(b"b").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let last = world.collect_with(&Limits::default(), false);
    let live = world.collect_with(&Limits::default(), true);
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(named(&last.unwrap()), [("restless".to_owned(), "Unstable")]);
    assert_eq!(named(&live.unwrap()), []);
}

/// A path that is a file, a link out, a FIFO and a directory in turn: whatever the walker meets, it reads nothing
/// of what the link leads to and does not hang.
#[test]
fn exchanging_files_for_links_leads_nowhere() {
    let world = World::new();
    let secret = world.root().join("secret");
    fs::write(&secret, "the-secret-outside\n").unwrap();
    let (tree, stop) = (world.tree(), Arc::new(AtomicBool::new(false)));
    sh(&tree, "mkdir flip; echo x >flip/file");
    let (seen, root) = (Arc::clone(&stop), world.root().to_owned());
    let flipper = std::thread::spawn(move || {
        let (path, other) = (tree.join("swap"), tree.join("flip"));
        while !seen.load(Ordering::Relaxed) {
            let _ = fs::remove_file(&path);
            let _ = fs::write(&path, "harmless\n");
            let _ = fs::remove_file(&path);
            let _ = std::os::unix::fs::symlink(root.join("secret"), &path);
            let _ = fs::rename(&other, root.join("aside"));
            let _ = std::os::unix::fs::symlink(&root, &other);
            let _ = fs::remove_file(&other);
            let _ = fs::rename(root.join("aside"), &other);
        }
    });
    for _ in 0..15 {
        match world.collect_with(&Limits::default(), true) {
            Ok(patch) => {
                let text = String::from_utf8(fs::read(&patch.file).unwrap()).unwrap();
                assert!(!text.contains("the-secret-outside"), "{text}");
                assert!(!text.contains("pristine.git"), "{text}");
            }
            Err(refusal) => assert_eq!(refusal.code(), "Unstable", "{refusal}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    flipper.join().unwrap();
}

/// Root may read everything; without that power, what the agent locks is refused by name where it is tracked, and left
/// out where it is new.
#[test]
fn what_cannot_be_read_is_refused_or_left_out() {
    for (locked, tracked) in [("README", true), ("dir", true), ("new", false), ("secret", false)] {
        let world = World::new();
        fs::write(world.tree().join("bin/run"), "changed\n").unwrap();
        fs::write(world.tree().join("new"), "new\n").unwrap();
        fs::create_dir(world.tree().join("secret")).unwrap();
        fs::write(world.tree().join("secret/key"), "new\n").unwrap();
        fs::set_permissions(world.tree().join(locked), fs::Permissions::from_mode(0o0)).unwrap();
        let result = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    drop_power_over_files();
                    world.collect()
                })
                .join()
                .unwrap()
        });
        fs::set_permissions(world.tree().join(locked), fs::Permissions::from_mode(0o700)).unwrap();
        if tracked {
            let refusal = result.unwrap_err();
            assert_eq!(refusal.code(), "Unreadable");
            assert!(refusal.to_string().contains(locked), "{refusal}");
        } else {
            let patch = result.unwrap();
            assert_eq!(named(&patch), [(locked.to_owned(), "Unreadable")]);
            // The change and the other new file.
            assert_eq!(patch.facts.files, 2);
        }
    }
}

/// Takes from this thread alone root's right to read and enter everything.
fn drop_power_over_files() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    sets.effective
        .remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).unwrap();
}

#[test]
fn unchanged_content_is_not_written_again() {
    let world = World::new();
    let objects = || {
        let git = "git -C pristine.git count-objects -v";
        let counted = sh(
            world.root(),
            &format!("{git} | awk '/^(count|in-pack):/ {{ n += $2 }} END {{ print n }}'"),
        );
        counted.trim().parse::<u32>().unwrap()
    };
    let before = objects();
    let patch = world.collect().unwrap();
    assert_eq!((patch.facts.bytes, patch.facts.files), (0, 0));
    assert_eq!(objects(), before);
    fs::write(world.tree().join("README"), "changed\nand more\n").unwrap();
    let patch = world.collect().unwrap();
    let facts = patch.facts;
    assert_eq!((facts.files, facts.insertions, facts.deletions), (1, 2, 1));
    // The blob and the root's tree.
    assert_eq!(objects(), before + 2);
}
