use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use cofferdam_api::CloneOptions;
use cofferdam_wire::runner::Exclude;

use super::*;
use crate::clone::clone;
use crate::collect::{Collection, collect, stat};
use crate::testing::sh;
use crate::work_tree;

const CONTENT: &[u8] = b"a content that git does not keep\n";

/// A proxy behind whose tunnels one server speaks plain HTTP as the Git LFS server of every host; what it was asked is
/// kept: host, method, path.
fn serve(answer: impl Fn(&str, &str) -> Vec<u8> + Send + 'static) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (host, _, _) = head(&stream);
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .unwrap();
            let (method, target, body) = head(&stream);
            kept.lock().unwrap().push(format!("{host} {method} {target}"));
            // A client that has seen enough may be gone.
            let _ = stream.write_all(&answer(&format!("{host}{target}"), &body));
        }
    });
    (address, asked)
}

/// Target of a CONNECT, or method and target of another request, and its body.
fn head(stream: &TcpStream) -> (String, String, String) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        match header.trim_end().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["CONNECT", target, _] => ((*target).to_owned(), String::new(), String::new()),
        [method, target, _] => (
            (*method).to_owned(),
            (*target).to_owned(),
            String::from_utf8(body).unwrap(),
        ),
        other => panic!("{other:?}"),
    }
}

fn answered(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What a sound server says: objects are at `storage.test`, and each has this content.
fn sound(content: &'static [u8]) -> impl Fn(&str, &str) -> Vec<u8> + Send + 'static {
    move |what, body| {
        if what.starts_with("storage.test:80/") {
            return answered("200 OK", content);
        }
        let asked: serde_json::Value = serde_json::from_str(body).unwrap();
        let objects = asked["objects"].as_array().unwrap().iter().map(|object| {
            let href = format!("http://storage.test/{}?signed=1", object["oid"].as_str().unwrap());
            serde_json::json!({"oid": object["oid"], "size": object["size"],
                "actions": {"download": {"href": href, "header": {"X-Signed": "yes"}}}})
        });
        let answer = serde_json::json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()});
        answered("200 OK", answer.to_string().as_bytes())
    }
}

/// A repository with two pointers to one content, one of them executable, a pointer of no attribute, and other files.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let oid = hexadecimal(&Sha256::digest(CONTENT));
        sh(
            root,
            &format!(
                "git init -q -b main r; cd r; mkdir d
                 printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:{oid}\\nsize {}\\n' >a.bin
                 cp a.bin d/b.bin; chmod +x d/b.bin; cp a.bin plain; echo '*.bin filter=lfs -text' >.gitattributes
                 echo small >small.bin; git add .; git commit -qm base",
                CONTENT.len()
            ),
        );
        let world = Self { directory };
        let deadline = Deadline::after(Duration::from_mins(1));
        fs::create_dir(world.tree()).unwrap();
        let url = format!("file://{}/r", world.directory.path().display());
        let transport = Transport {
            proxy: None,
            certificates: None,
            protocols: "file",
        };
        let options = CloneOptions::default();
        let cloned = clone(&url, None, &options, &world.pristine(), &transport, &deadline).unwrap();
        let (pristine, tree) = (world.pristine(), world.tree());
        let place = work_tree::Place {
            pristine: &pristine,
            tree: &tree,
            url: &url,
        };
        work_tree::make(&place, &cloned, &options, &Held::new(u64::MAX), &deadline).unwrap();
        world
    }

    fn pristine(&self) -> PathBuf {
        self.directory.path().join("p.git")
    }

    fn tree(&self) -> PathBuf {
        self.directory.path().join("t")
    }

    async fn fetch(
        &self,
        proxy: SocketAddr,
        limit: u64,
        layer: Option<&'static str>,
    ) -> Result<usize, LfsError> {
        let (pristine, tree) = (self.pristine(), self.tree());
        tokio::task::spawn_blocking(move || {
            let transport = Transport {
                proxy: Some(format!("http://{proxy}")),
                certificates: None,
                protocols: "http",
            };
            let repository = work_tree::Place {
                pristine: &pristine,
                tree: &tree,
                url: "http://git.test/team/app",
            };
            let granted = |host: &str, port: u16| match layer {
                Some(layer) if (host, port) == ("storage.test", 80) => Err(layer.to_owned()),
                _ => Ok(()),
            };
            let deadline = Deadline::after(Duration::from_mins(1));
            fetch(&repository, &transport, &Held::new(limit), granted, &deadline)
        })
        .await
        .unwrap()
    }

    /// What the agent's own git calls changed.
    fn status(&self) -> String {
        sh(&self.tree(), "git -c safe.directory='*' status --porcelain")
    }

    fn touched(&self, script: &str) -> (u32, u64) {
        sh(&self.tree(), script);
        let scratch = self.directory.path().join("scratch");
        let collection = Collection {
            exclude: Exclude::default(),
            ..Collection::new(self.pristine(), self.tree(), scratch)
        };
        let deadline = Deadline::after(Duration::from_mins(1));
        let patch = collect(&collection, &Limits::default(), &deadline)
            .unwrap()
            .unwrap();
        (patch.facts.files, patch.lfs_files)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_come_to_the_places_of_their_pointers_and_are_no_change() {
    let world = World::new();
    let (proxy, asked) = serve(sound(CONTENT));
    assert_eq!(world.fetch(proxy, 1 << 20, None).await.unwrap(), 2);
    for path in ["a.bin", "d/b.bin"] {
        assert_eq!(fs::read(world.tree().join(path)).unwrap(), CONTENT);
    }
    assert!(
        fs::read(world.tree().join("plain"))
            .unwrap()
            .starts_with(b"version "),
        "of no attribute"
    );
    let mode = sh(&world.tree(), "stat -c %A d/b.bin");
    assert!(mode.starts_with("-rwx"), "{mode}");
    // One content, once; and nothing is left beside the files.
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[0], "git.test:80 POST /team/app.git/info/lfs/objects/batch");
    assert!(
        asked[1].starts_with("storage.test:80 GET /") && asked[1].ends_with("?signed=1"),
        "{}",
        asked[1]
    );
    assert!(!world.tree().join(".git/lfs").exists());
    assert_eq!(world.status(), "");
    stat::record(
        &world.pristine(),
        &world.tree(),
        &Deadline::after(Duration::from_mins(1)),
    )
    .unwrap();
    assert_eq!(world.touched("true"), (0, 0));
    // Known by its content where the file system says something else.
    assert_eq!(
        world.touched("touch a.bin; cp d/b.bin x; mv x d/b.bin; chmod +x d/b.bin"),
        (0, 0)
    );
    assert_eq!(world.touched("echo more >>a.bin"), (1, 1));
}

#[test]
fn contents_are_read_as_git_prints_them() {
    let printed = b"aa blob 3\na\nb\nbb blob 0\n\ncc blob 2\nxy\n";
    let read: Vec<&[u8]> = contents(printed).collect();
    assert_eq!(read, [b"a\nb".as_slice(), b"", b"xy"]);
    assert_eq!(contents(b"aa missing\n").count(), 0);
    assert_eq!(contents(b"aa blob 9\nshort\n").count(), 0);
}

#[test]
fn a_server_frames_no_request() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Expect",
        "Upgrade",
        "Proxy-Authorization",
    ] {
        assert_eq!(given(name, "x"), None, "{name}");
    }
    assert!(given("Authorization", "RemoteAuth x").is_some() && given("X-Amz-Date", "1").is_some());
    assert!(given("bad name", "x").is_none() && given("X-Y", "a\r\nb").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_tried_again_only_where_it_may_pass() {
    type Answer = Box<dyn Fn(&str, &str) -> Vec<u8> + Send>;
    let of = |answer: Answer, words: &'static str, passes: bool| (answer, words, passes);
    let storage = |status: &'static str| -> Answer {
        let sound = sound(CONTENT);
        Box::new(move |what, body| {
            if what.starts_with("storage.test") {
                answered(status, b"")
            } else {
                sound(what, body)
            }
        })
    };
    for (answer, words, passes) in [
        of(
            Box::new(|_, _| answered("401 Unauthorized", b"{}")),
            "answers 401",
            false,
        ),
        of(
            Box::new(|_, _| answered("404 Not Found", b"<html>")),
            "set clone.lfs to Pointers",
            false,
        ),
        of(Box::new(|_, _| answered("302 Found", b"")), "answers 302", false),
        of(
            Box::new(|_, _| answered("200 OK", b"<html>")),
            "cannot be read",
            false,
        ),
        of(Box::new(|_, _| answered("503 Busy", b"")), "answers 503", true),
        of(storage("403 Forbidden"), "answers 403", false),
        of(storage("503 Busy"), "answers 503", true),
        of(
            Box::new(sound(b"a content that git does not keeq\n")),
            "has another content",
            false,
        ),
        of(
            Box::new(sound(b"a content that git does not keep, and more\n")),
            "has another content",
            false,
        ),
        of(Box::new(sound(b"short")), "ended early", true),
    ] {
        let world = World::new();
        let (proxy, asked) = serve(answer);
        let error = world.fetch(proxy, 1 << 20, None).await.unwrap_err();
        assert!(
            error.to_string().contains(words) && error.passes() == passes,
            "{words}: {error}"
        );
        let tries = asked.lock().unwrap().len();
        assert!(if passes { tries >= 3 } else { tries <= 2 }, "{words}: {tries}");
        assert!(
            fs::read(world.tree().join("a.bin"))
                .unwrap()
                .starts_with(b"version ")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_hosts_are_held_to_what_policy_says() {
    let world = World::new();
    let (proxy, asked) = serve(sound(CONTENT));
    // Twice the content, for it stands in two places.
    let error = world
        .fetch(proxy, 2 * CONTENT.len() as u64 - 1, None)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("limits.maxCloneBytes") && !error.passes(),
        "{error}"
    );
    assert!(asked.lock().unwrap().is_empty(), "nothing is asked before that");
    let error = world
        .fetch(proxy, 1 << 20, Some("SandboxPolicy/default"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("storage.test:80, which is not granted by SandboxPolicy/default"),
        "{error}"
    );
    assert!(
        asked
            .lock()
            .unwrap()
            .iter()
            .all(|asked| !asked.starts_with("storage"))
    );
    // The control.
    assert_eq!(
        world.fetch(proxy, 2 * CONTENT.len() as u64, None).await.unwrap(),
        2
    );
}
