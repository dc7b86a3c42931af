//! Bytes that others chose, made fit for messages.

/// Longest piece of foreign text in a message, in characters after escaping.
const SHOWN: usize = 300;

/// `bytes` with everything hidden or invalid escaped, at most 300 characters.
pub fn escape(bytes: &[u8]) -> String {
    cofferdam_text::cut(&cofferdam_text::escape_bytes(bytes), SHOWN)
}

/// The last line that is not empty of what a program wrote to standard error, escaped.
pub fn last_line(output: &[u8]) -> String {
    output
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
        .rfind(|line| !line.is_empty())
        .map(escape)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_survives_that_a_terminal_obeys() {
        assert_eq!(escape(b"a\x1b[31m\nb\xff\"c'"), "a\\u{1b}[31m\\u{a}b\\xff\"c'");
        assert_eq!(escape("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert!(escape(&[b'a'; 5000]).chars().count() == SHOWN);
    }

    #[test]
    fn the_last_line_that_says_something_is_shown() {
        assert_eq!(
            last_line(b"remote: counting\rremote: done\nfatal: no such thing\n\n"),
            "fatal: no such thing"
        );
        assert_eq!(last_line(b""), "");
    }
}
