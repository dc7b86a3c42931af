//! Colours, where the output is a terminal that wants them.

use std::io::IsTerminal;

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Plain text.
    Plain,
    /// ANSI colours.
    Ansi,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set (no-color.org) or the terminal is a dumb one.
    pub fn for_output(output: &impl IsTerminal) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if output.is_terminal() && !is_set("NO_COLOR") && !is_dumb {
            Self::Ansi
        } else {
            Self::Plain
        }
    }

    /// Good news.
    pub fn good(self, text: &str) -> String {
        self.wrap("32;1", text)
    }

    /// Bad news.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31;1", text)
    }

    /// What deserves a second look.
    pub fn odd(self, text: &str) -> String {
        self.wrap("33;1", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What is less important.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}
