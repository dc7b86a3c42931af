//! Line endings as the project's attributes want them: what git would write when the file is added, without git.
//!
//! A repository whose files have carriage returns already keeps them, whatever its attributes say: otherwise a file with two
//! new lines would be a file in which every line changed.

/// What attributes say of a file's line endings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Its bytes are left as they are.
    No,
    /// Lines end in a line feed.
    Yes,
    /// As `Yes`, unless the content looks like no text.
    Auto,
}

impl Text {
    /// From the values of `text`, `eol` and the older `crlf`, as `git check-attr` prints them.
    pub fn of(text: &[u8], eol: &[u8], crlf: &[u8]) -> Self {
        let word = if text == UNSPECIFIED { crlf } else { text };
        match word {
            b"set" | b"input" => Self::Yes,
            b"unset" => Self::No,
            b"auto" => Self::Auto,
            // Whoever names the ending calls the file text.
            _ if matches!(eol, b"lf" | b"crlf") => Self::Yes,
            _ => Self::No,
        }
    }
}

/// How `git check-attr` says that no attribute is given.
const UNSPECIFIED: &[u8] = b"unspecified";

/// Whether a line of `content` ends in a carriage return and a line feed.
pub fn has_crlf(content: &[u8]) -> bool {
    content.windows(2).any(|pair| pair == b"\r\n")
}

/// `content` with line feeds alone, if `text` wants that; nothing where it stays as it is.
pub fn normalised(content: &[u8], text: Text) -> Option<Vec<u8>> {
    let applies = match text {
        Text::No => false,
        Text::Yes => true,
        Text::Auto => !looks_binary(content),
    };
    if !applies || !has_crlf(content) {
        return None;
    }
    let mut out = Vec::with_capacity(content.len());
    let mut bytes = content.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if !(byte == b'\r' && bytes.peek() == Some(&b'\n')) {
            out.push(byte);
        }
    }
    Some(out)
}

/// Git's guess: a NUL, a lone carriage return, or too many characters that do not print.
fn looks_binary(content: &[u8]) -> bool {
    let (mut printable, mut other) = (0usize, 0usize);
    let mut bytes = content.iter().copied().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\r' => match bytes.peek() {
                Some((_, b'\n')) => {}
                _ => return true,
            },
            0 => return true,
            b'\n' => {}
            8 | b'\t' | 0x1b | 0x0c => printable += 1,
            // The mark that ends a file of some old systems.
            0x1a if at + 1 == content.len() => {}
            1..=0x1f | 0x7f => other += 1,
            _ => printable += 1,
        }
    }
    (printable >> 7) < other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sh;

    #[test]
    fn what_is_written_is_what_git_would_write() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        sh(root, "git init -q r");
        let contents: [&[u8]; 10] = [
            b"one\r\ntwo\r\n",
            b"one\r\ntwo\n",
            b"one\rtwo\r\n",
            b"\r\n",
            b"\r\r\n",
            b"a\0b\r\n",
            b"a\x01\x02\r\n",
            b"text\x1a",
            b"a\r\nb\x1a",
            b"plain\n",
        ];
        for (attributes, text, eol, crlf) in [
            ("text", "set", "unspecified", "unspecified"),
            ("text=auto", "auto", "unspecified", "unspecified"),
            ("text=auto eol=crlf", "auto", "crlf", "unspecified"),
            ("-text eol=crlf", "unset", "crlf", "unspecified"),
            ("eol=crlf", "unspecified", "crlf", "unspecified"),
            ("crlf", "unspecified", "unspecified", "set"),
            ("crlf=input", "unspecified", "unspecified", "input"),
            ("-crlf", "unspecified", "unspecified", "unset"),
            ("!text", "unspecified", "unspecified", "unspecified"),
        ] {
            std::fs::write(root.join("r/.gitattributes"), format!("f {attributes}\n")).unwrap();
            for content in contents {
                std::fs::write(root.join("content"), content).unwrap();
                let by_git = sh(root, "cd r; git hash-object --path=f --stdin <../content");
                let word = Text::of(text.as_bytes(), eol.as_bytes(), crlf.as_bytes());
                let ours = normalised(content, word).unwrap_or_else(|| content.to_vec());
                std::fs::write(root.join("ours"), ours).unwrap();
                let ours = sh(root, "cd r; git hash-object --no-filters ../ours");
                assert_eq!(ours, by_git, "{attributes}: {}", content.escape_ascii());
            }
        }
    }
}
