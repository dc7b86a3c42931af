//! A forge on loopback: git's own server program behind a web server that can also answer as forges do on bad days.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::testing::sh;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As git's server program does.
    Git,
    /// As a server that knows only the first version of the protocol.
    OldGit,
    /// Always with this status.
    Status(u16),
    /// With this status for the first requests, then as git.
    StatusFirst(u16, usize),
    /// A path without `.git` with a redirect to the one with it.
    Redirect(u16),
    /// Everything with a redirect to a page to log in.
    LogIn,
    /// With a page to log in.
    Page,
    /// As git, and of the objects the first half alone: then it says nothing.
    Silent,
}

/// A request.
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Serves the repositories below `root`; gives its address and the paths that it is asked for.
pub fn serve(root: &Path, manner: Manner) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, paths) = channel();
    let root = root.to_owned();
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let Some(request) = read(&stream) else { continue };
            if asked.send(request.path.clone()).is_err() {
                return;
            }
            let answer = answer(&root, manner, count, &request);
            let silent =
                manner == Manner::Silent && String::from_utf8_lossy(&request.body).contains("command=fetch");
            let told = if silent { answer.len() / 2 } else { answer.len() };
            // A client that has gone has seen enough.
            let _ = stream.write_all(&answer[..told]);
            if silent {
                let _ = stream.read(&mut [0]);
            }
        }
    });
    (address, paths)
}

fn answer(root: &Path, manner: Manner, count: usize, request: &Request) -> Vec<u8> {
    let status = |status: u16, header: &str| {
        format!("HTTP/1.1 {status} So\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
    };
    match manner {
        Manner::Status(401) => status(401, "WWW-Authenticate: Basic realm=\"forge\"\r\n"),
        Manner::Status(other) => status(other, ""),
        Manner::StatusFirst(other, times) if count < times => status(other, ""),
        Manner::Redirect(code) if !request.path.contains(".git/") => {
            let (repository, end) = request.path.split_at(request.path.find("/info/").unwrap());
            status(
                code,
                &format!("Location: {repository}.git{end}?{}\r\n", request.query),
            )
        }
        Manner::LogIn => status(302, "Location: https://login.example/sign_in?to=x\r\n"),
        Manner::Page => {
            let page = "<!doctype html>\n<p>Please log in</p>\n";
            let length = page.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
            )
            .into_bytes()
        }
        Manner::OldGit => backend(root, request, false),
        Manner::Git | Manner::Silent | Manner::StatusFirst(..) | Manner::Redirect(_) => {
            backend(root, request, true)
        }
    }
}

/// What git's own server program answers.
fn backend(root: &Path, request: &Request, newer_protocol: bool) -> Vec<u8> {
    let header = |name: &str| {
        let found = request.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let mut command = Command::new("git");
    command
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("REQUEST_METHOD", &request.method)
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if newer_protocol {
        command.env("GIT_PROTOCOL", header("git-protocol"));
    }
    let mut child = command.spawn().unwrap();
    let (mut stdin, body) = (child.stdin.take().unwrap(), request.body.clone());
    let fed = std::thread::spawn(move || stdin.write_all(&body));
    let printed = child.wait_with_output().unwrap().stdout;
    drop(fed.join());
    let end = printed.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&printed[..end]);
    let (status, rest): (Vec<&str>, Vec<&str>) = head.lines().partition(|line| line.starts_with("Status: "));
    let status = status.first().map_or("200 OK", |line| &line["Status: ".len()..]);
    let rest = rest.join("\r\n");
    let length = printed.len() - end - 4;
    let mut answer =
        format!("HTTP/1.1 {status}\r\n{rest}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
            .into_bytes();
    answer.extend_from_slice(&printed[end + 4..]);
    answer
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body,
    })
}

/// A directory with a bare repository of `script`'s work tree at `name`.
pub fn repository(name: &str, script: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    sh(
        &root,
        &format!(
            "git init -q -b main w; cd w; echo x >a; git add .; git commit -qm base; {script}\n\
             cd ..; git clone -q --mirror w served/{name}"
        ),
    );
    let served = root.join("served");
    (directory, served)
}
