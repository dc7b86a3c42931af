use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

/// A remote with a branch `main`, a branch `feature/x`, an annotated tag `v1`, and an older commit.
struct Remote {
    directory: tempfile::TempDir,
    first: String,
    main: String,
    feature: String,
}

fn sh(directory: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "a")
        .env("GIT_AUTHOR_EMAIL", "a@b.invalid")
        .env("GIT_COMMITTER_NAME", "a")
        .env("GIT_COMMITTER_EMAIL", "a@b.invalid")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn remote() -> Remote {
    let directory = tempfile::tempdir().unwrap();
    let commits = sh(
        directory.path(),
        "git init -q -b main r; cd r
         echo one >a; git add a; git commit -qm one; git rev-parse HEAD
         echo two >a; git commit -qam two; git rev-parse HEAD; git tag -am v1 v1
         git checkout -qb feature/x; echo three >a; git commit -qam three; git rev-parse HEAD
         git checkout -q main; git update-ref refs/odd/refs/heads/hidden HEAD",
    );
    let mut commits = commits.lines().map(str::to_owned);
    Remote {
        directory,
        first: commits.next().unwrap(),
        main: commits.next().unwrap(),
        feature: commits.next().unwrap(),
    }
}

impl Remote {
    fn clone(&self, reference: Option<&str>) -> Result<Cloned, CloneError> {
        let url = format!("file://{}/r", self.directory.path().display());
        clone(
            &url,
            reference,
            &self.directory.path().join("pristine.git"),
            &transport("file"),
            &Deadline::after(Duration::from_secs(30)),
        )
    }
}

fn transport(protocols: &'static str) -> Transport {
    Transport {
        proxy: None,
        certificates: None,
        protocols,
    }
}

#[test]
fn a_branch_a_tag_a_commit_and_the_head_are_found() {
    let remote = remote();
    for (reference, commit, branch, remote_branch) in [
        (None, &remote.main, "main", true),
        (Some("feature/x"), &remote.feature, "feature/x", true),
        (Some("refs/heads/feature/x"), &remote.feature, "feature/x", true),
        (Some("v1"), &remote.main, "work", false),
        (Some(remote.main.as_str()), &remote.main, "work", false),
        // A remote gives older commits by id only if it is told to; then all its branches are fetched.
        (Some(remote.first.as_str()), &remote.first, "work", false),
    ] {
        let cloned = remote.clone(reference).unwrap();
        assert_eq!(
            (
                cloned.commit.as_str(),
                cloned.branch.as_str(),
                cloned.remote_branch
            ),
            (commit.as_str(), branch, remote_branch)
        );
    }
}

#[test]
fn what_the_remote_does_not_have_is_said_at_once() {
    let remote = remote();
    let started = std::time::Instant::now();
    assert!(matches!(
        remote.clone(Some("nothing")),
        Err(CloneError::NotFound(_))
    ));
    assert!(matches!(
        remote.clone(Some("hidden")),
        Err(CloneError::NotFound(_))
    ));
    assert!(started.elapsed() < Duration::from_secs(1));
    let absent = "1234567890123456789012345678901234567890";
    assert!(matches!(remote.clone(Some(absent)), Err(CloneError::NotFound(_))));
    sh(remote.directory.path(), "rm -rf r; git init -q -b main r");
    assert!(matches!(remote.clone(None), Err(CloneError::Empty)));
}

#[test]
fn an_unreachable_remote_is_tried_three_times() {
    let remote = remote();
    std::fs::remove_dir_all(remote.directory.path().join("r")).unwrap();
    let started = std::time::Instant::now();
    let error = remote.clone(None).unwrap_err();
    assert!(
        matches!(error, CloneError::Git(GitError::Failed { .. })),
        "{error}"
    );
    assert!(started.elapsed() >= Duration::from_secs(3));
}

#[test]
fn other_protocols_are_refused() {
    let remote = remote();
    let url = format!("file://{}/r", remote.directory.path().display());
    let error = clone(
        &url,
        None,
        &remote.directory.path().join("pristine.git"),
        &transport("https"),
        &Deadline::after(Duration::from_secs(30)),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("transport 'file' not allowed"),
        "{error}"
    );
}

/// A web server on loopback that says of everything below `/moved` that it is below `/there`, where nothing is. Gives its
/// address and what it is asked for.
fn mover() -> (std::net::SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, paths) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            let mut head = BufReader::new(stream.try_clone().unwrap());
            head.read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let answer = path.strip_prefix("/moved").map_or_else(
                || "404 Not Found\r\n".to_owned(),
                |rest| format!("302 Found\r\nLocation: http://{address}/there{rest}\r\n"),
            );
            write!(
                stream,
                "HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            if asked.send(path.to_owned()).is_err() {
                return;
            }
        }
    });
    (address, paths)
}

#[test]
fn redirects_are_not_followed() {
    let (address, paths) = mover();
    let directory = tempfile::tempdir().unwrap();
    let ask = |path: &str| {
        let asked = clone(
            &format!("http://{address}{path}"),
            None,
            &directory.path().join("pristine.git"),
            &transport("http"),
            &Deadline::after(Duration::from_secs(30)),
        );
        (
            asked.unwrap_err().to_string(),
            paths.try_iter().collect::<Vec<_>>(),
        )
    };
    let (error, asked) = ask("/moved/code.git");
    assert!(error.contains("302"), "{error}");
    assert!(
        !asked.is_empty() && asked.iter().all(|path| path.starts_with("/moved/")),
        "{asked:?}"
    );
    // The control: who asks for the other place reaches it.
    let (error, asked) = ask("/there/code.git");
    assert!(error.contains("not found"), "{error}");
    assert!(asked.iter().any(|path| path.starts_with("/there/")), "{asked:?}");
}

#[test]
fn objects_are_checked() {
    let remote = remote();
    // A tree with an entry `.git`, which no honest tool makes.
    sh(
        remote.directory.path(),
        "cd r; blob=$(git rev-parse HEAD:a)
         tree=$(printf '100644 blob %s\\t.git\\n' \"$blob\" | git mktree)
         git update-ref refs/heads/evil \"$(git commit-tree -m evil \"$tree\")\"",
    );
    let error = remote.clone(Some("evil")).unwrap_err();
    assert!(error.to_string().starts_with("git fetch"), "{error}");
}
