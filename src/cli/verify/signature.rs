//! The signed statement about a run: whether a key of the installation signed it, and whether it speaks of what is here.
//! Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use super::check::{Check, Material, Verdict};
use cofferdam_wire::chain::Head;
use cofferdam_wire::chain::verify::{Expected, verify};
use cofferdam_wire::keys::{PublicKeys, spki};
use cofferdam_wire::statement::{Envelope, PAYLOAD_TYPE, STATEMENT_TYPE, Statement, pae};

/// Bytes of an Ed25519 key at the end of its `SubjectPublicKeyInfo`.
const KEY: usize = 32;

/// The keys by which statements are verified, and where they come from.
pub struct Keys {
    /// The keys.
    pub keys: PublicKeys,
    /// In words.
    pub from: String,
}

/// What is checked of the statement.
pub fn checks(material: &Material, keys: Option<&Keys>) -> Vec<Check> {
    let Some(statement) = &material.statement else {
        let said = "there is no signed statement about the run";
        return vec![Check::new("statement", Verdict::NotAsked, said)];
    };
    let Some(keys) = keys else {
        let said = "there is one, and no key to verify it by: give --keys";
        return vec![Check::new("statement", Verdict::Missing, said)];
    };
    match signed(statement, &keys.keys) {
        Err(why) => vec![Check::new("statement", Verdict::Fails, why)],
        Ok((statement, key)) => {
            let said = format!("signed by key {key}, by {}", keys.from);
            let mut checks = vec![Check::new("statement", Verdict::Holds, said)];
            checks.push(run(material, &statement));
            checks.push(chain(material, &statement));
            checks.extend(subjects(material, &statement));
            checks
        }
    }
}

/// The statement of an envelope, and the id of the key that signed it.
fn signed(envelope: &[u8], keys: &PublicKeys) -> Result<(Statement, String), String> {
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(|error| format!("it is no DSSE envelope: {error}"))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(format!("its payload is {}", envelope.payload_type));
    }
    let payload = STANDARD
        .decode(&envelope.payload)
        .map_err(|error| format!("its payload cannot be read: {error}"))?;
    let signed = pae(&envelope.payload_type, &payload);
    let holds = |keyid: &str, sig: &str| {
        let key = keys.keys.iter().find(|key| key.key_id == keyid)?;
        let der = SubjectPublicKeyInfoDer::from_pem_slice(key.public_key.as_bytes()).ok()?;
        let public: [u8; KEY] = der.get(der.len().checked_sub(KEY)?..)?.try_into().ok()?;
        // Nothing but an Ed25519 key ends so.
        let is_key = spki(&public) == der.as_ref();
        let signature = STANDARD.decode(sig).ok()?;
        let verified = UnparsedPublicKey::new(&ED25519, public).verify(&signed, &signature);
        (is_key && verified.is_ok()).then(|| keyid.to_owned())
    };
    let mut signatures = envelope.signatures.iter();
    let key = signatures
        .find_map(|signature| holds(&signature.keyid, &signature.sig))
        .ok_or("no key of the installation signed it")?;
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(|error| format!("it is no statement: {error}"))?;
    if statement.kind != STATEMENT_TYPE {
        return Err(format!("it is a {}", statement.kind));
    }
    Ok((statement, key))
}

fn run(material: &Material, statement: &Statement) -> Check {
    let (of, here) = (
        &statement.predicate.run_details.metadata.invocation_id,
        &material.summary.metadata.uid,
    );
    if of == here {
        Check::new("statement's run", Verdict::Holds, of)
    } else {
        Check::new(
            "statement's run",
            Verdict::Fails,
            format!("it is about run {of}, not {here}"),
        )
    }
}

/// The statement names where the chain ends, so nothing can be missing at its end.
fn chain(material: &Material, statement: &Statement) -> Check {
    let what = "statement's chain";
    let Some(head) = head(statement) else {
        return Check::new(what, Verdict::Fails, "it does not say where the chain ends");
    };
    match verify(
        &material.summary.metadata.uid,
        &material.records,
        Expected::Exactly(head),
    ) {
        Ok(_) => Check::new(
            what,
            Verdict::Holds,
            format!("it ends where the statement says, with record {}", head.seq),
        ),
        Err(fault) => Check::new(what, Verdict::Fails, fault.to_string()),
    }
}

fn head(statement: &Statement) -> Option<Head> {
    let byproducts = &statement.predicate.run_details.byproducts;
    let chain = byproducts
        .iter()
        .find(|item| item.name.as_deref() == Some("chain"))?;
    Some(Head {
        seq: chain.annotations.get("seq")?.as_u64()?,
        sha256: chain.digest.get("sha256")?.as_str()?.parse().ok()?,
    })
}

/// Each patch that was received is a subject, by the digest that it was received with.
fn subjects(material: &Material, statement: &Statement) -> Vec<Check> {
    let receipt = material.summary.record.receipt.iter();
    let check = |patch: &cofferdam_wire::output::PatchManifest| {
        let (name, what) = (
            format!("{}.patch", patch.name()),
            format!("statement's patch of {}", patch.path()),
        );
        let subject = statement
            .subject
            .iter()
            .find(|subject| subject.name.as_deref() == Some(&name));
        let digest = subject.and_then(|subject| subject.digest.get("sha256")?.as_str());
        match digest {
            Some(digest) if format!("sha256:{digest}") == patch.digest => {
                Check::new(what, Verdict::Holds, &patch.digest)
            }
            Some(digest) => Check::new(
                what,
                Verdict::Fails,
                format!("it says sha256:{digest}, and {} was received", patch.digest),
            ),
            None => Check::new(what, Verdict::Fails, "the statement does not name it"),
        }
    };
    receipt
        .flat_map(|receipt| &receipt.manifest.patches)
        .map(check)
        .collect()
}
