//! `audit export`: a directory with all that the archive holds of a run.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::files::{BUNDLE, EVENTS, KEY, KEYS, PATCHES, RECORDS, STATEMENT, SUMMARY, file_name};
use super::ocsf;
use crate::failure::{Exit, Failure};
use crate::output::{Spool, Target, kept_patches};
use crate::place::{Cluster, Flags, Patience};
use crate::verify::published;
use cofferdam_wire::keys::PublicKeys;
use cofferdam_wire::output_api::RunSummary;
use cofferdam_wire::statement::Envelope;

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
    let keys = published(&client, &args.operator_namespace).await;
    if let Some(keys) = &keys {
        write(&directory, KEYS, keys.as_bytes())?;
    }
    if let Some(statement) = output.statement().await? {
        write(&directory, STATEMENT, &statement)?;
        for (name, bytes) in for_sigstore(&statement, keys.as_deref())? {
            write(&directory, name, &bytes)?;
        }
    }
    make(&directory.join(PATCHES))?;
    for patch in kept_patches(&summary) {
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

/// The statement as a Sigstore bundle, and the key that it names, where that is among the keys of the installation.
fn for_sigstore(statement: &[u8], keys: Option<&str>) -> Result<Vec<(&'static str, Vec<u8>)>, Failure> {
    let broken = |error: serde_json::Error| Failure::Broken(format!("the statement cannot be read: {error}"));
    let envelope: Envelope = serde_json::from_slice(statement).map_err(broken)?;
    let bundle = serde_json::to_vec_pretty(&envelope.bundle()).map_err(broken)?;
    let named = envelope.signatures.first().map(|signature| &signature.keyid);
    let keys = keys.and_then(|keys| PublicKeys::parse(keys.as_bytes()).ok());
    let key = keys
        .iter()
        .flat_map(|keys| &keys.keys)
        .find(|key| Some(&key.key_id) == named);
    let mut files = vec![(BUNDLE, bundle)];
    files.extend(key.map(|key| (KEY, key.public_key.clone().into_bytes())));
    Ok(files)
}

fn contents(summary: &RunSummary) -> String {
    let patches = kept_patches(summary).count();
    let records = summary
        .record
        .chain
        .as_ref()
        .and_then(|chain| chain.head)
        .map_or(0, |head| head.seq);
    format!("{records} records, {patches} patches")
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
    fn the_bundle_has_the_envelope_and_the_key_that_it_names() {
        let envelope = r#"{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"k1","sig":"c2ln"}]}"#;
        let keys = |id: &str| {
            let key = serde_json::json!({"keyId": id, "algorithm": "Ed25519", "publicKey": format!("PEM of {id}"), "created": "t"});
            serde_json::json!({"version": 1, "current": id, "keys": [key]}).to_string()
        };
        let made = for_sigstore(envelope.as_bytes(), Some(&keys("k1"))).unwrap();
        assert_eq!(made[1], (KEY, b"PEM of k1".to_vec()));
        let bundle: serde_json::Value = serde_json::from_slice(&made[0].1).unwrap();
        let whole: serde_json::Value = serde_json::from_str(envelope).unwrap();
        assert_eq!(bundle["dsseEnvelope"], whole);
        assert_eq!(bundle["verificationMaterial"]["publicKey"]["hint"], "k1");
        for keys in [None, Some(keys("k2")), Some("none".to_owned())] {
            assert_eq!(
                for_sigstore(envelope.as_bytes(), keys.as_deref()).unwrap().len(),
                1
            );
        }
        assert!(for_sigstore(b"{}", None).is_err());
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
