//! Bytes that others chose, made fit for messages.

/// Longest piece of foreign text in a message, in characters after escaping.
const SHOWN: usize = 300;

/// Printable ASCII as it is, everything else escaped, cut at 300 characters: nothing in it can forge a line, a
/// colour or the direction of writing.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if text.len() >= SHOWN {
            text.push_str("...");
            break;
        }
        match byte {
            b'"' | b'\'' => text.push(char::from(*byte)),
            _ => text.extend(std::ascii::escape_default(*byte).map(char::from)),
        }
    }
    text
}

/// The last line of a program's complaints that says something, escaped.
pub fn last_line(output: &[u8]) -> String {
    output
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
        .rfind(|line| !line.is_empty())
        .map(escape)
        .unwrap_or_default()
}

/// At most `limit` bytes of `text`, cut between characters.
pub fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_survives_that_a_terminal_obeys() {
        assert_eq!(escape(b"a\x1b[31m\nb\xff\"c'"), "a\\x1b[31m\\nb\\xff\"c'");
        assert_eq!(escape("\u{202e}x".as_bytes()), "\\xe2\\x80\\xaex");
        assert!(escape(&[b'a'; 5000]).len() < 310);
    }

    #[test]
    fn the_last_line_that_says_something_is_shown() {
        assert_eq!(
            last_line(b"remote: counting\rremote: done\nfatal: no such thing\n\n"),
            "fatal: no such thing"
        );
        assert_eq!(last_line(b""), "");
    }

    #[test]
    fn cuts_fall_between_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("ab", 9), "ab");
    }
}
