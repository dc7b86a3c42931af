//! What is checked of a run's evidence. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::check::{Check, Material, Verdict};
use super::signature::{self, Keys};

use cofferdam_wire::chain::verify::{Expected, Verified, verify};
use cofferdam_wire::record::{Record, RecordEvent};
use cofferdam_wire::seal::SEALED;

/// All checks that need nothing but the material.
pub fn all(material: &Material, keys: Option<&Keys>) -> Vec<Check> {
    let (chain, verified) = chain(material);
    let mut checks = vec![chain];
    if let Some(verified) = verified {
        let tally = Tally::of(&material.records);
        checks.push(streams(&verified, &tally));
        checks.push(counts(material, &tally));
    }
    checks.extend(patches(material));
    checks.extend(signature::checks(material, keys));
    checks
}

/// Whether the lines are those that the archive chained, to the end that it named.
fn chain(material: &Material) -> (Check, Option<Verified>) {
    let Some(state) = &material.summary.record.chain else {
        let said = "the archive does not say where the chain ends: it is older than this command";
        return (Check::new("chain", Verdict::Missing, said), None);
    };
    let Some(head) = state.head else {
        let fault = state.fault.as_deref().unwrap_or("it does not verify");
        return (
            Check::new(
                "chain",
                Verdict::Fails,
                format!("the archive itself found a fault: {fault}"),
            ),
            None,
        );
    };
    match verify(
        &material.summary.metadata.uid,
        &material.records,
        Expected::AtLeast(head),
    ) {
        Ok(verified) => {
            let said = format!(
                "{} records, each linked to the one before, up to {}",
                verified.head.seq, verified.head.sha256
            );
            (Check::new("chain", Verdict::Holds, said), Some(verified))
        }
        Err(fault) => (Check::new("chain", Verdict::Fails, fault.to_string()), None),
    }
}

/// Whether every source closed what it opened, and every number that it gave is there.
fn streams(verified: &Verified, tally: &Tally) -> Check {
    let missing: Vec<String> = verified
        .sources
        .iter()
        .flat_map(|(source, stream)| {
            stream
                .missing
                .iter()
                .map(move |range| format!("{source} {}..={}", range.start(), range.end()))
        })
        .collect();
    if !missing.is_empty() {
        return Check::new(
            "sources",
            Verdict::Fails,
            format!("records were lost: {}", missing.join(", ")),
        );
    }
    let open = tally.open;
    if open > 0 {
        let said = format!(
            "{open} of {} sources have no end: the run goes on, or their end was lost",
            verified.sources.len()
        );
        return Check::new("sources", Verdict::Missing, said);
    }
    Check::new(
        "sources",
        Verdict::Holds,
        format!(
            "{} sources, none with a record missing, all ended",
            verified.sources.len()
        ),
    )
}

/// Whether the last records of a run that handed its work over are still to come: gateways end them some seconds after its
/// pod has ended.
pub fn is_ending(material: &Material) -> bool {
    material.summary.record.receipt.is_some()
        && !is_sealed(&material.records)
        && Tally::of(&material.records).open > 0
}

/// Whether the last record says that none will follow.
fn is_sealed(records: &[u8]) -> bool {
    let last = records
        .split(|byte| *byte == b'\n')
        .rfind(|line| !line.is_empty());
    let value: Option<Value> = last.and_then(|line| serde_json::from_slice(line).ok());
    value.is_some_and(|value| value.get("type").and_then(Value::as_str) == Some(SEALED))
}

/// Whether the records come to what the archive counted.
fn counts(material: &Material, tally: &Tally) -> Check {
    let Tally { allowed, denied, .. } = *tally;
    let counted = (
        material.summary.record.requests,
        material.summary.record.denied_requests,
    );
    let said = format!("{allowed} requests allowed, {denied} denied");
    // Records may have come since the summary was made.
    if allowed >= counted.0 && denied >= counted.1 {
        Check::new("counts", Verdict::Holds, said)
    } else {
        let said = format!("{said}; the archive counted {} and {}", counted.0, counted.1);
        Check::new("counts", Verdict::Fails, said)
    }
}

/// Whether each patch is the one that was received.
fn patches(material: &Material) -> Vec<Check> {
    let Some(receipt) = &material.summary.record.receipt else {
        return vec![Check::new("patches", Verdict::NotAsked, "the run left no output")];
    };
    if receipt.manifest.patches.is_empty() {
        return vec![Check::new(
            "patches",
            Verdict::NotAsked,
            "the run changed no repository",
        )];
    }
    let check = |patch: &cofferdam_wire::output::PatchManifest| {
        let what = format!("patch of {}", patch.path());
        let Some((_, bytes)) = material.patches.iter().find(|(name, _)| *name == patch.name()) else {
            let said = if material.summary.record.patches_removed {
                "the archive removed it, for the days that patches are kept are over"
            } else {
                "it is not there"
            };
            return Check::new(what, Verdict::Missing, said);
        };
        let digest = cofferdam_api::names::digest(bytes);
        if digest == patch.digest {
            Check::new(
                what,
                Verdict::Holds,
                format!("{} bytes, {digest}, on {}", bytes.len(), patch.base_commit),
            )
        } else {
            Check::new(
                what,
                Verdict::Fails,
                format!("its digest is {digest}; {} was received", patch.digest),
            )
        }
    };
    receipt.manifest.patches.iter().map(check).collect()
}

/// What the records of a run come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Sources that began and have not ended.
    open: i64,
    /// Requests that were let through.
    allowed: u64,
    /// Requests that were denied.
    denied: u64,
}

impl Tally {
    /// Reads of each line what it is, and the rest only where that counts: a chain may have a million lines.
    fn of(records: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow)]
            r#type: Cow<'a, str>,
        }
        let mut tally = Self::default();
        for line in records.split(|byte| *byte == b'\n') {
            let Ok(Kind { r#type }) = serde_json::from_slice(line) else {
                continue;
            };
            match r#type.as_ref() {
                "StreamOpened" => tally.open += 1,
                "StreamClosed" => tally.open -= 1,
                "Allowed" => tally.allowed += 1,
                "Denied" => {
                    if let Ok(Record {
                        event: RecordEvent::Denied { count, .. },
                        ..
                    }) = serde_json::from_slice(line)
                    {
                        tally.denied = tally.denied.saturating_add(count);
                    }
                }
                _ => {}
            }
        }
        tally
    }
}
