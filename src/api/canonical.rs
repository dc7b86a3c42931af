//! One canonical JSON for everything that is named by a hash: equal values are equal bytes, whoever writes them.
//!
//! It is RFC 8785 (JSON Canonicalization Scheme) with whole numbers only: no white space, keys sorted by their UTF-16 code
//! units, strings with the fewest escapes. Numbers are those that JavaScript holds exactly; a fraction or a larger one is
//! an error, so that no two writers can disagree about it.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Number, Value};

/// The largest whole number that JavaScript, and so RFC 8785, holds exactly.
const LARGEST: u64 = (1 << 53) - 1;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// It is none of JSON.
    #[error("it cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A number with a fraction, or beyond 53 bits.
    #[error("the number {0} is not a whole one of at most 53 bits")]
    Number(Number),
}

/// The canonical form of a value.
///
/// # Errors
/// [`CanonicalError`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, CanonicalError> {
    let mut text = String::new();
    write(&serde_json::to_value(value)?, &mut text)?;
    Ok(text)
}

fn write(value: &Value, text: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if size.is_none_or(|size| size > LARGEST) {
                return Err(CanonicalError::Number(number.clone()));
            }
            // Writing to a String cannot fail.
            let _ = write!(text, "{number}");
        }
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            text.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                write(value, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            '\0'..='\u{1f}' => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            _ => text.push(character),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 8785, section 3.2.3: neither the order of bytes nor that of code points.
    #[test]
    fn keys_are_sorted_as_the_rfc_says() {
        let value = json!({
            "\u{20ac}": "Euro Sign",
            "\r": "Carriage Return",
            "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One",
            "\u{1f600}": "Emoji: Grinning Face",
            "\u{80}": "Control",
            "\u{f6}": "Latin Small Letter O With Diaeresis",
        });
        assert_eq!(
            to_string(&value).unwrap(),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
             \"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
    }

    /// RFC 8785, section 3.2.2, without its numbers that have a fraction.
    #[test]
    fn strings_and_literals_are_written_as_the_rfc_says() {
        let value = json!({
            "string": "\u{20ac}$\u{f}\nA'B\"\\\\\"/",
            "literals": [null, true, false],
            "numbers": [0, -1, 9_007_199_254_740_991_i64, -9_007_199_254_740_991_i64],
            "controls": "\u{8}\t\u{c}\r\u{1}\u{1f}\u{7f}",
        });
        assert_eq!(
            to_string(&value).unwrap(),
            "{\"controls\":\"\\b\\t\\f\\r\\u0001\\u001f\u{7f}\",\"literals\":[null,true,false],\
             \"numbers\":[0,-1,9007199254740991,-9007199254740991],\
             \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }

    #[test]
    fn the_hash_of_a_document_is_pinned() {
        let document = json!({"version": 1, "b": [1, "é"], "a": {"y": null, "x": true}});
        assert_eq!(
            crate::names::digest(to_string(&document).unwrap().as_bytes()),
            "sha256:ebaef3ce20a650c00edf433a295442448f4ef355270e154a247b586d27e575e0"
        );
    }

    #[test]
    fn numbers_on_which_writers_differ_are_refused() {
        for number in [
            json!(1.5),
            json!(1e300),
            json!(9_007_199_254_740_992_u64),
            json!(i64::MIN),
        ] {
            let refused = to_string(&json!({"a": [number]})).unwrap_err();
            assert!(matches!(refused, CanonicalError::Number(_)), "{refused}");
        }
    }
}
