//! Why the gateway said no.

use std::borrow::Cow;

/// How far the caller's identity was proven when it was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The caller is not known to be the run: nothing is recorded against the run.
    Unproven,
    /// The API does not show enough yet; the same request may pass in a moment.
    NotYet,
    /// The caller is the run.
    Proven,
}

/// A refusal with its stable short code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Short code: it goes into reason phrases, records and status.
    pub code: &'static str,
    /// One line for people.
    pub message: Cow<'static, str>,
    /// How far the caller was known.
    pub standing: Standing,
}

impl Denial {
    /// A denial of a caller that is not known to be the run.
    pub fn unproven(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code, message, Standing::Unproven)
    }

    /// A denial that may not hold in a moment.
    pub fn not_yet(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code, message, Standing::NotYet)
    }

    /// A denial of the run itself.
    pub fn proven(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code, message, Standing::Proven)
    }

    fn new(code: &'static str, message: impl Into<Cow<'static, str>>, standing: Standing) -> Self {
        Self {
            code,
            message: message.into(),
            standing,
        }
    }
}

/// Longest text of a sandbox in logs and records, in bytes.
const SHOWN: usize = 100;

/// Text from a sandbox made safe for logs, records and terminals: one line of at most 100 bytes.
pub fn printable(text: &str) -> String {
    cofferdam_text::bounded(text, SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        assert_eq!(printable("a.test:443"), "a.test:443");
        assert_eq!(printable("\u{1b}[2J\u{202e}"), "\\u{1b}[2J\\u{202e}");
        assert_eq!(printable(&"é".repeat(1000)).len(), 99);
    }
}
