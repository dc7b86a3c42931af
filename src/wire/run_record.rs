//! What the controller writes into the chain of a run: what was admitted, with the text of it, and what came of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use cofferdam_api::ResolvedEvidence;
use cofferdam_api::names::digest;

use super::chain::Class;
use super::record::RECORD_VERSION;

/// Bytes of a document's text in one record. Quotes and backslashes take two bytes each, so a record stays below
/// [`super::chain::ENTRY_LIMIT`].
const PART_BYTES: usize = 6 * 1024;
/// Parts of one document; longer ones are named by their digest alone.
const PARTS: usize = 128;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all_fields = "camelCase")]
pub enum RunEvent {
    /// Policies let the run start, and its workload was created.
    Admitted {
        /// `namespace/name` of the run.
        run: String,
        /// Uid of its namespace: a later namespace of the same name is another tenant's. Absent: the writer is older
        /// than this field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace_uid: Option<String>,
        /// Which attempt, from 1.
        attempt: i32,
        /// Who asked for it, as the API server checked; absent: not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requested_by: Option<String>,
        /// For whom, as the requester claims.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
        /// Digest of the document `spec`.
        spec_digest: String,
        /// Hash of the document `policy`, what all policies came to: its SHA-256 in base32.
        policy_hash: String,
        /// `Kind/name uid generation` of each policy.
        policies: Vec<String>,
        /// The agent's image as asked for.
        image: String,
        /// `RuntimeClass` of the pod.
        runtime_class_name: String,
        /// Digest of the pod that was built; absent in a record that was made later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pod_digest: Option<String>,
        /// What policies say of the run's evidence; absent: nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<ResolvedEvidence>,
    },
    /// A text that other records name by its digest, or a part of one.
    Document {
        /// What it is: `spec`, `policy`, `agentProfile`.
        name: String,
        /// `sha256:…` of the whole text.
        digest: String,
        /// Which part, from 1.
        part: usize,
        /// How many there are.
        parts: usize,
        /// The part.
        text: String,
    },
    /// What `prepare` said before the agent started.
    Prepared {
        /// `name commit` of each repository.
        commits: Vec<String>,
        /// When it had seen the fence closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proven_time: Option<String>,
        /// Whether the pod reaches its own node: `Denied`, `Allowed`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node_access: Option<String>,
    },
    /// How the run ended.
    Ended {
        /// `namespace/name` of the run.
        run: String,
        /// Uid of its namespace, as in `Admitted`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace_uid: Option<String>,
        /// The terminal reason.
        reason: String,
        /// For people.
        message: String,
        /// Which attempt it was; absent: there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<i32>,
        /// Exit code of the agent's container.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// When the agent's container started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_start_time: Option<String>,
        /// Digest of the prompt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt_digest: Option<String>,
        /// `container image` as the node names what ran.
        images: Vec<String>,
        /// Digest of the live pod, where it was seen to be the built one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pod_digest: Option<String>,
    },
}

impl RunEvent {
    /// Whether the controller saw it, or was told by somebody in the sandbox.
    pub const fn class(&self) -> Class {
        match self {
            Self::Prepared { .. } => Class::Reported,
            Self::Admitted { .. } | Self::Document { .. } | Self::Ended { .. } => Class::Observed,
        }
    }

    /// The records of a text.
    pub fn document(name: &str, text: &str) -> Vec<Self> {
        let parts = parts(text);
        let (digest, count) = (digest(text.as_bytes()), parts.len());
        if count > PARTS {
            return Vec::new();
        }
        let record = |(index, text): (usize, &str)| Self::Document {
            name: name.to_owned(),
            digest: digest.clone(),
            part: index + 1,
            parts: count,
            text: text.to_owned(),
        };
        parts.into_iter().enumerate().map(record).collect()
    }

    /// The record of it, number `source_seq` of its stream.
    ///
    /// # Errors
    /// Serialisation, which does not fail for these types.
    pub fn record(&self, source_seq: u64, time: &str) -> Result<Map<String, Value>, serde_json::Error> {
        let mut fields: Map<String, Value> = serde_json::from_value(serde_json::to_value(self)?)?;
        fields.insert("version".to_owned(), RECORD_VERSION.into());
        fields.insert("sourceSeq".to_owned(), source_seq.into());
        fields.insert("time".to_owned(), time.into());
        Ok(fields)
    }
}

/// A text in pieces that end at characters.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while rest.len() > PART_BYTES {
        let (part, after) = rest.split_at(rest.floor_char_boundary(PART_BYTES));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::{ENTRY_LIMIT, Entry};

    fn ended() -> RunEvent {
        RunEvent::Ended {
            run: "team-a/fix".to_owned(),
            namespace_uid: Some("5d1e".to_owned()),
            reason: "Completed".to_owned(),
            message: "The agent exited 0.".to_owned(),
            attempt: Some(1),
            exit_code: Some(0),
            agent_start_time: None,
            prompt_digest: None,
            images: vec!["agent sha256:0".to_owned()],
            pod_digest: None,
        }
    }

    #[test]
    fn golden_line_of_version_3() {
        let line = serde_json::to_string(&ended().record(7, "2026-11-26T10:00:00Z").unwrap()).unwrap();
        assert_eq!(
            line,
            r#"{"data":{"attempt":1,"exitCode":0,"images":["agent sha256:0"],"message":"The agent exited 0.","namespaceUid":"5d1e","reason":"Completed","run":"team-a/fix"},"sourceSeq":7,"time":"2026-11-26T10:00:00Z","type":"Ended","version":3}"#
        );
        assert_eq!(serde_json::from_str::<RunEvent>(&line).unwrap(), ended());
    }

    #[test]
    fn only_what_the_sandbox_said_is_reported() {
        let prepared = RunEvent::Prepared {
            commits: Vec::new(),
            proven_time: None,
            node_access: None,
        };
        assert_eq!(prepared.class(), Class::Reported);
        assert_eq!(ended().class(), Class::Observed);
        assert_eq!(RunEvent::document("spec", "{}")[0].class(), Class::Observed);
    }

    #[test]
    fn what_is_too_long_has_no_record() {
        let text = "x".repeat(PART_BYTES * PARTS);
        assert_eq!(RunEvent::document("policy", &text).len(), PARTS);
        assert!(RunEvent::document("policy", &(text + "x")).is_empty());
    }

    proptest! {
        #[test]
        fn every_document_comes_back_from_records_that_the_archive_takes(text in "[\"\\\\a-zä€]{0,9000}") {
            let records = RunEvent::document("policy", &text);
            let mut whole = String::new();
            for (index, event) in records.iter().enumerate() {
                let line = serde_json::to_vec(&event.record(1, "t").unwrap()).unwrap();
                prop_assert!(line.len() <= ENTRY_LIMIT && Entry::parse(&line).is_ok());
                let RunEvent::Document { digest, part, parts, text: piece, .. } = event else { panic!() };
                prop_assert_eq!((*part, *parts), (index + 1, records.len()));
                prop_assert_eq!(digest, &cofferdam_api::names::digest(text.as_bytes()));
                whole += piece;
            }
            prop_assert_eq!(whole, text);
        }
    }
}
