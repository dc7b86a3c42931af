//! `audit export`: a directory with all that the archive holds of a run.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::ocsf;
use crate::failure::{Exit, Failure};
use crate::output::{Spool, Target};
use crate::place::{Cluster, Flags, Patience};
use crate::verify::published;
use cofferdam_wire::output_api::RunSummary;

/// Name of the summary in an export.
pub const SUMMARY: &str = "summary.json";
/// Name of the chain of records.
pub const RECORDS: &str = "records.jsonl";
/// Name of the statement, where there is one.
pub const STATEMENT: &str = "statement.dsse.json";
/// Name of the public keys of the installation.
pub const KEYS: &str = "keys.json";
/// Name of the events of OCSF, where they are asked for: `verify` does not read them.
const EVENTS: &str = "events.ocsf.jsonl";
/// Directory of the patches.
pub const PATCHES: &str = "patches";

/// Which run, and to where.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// The directory, which is made. Without it: the run's name.
    #[arg(short, long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// ocsf: the records as events of the Open Cybersecurity Schema Framework 1.8 too.
    #[arg(long, value_parser = ["ocsf"])]
    format: Option<String>,
    /// The namespace of the operator, which publishes the keys of statements.
    #[arg(long, default_value = "cofferdam-system")]
    operator_namespace: String,
}

/// Writes it.
///
/// # Errors
/// Something does not come whole; what was written by then stays, without its summary.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let Cluster { client, namespace } = flags.connect(Patience::Answer).await?;
    let output = args.target.output(&client, &namespace).await?;
    let summary = output.summary().await?;
    let directory = args
        .directory
        .clone()
        .unwrap_or_else(|| PathBuf::from(output.name()));
    make(&directory)?;
    let expected = summary.record.chain.as_ref().map(|chain| chain.bytes);
    let mut records = output.records(expected).await?;
    copy(&directory, RECORDS, &mut records.spool)?;
    if args.format.is_some() {
        write_events(&directory, &mut records.spool)?;
    }
    if let Some(statement) = output.statement().await? {
        write(&directory, STATEMENT, &statement)?;
    }
    if let Some(keys) = published(&client, &args.operator_namespace).await {
        write(&directory, KEYS, keys.as_bytes())?;
    }
    let patches = summary
        .record
        .receipt
        .iter()
        .flat_map(|receipt| &receipt.manifest.patches);
    make(&directory.join(PATCHES))?;
    for patch in patches {
        let name = file_name(&patch.name())?;
        copy(&directory.join(PATCHES), &name, &mut output.patch(patch).await?)?;
    }
    // Last: an export without it is not whole, and `verify` says so.
    let document = serde_json::to_vec_pretty(&summary)
        .map_err(|error| Failure::Broken(format!("the summary cannot be written: {error}")))?;
    write(&directory, SUMMARY, &document)?;
    eprintln!("{}: {}", directory.display(), contents(&summary));
    Ok(Exit::Done)
}

fn contents(summary: &RunSummary) -> String {
    let patches = summary
        .record
        .receipt
        .as_ref()
        .map_or(0, |receipt| receipt.manifest.patches.len());
    let records = summary
        .record
        .chain
        .as_ref()
        .and_then(|chain| chain.head)
        .map_or(0, |head| head.seq);
    format!("{records} records, {patches} patches")
}

/// The file of a repository's patch. The name is the sandbox's: what would lead elsewhere is refused.
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

fn make(directory: &Path) -> Result<(), Failure> {
    fs::create_dir(directory).map_err(Failure::io(format!(
        "the directory {} cannot be made",
        directory.display()
    )))
}

/// Writes a file that was not there.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let (mut file, what) = create(directory, name)?;
    file.write_all(bytes).map_err(Failure::io(what))
}

/// The same of what was fetched, a piece after the other.
fn copy(directory: &Path, name: &str, from: &mut Spool) -> Result<(), Failure> {
    let (mut file, what) = create(directory, name)?;
    from.copy_to(&mut file).map_err(Failure::io(what))
}

fn create(directory: &Path, name: &str) -> Result<(fs::File, String), Failure> {
    let path = directory.join(name);
    let what = format!("{} cannot be written", path.display());
    let file = fs::File::options().write(true).create_new(true).open(&path);
    Ok((file.map_err(Failure::io(what.clone()))?, what))
}

fn write_events(directory: &Path, records: &mut Spool) -> Result<(), Failure> {
    let (file, what) = create(directory, EVENTS)?;
    let mut file = BufWriter::new(file);
    ocsf::events(records, |event| {
        writeln!(file, "{event}").map_err(Failure::io(what.clone()))
    })?;
    file.flush().map_err(Failure::io(what.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_sandboxs_leads_nowhere() {
        assert_eq!(file_name("app").unwrap(), "app.patch");
        for name in [
            "",
            "..",
            ".git",
            "a/b",
            "/etc/passwd",
            "a\u{0}",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(file_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        assert!(make(directory.path()).is_err());
        write(directory.path(), "x", b"1").unwrap();
        assert!(write(directory.path(), "x", b"2").is_err());
        assert_eq!(fs::read(directory.path().join("x")).unwrap(), b"1");
    }
}
