//! From where evidence comes, and where patches are tried.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::check::{Check, Material, Verdict};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::signature::Keys;
use crate::audit::files::{KEYS, PATCHES, RECORDS, STATEMENT, SUMMARY, file_name};
use crate::failure::Failure;
use crate::git::{Checkout, git, is_commit};
use crate::output::{Output, kept_patches};
use cofferdam_api::names;
use cofferdam_wire::keys::PublicKeys;
use cofferdam_wire::output_api::RunSummary;

/// Longest file of an export: a run's records and patches are shorter.
const FILE_LIMIT: u64 = 128 << 20;

/// What the cluster hands out now.
///
/// # Errors
/// It does not.
pub async fn from_cluster(output: &Output) -> Result<Material, Failure> {
    let summary = output.summary().await?;
    let expected = summary.record.chain.as_ref().map(|chain| chain.bytes);
    let records = output.records(expected).await?.spool.read()?;
    let mut patches = Vec::new();
    for patch in kept_patches(&summary) {
        patches.push((patch.name(), output.patch(patch).await?.read()?));
    }
    Ok(Material {
        records,
        patches,
        statement: output.statement().await?,
        summary,
    })
}

/// What an export holds.
///
/// # Errors
/// It is none, or not whole.
pub fn from_export(directory: &Path) -> Result<Material, Failure> {
    let needed = |name: &str| {
        read(&directory.join(name))?.ok_or_else(|| {
            Failure::Broken(format!(
                "{} has no {name}: it is no whole export",
                directory.display()
            ))
        })
    };
    let summary: RunSummary = serde_json::from_slice(&needed(SUMMARY)?)
        .map_err(|error| Failure::Broken(format!("{SUMMARY} cannot be read: {error}")))?;
    let mut patches = Vec::new();
    for patch in summary
        .record
        .receipt
        .iter()
        .flat_map(|receipt| &receipt.manifest.patches)
    {
        let path = directory.join(PATCHES).join(file_name(&patch.name())?);
        if let Some(bytes) = read(&path)? {
            patches.push((patch.name(), bytes));
        }
    }
    Ok(Material {
        records: needed(RECORDS)?,
        patches,
        statement: read(&directory.join(STATEMENT))?,
        summary,
    })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let what = || format!("{} cannot be read", path.display());
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io(what())(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(Failure::io(what()))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(Failure::Broken(format!(
            "{} is longer than any of a run",
            path.display()
        )));
    }
    Ok(Some(bytes))
}

/// The keys of a file that the user has from somewhere.
///
/// # Errors
/// It has none.
pub fn keys_of_file(path: &Path) -> Result<Keys, Failure> {
    let bytes = read(path)?.ok_or_else(|| Failure::Absent(format!("there is no file {}", path.display())))?;
    parsed(&bytes, format!("the keys in {}", path.display()))
}

/// The keys that lie in an export.
///
/// # Errors
/// They cannot be read.
pub fn keys_of_export(directory: &Path) -> Result<Option<Keys>, Failure> {
    let bytes = read(&directory.join(KEYS))?;
    bytes
        .map(|bytes| parsed(&bytes, "the keys in the export itself".to_owned()))
        .transpose()
}

fn parsed(bytes: &[u8], from: String) -> Result<Keys, Failure> {
    let keys = PublicKeys::parse(bytes)
        .map_err(|error| Failure::Broken(format!("{from} cannot be read: {error}")))?;
    Ok(Keys { keys, from })
}

/// The keys that the installation publishes; none: they may not be read, or there are none.
pub async fn keys_of_cluster(client: &Client, operator: &str) -> Option<Keys> {
    let text = published(client, operator).await?;
    parsed(text.as_bytes(), "the keys of the cluster".to_owned()).ok()
}

/// `keys.json` of the cluster.
pub async fn published(client: &Client, operator: &str) -> Option<String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), operator);
    api.get(names::PUBLIC_KEYS).await.ok()?.data?.remove(KEYS)
}

/// Tries each patch on its base commit, in a clone that is thrown away.
///
/// # Errors
/// Git cannot be run, or there is no checkout.
pub fn on_checkout(material: &Material, directory: &Path) -> Result<Vec<Check>, Failure> {
    let checkout = Checkout::of(directory)?;
    let receipt = material.summary.record.receipt.iter();
    let mut checks = Vec::new();
    for patch in receipt.flat_map(|receipt| &receipt.manifest.patches) {
        let what = format!("patch of {} on its base", patch.path());
        let checkout = match &patch.submodule {
            Some(path) => within(&checkout, path)?,
            None => checkout.clone(),
        };
        let bytes = material.patches.iter().find(|(name, _)| *name == patch.name());
        let check = match bytes {
            _ if !is_commit(&patch.base_commit) => Check::new(what, Verdict::Fails, "it names no commit"),
            None => Check::new(what, Verdict::Missing, "the patch is not there"),
            Some(_) if !checkout.has(&patch.base_commit)? => {
                let said = format!(
                    "{} does not have commit {}",
                    checkout.root().display(),
                    patch.base_commit
                );
                Check::new(what, Verdict::Missing, said)
            }
            Some((_, bytes)) if bytes.is_empty() => Check::new(what, Verdict::Holds, "it changes nothing"),
            Some((_, bytes)) => tried(&checkout, &patch.base_commit, bytes, what)?,
        };
        checks.push(check);
    }
    Ok(checks)
}

/// The checkout of a submodule. Its path is the sandbox's word: one that leads elsewhere is none. Of a submodule that is not
/// checked out this is the checkout around it, which does not have its commits.
fn within(checkout: &Checkout, path: &str) -> Result<Checkout, Failure> {
    let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    let directory = checkout.root().join(path);
    if Path::new(path).components().all(plain) && directory.is_dir() {
        Checkout::of(&directory)
    } else {
        Ok(checkout.clone())
    }
}

/// In an index of its own: no file of the checkout is read or written.
fn tried(checkout: &Checkout, base: &str, bytes: &[u8], what: String) -> Result<Check, Failure> {
    let scratch = tempfile::tempdir().map_err(Failure::io("a temporary directory cannot be made"))?;
    let clone = scratch.path().join("clone");
    let broken = |step: &str, error: String| Failure::Broken(format!("the scratch clone: {step}: {error}"));
    let source = checkout.root().as_os_str();
    let flags =
        ["clone", "--quiet", "--shared", "--no-checkout", "--no-tags", "--"].map(std::ffi::OsStr::new);
    let said = git(
        scratch.path(),
        flags.into_iter().chain([source, clone.as_os_str()]),
        None,
    )?;
    if !said.done {
        return Err(broken("clone", said.error));
    }
    let said = git(&clone, ["read-tree", base], None)?;
    if !said.done {
        return Err(broken("read-tree", said.error));
    }
    let said = git(
        &clone,
        ["apply", "--cached", "--binary", "--whitespace=nowarn", "-"],
        Some(bytes),
    )?;
    if !said.done {
        return Ok(Check::new(
            what,
            Verdict::Fails,
            format!("it does not apply to {base}: {}", said.error),
        ));
    }
    let tree = git(&clone, ["write-tree"], None)?;
    let tree = String::from_utf8_lossy(&tree.out).trim().to_owned();
    Ok(Check::new(
        what,
        Verdict::Holds,
        format!("it applies to {base} and gives tree {tree}"),
    ))
}
