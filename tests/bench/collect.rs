//! What collecting costs (docs/performance.md): `make bench-collect`. Each row is a tree of its own, made anew. The memory is
//! the most that this process and the git processes below it held together, seen every 5 ms.
//!
//! tests/bench/collect-gvisor.sh calls the parts in containers of their own, as `prepare`, an agent and the sidecar do
//! their work: `remote DIRECTORY DIRECTORIES EACH BYTES`, `prepare REMOTE PRISTINE TREE`, `change TREE`,
//! `fill TREE new|many|sparse` and `measure PRISTINE TREE SCRATCH NAME`.

mod proc;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cofferdam_api::CloneOptions;
use cofferdam_runner::clone::bytes::Bytes;
use cofferdam_runner::clone::{Transport, clone};
use cofferdam_runner::collect::limits::Limits;
use cofferdam_runner::collect::{Collection, Patch, collect, stat};
use cofferdam_runner::deadline::Deadline;
use cofferdam_runner::work_tree;

/// What the sidecar gives all work trees together, and how long nothing may go on.
const BUDGET: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_secs(20);

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    // Cargo says by a flag that this is a benchmark.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => all(),
        ["remote", directory, directories, each, bytes] => {
            let (directories, each, bytes) = (directories.parse()?, each.parse()?, bytes.parse()?);
            let remote = Path::new(directory);
            commit(remote, |root| lines(root, directories, each, bytes))?;
            // What is cloned is the repository alone.
            for number in 0..directories {
                fs::remove_dir_all(remote.join(format!("d{number}")))?;
            }
            Ok(())
        }
        ["prepare", remote, pristine, tree] => check_out(remote, Path::new(pristine), Path::new(tree)),
        ["change", tree] => change(Path::new(tree)),
        ["fill", tree, "new"] => files(&Path::new(tree).join("pkg"), 450, 110, 800),
        ["fill", tree, "many"] => files(&Path::new(tree).join("pkg"), 1000, 1000, 0),
        ["fill", tree, "sparse"] => {
            Ok(fs::File::create(Path::new(tree).join("disk.img"))?.set_len(20_000_000_000)?)
        }
        ["measure", pristine, tree, scratch, name] => {
            let collection = Collection::new((*pristine).into(), (*tree).into(), (*scratch).into());
            measure(&collection, name);
            Ok(())
        }
        other => Err(format!("no such part: {other:?}").into()),
    }
}

fn all() -> Result<(), Failed> {
    println!("| tree | seconds | MiB | files in the patch | left out | whole |");
    println!("|---|---|---|---|---|---|");
    let large = Tree::new(|root| files(root, 400, 150, 17_000))?;
    large.measure("60,000 files, 1 GB, nothing changed");
    change(&large.tree())?;
    large.measure("the same, 20 files changed");
    fs::remove_file(large.pristine().join("cofferdam-stat"))?;
    large.measure("the same, nothing known of its files");
    drop(large);
    let small = || Tree::new(|root| files(root, 1, 1, 10));
    let new = small()?;
    files(&new.tree().join("pkg"), 450, 110, 800)?;
    new.measure("49,500 new files of 800 bytes");
    drop(new);
    let many = small()?;
    files(&many.tree().join("pkg"), 1000, 1000, 0)?;
    many.measure("1,000,000 new empty files");
    drop(many);
    let sparse = small()?;
    fs::File::create(sparse.tree().join("disk.img"))?.set_len(20_000_000_000)?;
    sparse.measure("one sparse file of 20 GB");
    Ok(())
}

/// `directories` directories of `each` files of `bytes` bytes, no two of which are alike unless they are empty.
fn files(root: &Path, directories: usize, each: usize, bytes: usize) -> Result<(), Failed> {
    let mut state: u64 = 88_172_645_463_325_252;
    for directory in 0..directories {
        let directory = root.join(format!("d{directory}"));
        fs::create_dir_all(&directory)?;
        for file in 0..each {
            let mut content = Vec::with_capacity(bytes);
            while content.len() < bytes {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                writeln!(content, "{state:x}")?;
            }
            content.truncate(bytes);
            fs::write(directory.join(file.to_string()), content)?;
        }
    }
    Ok(())
}

/// The same number of files, each of one line many times: large trees that pack well.
fn lines(root: &Path, directories: usize, each: usize, bytes: usize) -> Result<(), Failed> {
    for directory in 0..directories {
        let place = root.join(format!("d{directory}"));
        fs::create_dir_all(&place)?;
        for file in 0..each {
            let line = format!("file {file} of directory {directory}, the same again and again\n");
            let mut content = line.repeat(bytes / line.len() + 1);
            content.truncate(bytes);
            fs::write(place.join(file.to_string()), content)?;
        }
    }
    Ok(())
}

/// What an agent changes: 20 files.
fn change(tree: &Path) -> Result<(), Failed> {
    for number in 0..20 {
        let file = tree.join(format!("d{number}/7"));
        fs::write(file, format!("changed {number}\n"))?;
    }
    Ok(())
}

/// Makes a repository of what `make` makes.
fn commit(remote: &Path, make: impl FnOnce(&Path) -> Result<(), Failed>) -> Result<(), Failed> {
    make(remote)?;
    let script = "git init -q -b main; git add .
        git -c user.name=a -c user.email=a@b.invalid -c gc.auto=0 commit -qm base";
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(remote)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the remote could not be made".into())
    }
}

/// Clones and checks out as `prepare` does.
fn check_out(remote: &str, pristine: &Path, tree: &Path) -> Result<(), Failed> {
    let started = Instant::now();
    fs::create_dir_all(tree)?;
    let deadline = Deadline::after(Duration::from_mins(30));
    let transport = Transport {
        proxy: None,
        certificates: None,
        protocols: "file",
    };
    let options = CloneOptions::default();
    let url = format!("file://{remote}");
    let cloned = clone(&url, None, &options, pristine, &transport, &deadline)?;
    let place = work_tree::Place {
        pristine,
        tree,
        url: &url,
    };
    work_tree::make(&place, &cloned, &options, &Bytes::new(u64::MAX), &deadline)?;
    let checked_out = started.elapsed();
    stat::record(pristine, tree, &deadline)?;
    let recorded = started.elapsed().saturating_sub(checked_out);
    eprintln!(
        "cloned and checked out in {:.1} s, recorded in {:.1} s",
        checked_out.as_secs_f64(),
        recorded.as_secs_f64()
    );
    Ok(())
}

fn measure(collection: &Collection, name: &str) {
    let started = Instant::now();
    let deadline = Deadline::after(BUDGET).with_patience(PATIENCE);
    let (patch, memory) = watched(|| collect(collection, &Limits::default(), &deadline));
    let seconds = started.elapsed().as_secs_f64();
    match patch {
        Ok(None) => println!("| {name} | | | no work tree | | |"),
        Ok(Some(Patch {
            facts,
            left_out,
            complete,
            ..
        })) => println!(
            "| {name} | {seconds:.1} | {memory} | {} | {} | {} |",
            facts.files,
            left_out.count,
            if complete { "yes" } else { "no" }
        ),
        Err(refusal) => println!("| {name} | {seconds:.1} | {memory} | {refusal} | | |"),
    }
}

/// A clone and its work tree.
struct Tree {
    directory: tempfile::TempDir,
}

impl Tree {
    fn new(make: impl FnOnce(&Path) -> Result<(), Failed>) -> Result<Self, Failed> {
        let tree = Self {
            directory: tempfile::tempdir()?,
        };
        let remote = tree.directory.path().join("remote");
        commit(&remote, make)?;
        check_out(&remote.display().to_string(), &tree.pristine(), &tree.tree())?;
        fs::remove_dir_all(&remote)?;
        Ok(tree)
    }

    fn tree(&self) -> PathBuf {
        self.directory.path().join("tree")
    }

    fn pristine(&self) -> PathBuf {
        self.directory.path().join("pristine.git")
    }

    fn measure(&self, name: &str) {
        let scratch = self.directory.path().join("scratch");
        measure(&Collection::new(self.pristine(), self.tree(), scratch), name);
    }
}

/// Does `work`; gives the most memory in MiB that this process and its children held meanwhile.
fn watched<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let (done, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (seen, noted) = (Arc::clone(&done), Arc::clone(&most));
    let watcher = std::thread::spawn(move || {
        while !seen.load(Ordering::Relaxed) {
            noted.fetch_max(held(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let result = work();
    done.store(true, Ordering::Relaxed);
    drop(watcher.join());
    (result, most.load(Ordering::Relaxed) / 1024)
}

/// KiB that this process and its children hold now.
fn held() -> u64 {
    let own = std::process::id();
    let children = proc::children(own);
    children.into_iter().chain([own]).filter_map(resident).sum()
}

/// KiB that a process holds; what it maps of files and what others map, too, counts nothing where the kernel tells it apart.
/// gVisor's does not.
fn resident(process: u32) -> Option<u64> {
    proc::status(process, "RssAnon:").or_else(|| proc::status(process, "VmRSS:"))
}
