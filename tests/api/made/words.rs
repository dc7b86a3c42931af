//! Text that programs stumble over.

use serde_json::{Value, json};

use super::nodes::{Node, replaced};
use super::{Dice, Made};

/// Each has broken a parser, a terminal or a log somewhere.
pub const HOSTILE: [&str; 24] = [
    "\u{0}",
    "a\u{0}b",
    "\u{1b}[2J\u{1b}[31mroot",
    "\r\nSet-Cookie: a=b",
    "\u{202e}txt.exe",
    "\u{2066}a\u{2069}",
    "a\u{200b}b",
    "\u{feff}a",
    "p\u{430}ypal",
    "e\u{301}\u{301}\u{301}\u{301}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "\u{fffd}\u{fffe}\u{10ffff}",
    "\u{2028}\u{2029}\u{85}",
    "\u{ff0e}\u{ff0e}\u{ff0f}etc",
    "xn--a",
    "../../../../etc/passwd",
    "$(id)`id`;id|id&&id",
    "{{7*7}}${7*7}%s%n%x",
    "' OR '1'='1'; --",
    "\\\"\\u0000\\\\",
    "null",
    "0x7f000001",
    "1e309",
    "\u{3000}\t \u{a0}",
];

/// The manifests in which the text at `node`, where it is one, is hostile: as a whole, and within what was there.
pub fn hostile(base: &Value, node: &Node, dice: &mut Dice) -> Vec<Made> {
    let Some(text) = base.pointer(&node.pointer).and_then(Value::as_str) else {
        return Vec::new();
    };
    let words = [*dice.of(&HOSTILE), *dice.of(&HOSTILE)];
    let [whole, within] = words;
    [whole.to_owned(), within_text(text, within, dice)]
        .into_iter()
        .map(|text| Made {
            what: format!("{} {}", node.pointer, text.escape_debug()),
            changed: vec![node.pointer.clone()],
            manifest: replaced(base, &node.pointer, json!(text)),
        })
        .collect()
}

/// `text` with `word` somewhere in it.
pub fn within_text(text: &str, word: &str, dice: &mut Dice) -> String {
    let count = text.chars().count();
    let place = dice.below(count + 1);
    let before: String = text.chars().take(place).collect();
    let after: String = text.chars().skip(place).collect();
    format!("{before}{word}{after}")
}

/// Hostile names, labels and annotations.
pub fn hostile_metadata(base: &Value) -> Vec<Made> {
    let mut all = Vec::new();
    let mut add = |pointer: &str, value: Value, what: &str| {
        all.push(Made {
            what: format!("{pointer} {what}"),
            changed: vec![pointer.to_owned()],
            manifest: super::with(base, pointer, value),
        });
    };
    for word in HOSTILE {
        add("/metadata/name", json!(word), &word.escape_debug().to_string());
    }
    for (word, more) in HOSTILE.iter().zip(HOSTILE.iter().rev()) {
        let shown = word.escape_debug().to_string();
        add("/metadata/labels", json!({(*word): "a"}), &shown);
        add("/metadata/labels", json!({"a": word}), &shown);
        add("/metadata/annotations", json!({"a": word, "b": more}), &shown);
    }
    for size in [63, 64, 253, 254, 100_000] {
        add("/metadata/name", json!("n".repeat(size)), &format!("of {size}"));
    }
    for size in [200_000, 262_143, 262_144] {
        let value = json!({"a": "n".repeat(size)});
        add("/metadata/annotations", value, &format!("of {size}"));
    }
    for odd in [
        json!(5),
        json!("x"),
        json!(["a"]),
        json!({"a": 5}),
        json!({"a": null}),
    ] {
        add("/metadata/labels", odd.clone(), &odd.to_string());
        add("/metadata/annotations", odd.clone(), &odd.to_string());
    }
    all
}
