//! What the controller signs of a run: an in-toto Statement v1 with SLSA provenance v1, in a DSSE envelope, and the same
//! as a Sigstore bundle.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `_type` of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `predicateType`.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// `buildType`; docs/evidence.md says what its parameters are.
pub const BUILD_TYPE: &str = "https://cofferdam.dev/agent-run/v1";
/// `payloadType` of an envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// An in-toto Statement v1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it speaks of.
    pub subject: Vec<Resource>,
    /// [`PREDICATE_TYPE`].
    pub predicate_type: String,
    /// How that came to be.
    pub predicate: Provenance,
}

/// A `ResourceDescriptor`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Digests by algorithm.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub digest: Value,
    /// Whatever else is known.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub annotations: Value,
}

/// SLSA provenance v1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was asked for, and what it rested on.
    pub build_definition: BuildDefinition,
    /// Who did it, when, and what else came of it.
    pub run_details: RunDetails,
}

/// What was asked for, and what it rested on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// [`BUILD_TYPE`].
    pub build_type: String,
    /// What the requester chose.
    pub external_parameters: Value,
    /// What the installation and its policies chose.
    pub internal_parameters: Value,
    /// What the agent was given.
    pub resolved_dependencies: Vec<Resource>,
}

/// Who did it, when, and what else came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDetails {
    /// The installation.
    pub builder: Builder,
    /// Which run, and when.
    pub metadata: Metadata,
    /// The chain of its records, its counters and its end.
    pub byproducts: Vec<Resource>,
}

/// The installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Builder {
    /// A URI of it.
    pub id: String,
    /// Versions by component.
    pub version: Value,
}

/// Which run, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Uid of the run.
    pub invocation_id: String,
    /// RFC 3339; absent: it never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_on: Option<String>,
    /// RFC 3339; absent: nobody saw its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_on: Option<String>,
}

/// A DSSE envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Base64 of what is signed.
    pub payload: String,
    /// [`PAYLOAD_TYPE`].
    pub payload_type: String,
    /// At least one.
    pub signatures: Vec<Signature>,
}

/// A signature of [`pae`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Which key ([`super::keys::key_id`]).
    pub keyid: String,
    /// Base64 of the signature.
    pub sig: String,
}

/// The bytes that are signed: DSSE's pre-authentication encoding.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl Envelope {
    /// The envelope as a Sigstore bundle v0.3, for `cosign verify-blob-attestation --bundle`.
    pub fn bundle(&self) -> Value {
        let hint = self.signatures.first().map_or("", |signature| &signature.keyid);
        json!({
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
            "dsseEnvelope": self,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of DSSE's own protocol document.
    #[test]
    fn what_is_signed_is_as_dsse_says() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn bundle_carries_the_envelope_and_names_the_key() {
        let envelope = Envelope {
            payload: "e30=".to_owned(),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature {
                keyid: "k1".to_owned(),
                sig: "c2ln".to_owned(),
            }],
        };
        assert_eq!(
            envelope.bundle(),
            json!({
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "verificationMaterial": {"publicKey": {"hint": "k1"}, "tlogEntries": []},
                "dsseEnvelope": {
                    "payload": "e30=",
                    "payloadType": "application/vnd.in-toto+json",
                    "signatures": [{"keyid": "k1", "sig": "c2ln"}],
                },
            })
        );
    }
}
