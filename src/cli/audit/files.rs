//! Names of the files of an export.

use crate::failure::Failure;

/// Name of the summary in an export.
pub const SUMMARY: &str = "summary.json";
/// Name of the chain of records.
pub const RECORDS: &str = "records.jsonl";
/// Name of the statement, where there is one.
pub const STATEMENT: &str = "statement.dsse.json";
/// Name of the statement as a Sigstore bundle.
pub const BUNDLE: &str = "statement.sigstore.json";
/// Name of the key that signed it, for tools that want one key alone.
pub const KEY: &str = "statement.pub";
/// Name of the public keys of the installation.
pub const KEYS: &str = "keys.json";
/// Name of the events of OCSF, where they are asked for: `verify` does not read them.
pub const EVENTS: &str = "events.ocsf.jsonl";
/// Directory of the patches.
pub const PATCHES: &str = "patches";

/// The file of a repository's patch. The name is the sandbox's: what would lead elsewhere is refused.
///
/// # Errors
/// It would.
pub fn file_name(repository: &str) -> Result<String, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=63).contains(&repository.len()) && repository.bytes().all(plain) && !repository.starts_with('.') {
        Ok(format!("{repository}.patch"))
    } else {
        Err(Failure::Broken(format!(
            "{repository:?} is no name of a repository"
        )))
    }
}
