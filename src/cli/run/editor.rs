//! A prompt from the user's editor, as git asks for a commit message.

use std::io::Write as _;
use std::process::Command;

use crate::failure::Failure;

/// What stands below the prompt; lines that begin so are no part of it.
const MARK: &str = "# ------------------------ >8 ------------------------";
const HINT: &str =
    "# What is the agent to do? Everything above the line is the prompt; an empty one starts nothing.";

/// Opens the editor and gives back what was written.
///
/// # Errors
/// There is no editor, or nothing was written.
pub fn write() -> Result<String, Failure> {
    let mut file = tempfile::Builder::new()
        .prefix("cofferdam-prompt-")
        .suffix(".md")
        .tempfile()
        .map_err(Failure::io("a temporary file cannot be made"))?;
    write!(file, "\n\n{MARK}\n{HINT}\n").map_err(Failure::io("the temporary file cannot be written"))?;
    let named = ["VISUAL", "EDITOR"].into_iter().find_map(|name| {
        std::env::var(name)
            .ok()
            .filter(|editor| !editor.trim().is_empty())
    });
    let editor = named.unwrap_or_else(|| "vi".to_owned());
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(file.path())
        .status()
        .map_err(Failure::io(format!("the editor {editor} cannot be started")))?;
    if !status.success() {
        return Err(Failure::Usage(format!(
            "the editor {editor} ended with {status}: nothing was started"
        )));
    }
    let text =
        std::fs::read_to_string(file.path()).map_err(Failure::io("what was written cannot be read"))?;
    above(&text).ok_or_else(|| Failure::Usage("the prompt is empty: nothing was started".to_owned()))
}

/// The prompt of an edited file; none: it is empty.
fn above(text: &str) -> Option<String> {
    let end = text.find(MARK).unwrap_or(text.len());
    let prompt = text.get(..end)?.trim();
    (!prompt.is_empty()).then(|| format!("{prompt}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_what_stands_above_the_line() {
        assert_eq!(
            above(&format!("Fix it.\n# a heading\n\n{MARK}\n{HINT}\n")).as_deref(),
            Some("Fix it.\n# a heading\n")
        );
        assert_eq!(above("Fix it.").as_deref(), Some("Fix it.\n"), "the line is gone");
        assert_eq!(above(&format!("\n \n{MARK}\n{HINT}\n")), None);
    }
}
