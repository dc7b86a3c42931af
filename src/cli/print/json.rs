//! JSON in which no character is hidden: outside of ASCII's printable ones JSON has a spelling for each.

use std::fmt::Write as _;

use cofferdam_text::is_hidden;
use serde_json::Value;

/// The document on several lines, with a line feed at its end.
pub fn text(value: &Value) -> String {
    let mut out = spell(&format!("{value:#}"));
    out.push('\n');
    out
}

/// Hidden characters of a JSON text other than its own line feeds stand within strings, so they can be spelled there.
fn spell(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if is_hidden(character) && character != '\n' {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out
}
