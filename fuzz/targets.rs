//! What must hold of whatever bytes come. Each target gives whether the bytes were taken, so that whoever replays a corpus
//! sees both sides of it.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a panic is how a target fails, and each program runs one of them"
)]

use std::io;

use cofferdam_gateway::testing::parse;
use cofferdam_policy::pattern::path::{PathPattern, Target};
use cofferdam_service::http1::{self, Framing, Head};

/// Runs the target on some bytes.
pub type Run = fn(&[u8]) -> bool;

/// Every target with its name, which is that of its corpus.
pub const TARGETS: [(&str, Run); 4] = [
    ("authority", authority),
    ("head", head),
    ("hello", hello),
    ("paths", paths),
];

/// The host of every tunnel here.
const HOST: &str = "a.example.com";

/// The first bytes of a tunnel. What is taken for a whole hello for the host is one for whoever ends the TLS too, and names
/// the host there; and what is taken was not refused while it came.
pub fn hello(data: &[u8]) -> bool {
    let is_taken = parse::hello(data, HOST) == Some(true);
    if is_taken {
        for end in 0..data.len() {
            assert!(parse::hello(&data[..end], HOST).is_some(), "of {end} bytes");
        }
        if let Some(name) = name_in(data) {
            assert!(name.eq_ignore_ascii_case(HOST), "{name}");
        }
    }
    is_taken
}

/// The name that rustls sees in a hello; `None` where it takes none.
fn name_in(mut data: &[u8]) -> Option<String> {
    let mut acceptor = rustls::server::Acceptor::default();
    while !data.is_empty() {
        match acceptor.read_tls(&mut data as &mut dyn io::Read) {
            Ok(read) if read > 0 => {}
            _ => return None,
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return accepted.client_hello().server_name().map(str::to_owned),
            Err(_) => return None,
        }
    }
    None
}

/// The authority of a request: a full host name in small letters, no address in any spelling, and one way to write it.
pub fn authority(data: &[u8]) -> bool {
    let Some((host, port)) = std::str::from_utf8(data).ok().and_then(parse::authority) else {
        return false;
    };
    assert!(port > 0);
    let labels: Vec<&str> = host.split('.').collect();
    assert!(labels.len() > 1, "{host}");
    for label in &labels {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(!label.is_empty() && label.bytes().all(is_plain), "{host}");
    }
    let last = labels[labels.len() - 1];
    let is_hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(!last.bytes().all(|byte| byte.is_ascii_digit()), "{host}");
    assert!(!last.strip_prefix("0x").is_some_and(is_hexadecimal), "{host}");
    assert_eq!(parse::authority(&format!("{host}:{port}")), Some((host, port)));
    true
}

/// A request's head: what is taken has one framing, lines that end in one way, and reads back as itself.
pub fn head(data: &[u8]) -> bool {
    let Some(end) = http1::end_of_head(data, 0) else {
        return false;
    };
    let Ok(read) = http1::parse(data.to_vec(), end) else {
        return false;
    };
    for (at, byte) in data[..end].iter().enumerate() {
        match byte {
            b'\n' => assert!(at > 0 && data[at - 1] == b'\r'),
            b'\r' => assert_eq!(data[at + 1], b'\n'),
            b'\t' => {}
            other => assert!(!other.is_ascii_control()),
        }
    }
    let lengths = read.values("content-length").count() + read.values("transfer-encoding").count();
    assert!(lengths <= 1);
    assert_eq!(
        read.framing == Framing::Chunked,
        read.values("transfer-encoding").count() == 1
    );
    assert!(!read.target.contains(|char: char| char.is_ascii_whitespace()));
    let again = written(&read);
    let length = again.len();
    let again = http1::parse(again, length).expect("what was taken is taken again");
    assert_eq!((&again.method, &again.target), (&read.method, &read.target));
    assert_eq!((&again.headers, again.framing), (&read.headers, read.framing));
    true
}

fn written(head: &Head) -> Vec<u8> {
    let mut bytes = format!(
        "{} {} HTTP/1.{}\r\n",
        head.method, head.target, head.minor_version
    )
    .into_bytes();
    for line in &head.headers {
        bytes.extend_from_slice(line.name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(&line.value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The target of a request in the first line, and patterns in the two that follow: the target is sent as it came and has no
/// second meaning, a pattern reads back as itself, and the meet of two means what both mean.
pub fn paths(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let mut lines = text.split('\n');
    let target = lines
        .next()
        .and_then(|line| Target::parse(line).ok().zip(Some(line)));
    if let Some((target, line)) = &target {
        assert_eq!(target.as_str(), *line);
        let path = target.path().to_ascii_lowercase();
        for odd in [
            "//", "/./", "/../", "%2e", "%5c", "%00", "%0d", "%0a", ";", "\\", "#", " ",
        ] {
            assert!(!path.contains(odd), "{path}");
        }
        assert!(!path.ends_with("/.") && !path.ends_with("/.."), "{path}");
    }
    let mut patterns = lines.map(|line| PathPattern::parse(line).ok());
    let (one, two) = (patterns.next().flatten(), patterns.next().flatten());
    for pattern in one.iter().chain(&two) {
        assert_eq!(PathPattern::parse(&pattern.to_string()).as_ref(), Ok(pattern));
        assert!(pattern.covers(pattern), "{pattern}");
    }
    if let (Some(one), Some(two)) = (&one, &two) {
        let met = one.meet(two);
        assert_eq!(two.meet(one), met);
        if let Some((target, _)) = &target {
            let both = one.matches(target) && two.matches(target);
            assert_eq!(
                met.is_some_and(|met| met.matches(target)),
                both,
                "{one} and {two}, {target}"
            );
        }
    }
    target.is_some() && one.is_some()
}
