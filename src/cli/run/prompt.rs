//! Where a prompt comes from: the command line, a file, standard input, an editor.

use std::io::{IsTerminal as _, Read as _};

use super::editor;
use crate::failure::Failure;

/// Longest prompt: what a ConfigMap holds.
const LIMIT: u64 = 1 << 20;

/// What the agent is to do.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PromptFlags {
    /// What the agent is to do. - reads it from standard input.
    prompt: Option<String>,
    /// A file with it; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_file: Option<String>,
    /// Write it in an editor ($VISUAL, $EDITOR, else vi).
    #[arg(short, long, conflicts_with_all = ["prompt", "prompt_file"])]
    edit: bool,
}

impl PromptFlags {
    /// The prompt; none: another place has it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, in_manifest: bool) -> Result<Option<String>, Failure> {
        match (&self.prompt, &self.prompt_file, self.edit) {
            (Some(text), _, _) if text == "-" => input().map(Some),
            (Some(text), _, _) => Ok(Some(text.clone())),
            (None, Some(file), _) if file == "-" => input().map(Some),
            (None, Some(file), _) => {
                let open = std::fs::File::open(file)
                    .map_err(Failure::io(format!("the prompt file {file} cannot be read")))?;
                text(open, file).map(Some)
            }
            (None, None, true) => editor::write().map(Some),
            (None, None, false) if in_manifest => Ok(None),
            (None, None, false) if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() => {
                editor::write().map(Some)
            }
            (None, None, false) => Ok(None),
        }
    }
}

fn input() -> Result<String, Failure> {
    text(std::io::stdin(), "standard input")
}

fn text(from: impl std::io::Read, what: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    from.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(Failure::io(format!("the prompt from {what} cannot be read")))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Failure::Usage(format!(
            "the prompt from {what} is longer than 1 MiB"
        )));
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::Usage(format!("the prompt from {what} is no text in UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_or_no_text_is_no_prompt() {
        assert_eq!(text(&b"fix it\n"[..], "x").unwrap(), "fix it\n");
        assert!(text(&b"\xff"[..], "x").is_err());
        assert!(text(std::io::repeat(b'a'), "x").is_err());
        let file = PromptFlags {
            prompt_file: Some("/nonexistent".to_owned()),
            ..PromptFlags::default()
        };
        assert!(file.read(false).is_err());
        let given = PromptFlags {
            prompt: Some("fix".to_owned()),
            ..PromptFlags::default()
        };
        assert_eq!(given.read(true).unwrap().as_deref(), Some("fix"));
        assert_eq!(PromptFlags::default().read(true).unwrap(), None);
    }
}
