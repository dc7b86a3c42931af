//! Bytes that others chose, made fit for messages.

/// Longest piece of foreign text in a message, in characters after escaping.
const SHOWN: usize = 300;

/// `bytes` with everything hidden or invalid escaped, at most 300 characters.
pub fn escape(bytes: &[u8]) -> String {
    escape_within(bytes, SHOWN)
}

/// [`escape`] in at most `limit` characters.
pub fn escape_within(bytes: &[u8], limit: usize) -> String {
    cofferdam_text::cut(&cofferdam_text::escape_bytes(bytes), limit)
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

/// Lines of a complaint that are shown at most.
const COMPLAINTS: usize = 3;

/// What git complains of: its first lines that say `error:` or `fatal:`, then the first that the remote says, escaped.
/// The first line names the cause, later ones what came of it. Where no line says so, the last one.
pub fn complaint(stderr: &[u8]) -> String {
    let lines = || {
        stderr
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .map(<[u8]>::trim_ascii)
    };
    let mut shown: Vec<&[u8]> = Vec::new();
    for line in lines().filter(|line| line.starts_with(b"error:") || line.starts_with(b"fatal:")) {
        if !shown.contains(&line) && shown.len() < COMPLAINTS {
            shown.push(line);
        }
    }
    if shown.is_empty() {
        return last_line(stderr);
    }
    shown.extend(lines().find(|line| line.strip_prefix(b"remote:").is_some_and(|said| !said.is_empty())));
    shown.into_iter().map(escape).collect::<Vec<_>>().join("; ")
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

    #[test]
    fn the_cause_of_a_complaint_stands_first() {
        for (printed, shown) in [
            (
                "error: object 12: missingEmail: no email\nfatal: fsck error in packed object\nfatal: index-pack failed\n",
                "error: object 12: missingEmail: no email; fatal: fsck error in packed object; fatal: index-pack failed",
            ),
            (
                "remote: \nremote: Repository not found.\nfatal: repository 'x' not found\n",
                "fatal: repository 'x' not found; remote: Repository not found.",
            ),
            ("fatal: twice\nfatal: twice\n", "fatal: twice"),
            ("usage: git\n\n", "usage: git"),
            ("", ""),
        ] {
            assert_eq!(complaint(printed.as_bytes()), shown);
        }
    }
}
