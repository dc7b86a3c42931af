//! A patch for a terminal: coloured by line, and with every hidden character as its number.

use super::lines::{Kind, Lines};
use crate::print::paint::Paint;
use cofferdam_text::escape_bytes;

/// The text.
pub fn shown(patch: &[u8], paint: Paint) -> String {
    let mut out = String::with_capacity(patch.len() + patch.len() / 8);
    for (kind, line) in Lines::of(patch) {
        let text = escape_tabs(line);
        out.push_str(&match kind {
            Kind::File => paint.bold(&text),
            Kind::Header => paint.dim(&text),
            Kind::Hunk => paint.odd(&text),
            Kind::Added => paint.good(&text),
            Kind::Removed => paint.bad(&text),
            Kind::Context | Kind::Binary => text,
        });
        out.push('\n');
    }
    out
}

/// Tabs move the cursor to the right only, and code is full of them.
fn escape_tabs(line: &[u8]) -> String {
    let parts: Vec<String> = line.split(|byte| *byte == b'\t').map(escape_bytes).collect();
    parts.join("\t")
}
