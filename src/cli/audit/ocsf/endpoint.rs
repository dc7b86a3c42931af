//! `host:port` of a record as the schema splits it. Pure.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

/// An endpoint; `address` is the one that was dialled.
pub fn endpoint(host: &str, address: Option<&str>) -> Value {
    let (name, port) = split(host);
    let mut fields = Map::new();
    match name.parse::<IpAddr>() {
        Ok(ip) => {
            fields.insert("ip".to_owned(), json!(ip));
        }
        Err(_) if is_host_name(name) => {
            fields.insert("hostname".to_owned(), json!(name));
        }
        // What was asked for may be anything.
        Err(_) => {
            fields.insert("name".to_owned(), json!(host));
        }
    }
    if let Some(port) = port {
        fields.insert("port".to_owned(), json!(port));
    }
    if let Some(address) = address.and_then(|address| address.parse::<SocketAddr>().ok()) {
        fields.insert("ip".to_owned(), json!(address.ip()));
    }
    Value::Object(fields)
}

/// The address of a request whose path was read.
pub fn url(host: &str, path: &str) -> Value {
    let (name, port) = split(host);
    let mut fields = Map::from_iter([("path".to_owned(), json!(path))]);
    if is_host_name(name) {
        fields.insert("hostname".to_owned(), json!(name));
    }
    if let Some(port) = port {
        fields.insert("port".to_owned(), json!(port));
    }
    Value::Object(fields)
}

/// The name, without the brackets of an address, and the port.
fn split(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => {
            let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            (bare.unwrap_or(name), port.parse().ok())
        }
        _ => (host, None),
    }
}

fn is_host_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_split_and_what_is_none_stays_whole() {
        for (host, address, expected) in [
            (
                "a.test:443",
                Some("203.0.113.1:443"),
                json!({"hostname": "a.test", "port": 443, "ip": "203.0.113.1"}),
            ),
            ("a.test:443", None, json!({"hostname": "a.test", "port": 443})),
            (
                "[2001:db8::1]:8443",
                None,
                json!({"ip": "2001:db8::1", "port": 8443}),
            ),
            ("203.0.113.1:80", None, json!({"ip": "203.0.113.1", "port": 80})),
            ("a.test", None, json!({"hostname": "a.test"})),
            ("a b:99999", None, json!({"name": "a b:99999"})),
            (
                "\u{202e}x:443",
                Some("no address"),
                json!({"name": "\u{202e}x:443", "port": 443}),
            ),
            ("", None, json!({"name": ""})),
        ] {
            assert_eq!(endpoint(host, address), expected, "{host}");
        }
        assert_eq!(
            url("a.test:443", "/x"),
            json!({"hostname": "a.test", "port": 443, "path": "/x"})
        );
        assert_eq!(
            url("203.0.113.1:80", "/x"),
            json!({"hostname": "203.0.113.1", "port": 80, "path": "/x"})
        );
    }
}
