//! Text that someone else chose, made fit for statuses, events, records, denials, logs and terminals.
//!
//! There is one list of hidden characters, [`is_hidden`], so that a reader sees the same text wherever it is shown.
//! What a name *means* is decided elsewhere: a file system, for example, ignores other characters when it compares.

/// Stands for what was cut off.
const ELLIPSIS: char = '…';

/// Whether a reader would not see `character`, or would see its neighbours in another place.
///
/// These are the control characters; the line and paragraph separators; every code point that Unicode calls
/// `Default_Ignorable_Code_Point` (marks of direction, zero-width characters, fillers, variation selectors, the tag
/// block); interlinear annotations; the format controls of hieroglyphs; and the braille pattern without dots.
pub const fn is_hidden(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// `text` with each hidden character, line breaks too, as its number: `\u{202e}`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|character| push(&mut out, character));
    out
}

/// [`escape`] of bytes; those that are no UTF-8 become `\xff`.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk
            .valid()
            .chars()
            .for_each(|character| push(&mut out, character));
        let invalid = chunk.invalid().iter().copied();
        out.extend(invalid.flat_map(std::ascii::escape_default).map(char::from));
    }
    out
}

/// At most `limit` characters of `text`, the last of them an ellipsis if there are more. Hidden characters stay.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    let kept = text.chars().take(limit.saturating_sub(1));
    kept.chain((limit > 0).then_some(ELLIPSIS)).collect()
}

/// `text` on one line: line breaks and tabs become a space, and the other hidden characters are escaped.
pub fn one_line(text: &str) -> String {
    bounded(text, usize::MAX)
}

/// [`one_line`] in at most `limit` bytes. A text that is longer ends with an ellipsis if that fits; neither a
/// character nor an escape is cut in two.
pub fn bounded(text: &str, limit: usize) -> String {
    let mut out = String::new();
    // Where the text could end so that an ellipsis still fits.
    let mut end = 0;
    let mut was_break = false;
    for character in text.trim().chars() {
        let is_break = breaks_line(character);
        if is_break && was_break {
            continue;
        }
        was_break = is_break;
        push(&mut out, if is_break { ' ' } else { character });
        if out.len() > limit {
            out.truncate(end);
            out.truncate(out.trim_end().len());
            if limit >= ELLIPSIS.len_utf8() {
                out.push(ELLIPSIS);
            }
            break;
        }
        if out.len().saturating_add(ELLIPSIS.len_utf8()) <= limit {
            end = out.len();
        }
    }
    out
}

const fn breaks_line(character: char) -> bool {
    matches!(character, '\t'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn push(out: &mut String, character: char) {
    if is_hidden(character) {
        out.extend(character.escape_unicode());
    } else {
        out.push(character);
    }
}

#[cfg(test)]
mod tests;
