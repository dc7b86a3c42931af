//! YAML as kubectl writes it: block style, and quotes around whatever YAML could read as something else. In quotes
//! every hidden character has its number, which no serializer for data in general promises.

use std::fmt::Write as _;

use cofferdam_text::is_hidden;
use serde_json::Value;

/// The document, with a line feed at its end.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut out, value, 0),
        Value::Array(list) if !list.is_empty() => block(&mut out, value, 0),
        leaf => {
            out.push_str(&scalar(leaf));
            out.push('\n');
        }
    }
    out
}

fn block(out: &mut String, value: &Value, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                out.push_str(&pad);
                entry(out, &quoted(key), value, indent);
            }
        }
        Value::Array(list) => {
            for item in list {
                out.push_str(&pad);
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        // The first key stands beside the hyphen.
                        let mut inner = String::new();
                        block(&mut inner, item, indent + 2);
                        out.push_str("- ");
                        out.push_str(inner.trim_start_matches(' '));
                    }
                    Value::Array(nested) if !nested.is_empty() => {
                        out.push_str("-\n");
                        block(out, item, indent + 2);
                    }
                    leaf => {
                        out.push_str("- ");
                        out.push_str(&scalar(leaf));
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn entry(out: &mut String, key: &str, value: &Value, indent: usize) {
    out.push_str(key);
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push_str(":\n");
            block(out, value, indent + 2);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push_str(":\n");
            block(out, value, indent);
        }
        leaf => {
            out.push_str(": ");
            out.push_str(&scalar(leaf));
            out.push('\n');
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// Plain where nothing else could be meant.
fn quoted(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            hidden if is_hidden(hidden) || hidden > '\u{7e}' && hidden.is_whitespace() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\U{:08x}", u32::from(hidden));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Letters first, and only characters that mean nothing to YAML; no word that YAML reads as a value.
fn is_plain(text: &str) -> bool {
    let first = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let rest = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-' | b'@'));
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    first && rest && !words.iter().any(|word| text.eq_ignore_ascii_case(word))
}
