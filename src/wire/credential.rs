//! Whether credentials could be sent, as gateways tell the archive and the archive tells the controller. No value is in it.

use serde::{Deserialize, Serialize};

use super::extensible::Extensible;

/// Longest list in bytes.
pub const HEALTH_LIMIT: usize = 512 * 1024;

/// Whether one credential could be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialHealth {
    /// Name of the `SandboxCredential`.
    pub name: String,
    /// `Ready`, or why not.
    pub reason: Extensible<HealthReason>,
    /// For people: what is wrong, with which Secret.
    pub message: String,
    /// With `Rejected`: the namespaces to whose runs a host said so; none: it is so whoever asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_in: Vec<String>,
}

impl CredentialHealth {
    /// Whether it could be sent, and hosts take it.
    pub fn is_ready(&self) -> bool {
        self.reason == HealthReason::Ready.into()
    }

    /// The same for the runs of a namespace: what a host says to those of another one does not count.
    pub fn is_ready_for(&self, namespace: &str) -> bool {
        let elsewhere =
            !self.refused_in.is_empty() && self.refused_in.iter().all(|refused| refused != namespace);
        self.is_ready() || elsewhere
    }

    /// What two gateways know of one credential: the worse counts.
    pub fn meet(&mut self, other: &Self) {
        if self.is_ready() && !other.is_ready() {
            *self = other.clone();
        } else if self.reason == other.reason && !self.refused_in.is_empty() && !other.refused_in.is_empty() {
            self.refused_in.extend(other.refused_in.iter().cloned());
            self.refused_in.sort();
            self.refused_in.dedup();
        } else if !other.is_ready() && !self.refused_in.is_empty() {
            // The other one is so for everybody.
            *self = other.clone();
        }
    }
}

/// Why a credential could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HealthReason {
    /// It could.
    Ready,
    /// There is no such Secret.
    SecretMissing,
    /// The Secret has no such key.
    SecretKeyMissing,
    /// The value is none that can be sent.
    SecretMalformed,
    /// The definition is none.
    Malformed,
    /// The gateway does not see the credentials' namespace.
    NotSeen,
    /// A host does not take the value.
    Rejected,
}

impl HealthReason {
    /// The stable spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::SecretMissing => "SecretMissing",
            Self::SecretKeyMissing => "SecretKeyMissing",
            Self::SecretMalformed => "SecretMalformed",
            Self::Malformed => "Malformed",
            Self::NotSeen => "NotSeen",
            Self::Rejected => "Rejected",
        }
    }
}

impl std::fmt::Display for HealthReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(reason: HealthReason, refused_in: &[&str]) -> CredentialHealth {
        CredentialHealth {
            name: "model".to_owned(),
            reason: reason.into(),
            message: String::new(),
            refused_in: refused_in.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn what_a_host_says_to_one_namespace_holds_up_no_other() {
        let refused = health(HealthReason::Rejected, &["team-a"]);
        assert!(!refused.is_ready() && !refused.is_ready_for("team-a") && refused.is_ready_for("team-b"));
        for everywhere in [HealthReason::SecretMissing, HealthReason::Rejected] {
            assert!(!health(everywhere, &[]).is_ready_for("team-b"));
        }
    }

    #[test]
    fn of_two_gateways_the_one_that_knows_worse_counts() {
        use HealthReason::{Ready, Rejected, SecretMissing};
        let ready = health(Ready, &[]);
        let (a, b) = (health(Rejected, &["team-a"]), health(Rejected, &["team-b"]));
        let (all, missing) = (health(Rejected, &[]), health(SecretMissing, &[]));
        for (one, other, both) in [
            (&ready, &ready, &ready),
            (&ready, &a, &a),
            (&a, &b, &health(Rejected, &["team-a", "team-b"])),
            (&a, &all, &all),
            (&a, &missing, &missing),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                let mut met = one.clone();
                met.meet(other);
                assert_eq!(met, *both);
            }
        }
    }

    #[test]
    fn golden_document_and_a_reason_of_a_newer_version() {
        let text = r#"[{"name":"model","reason":"SecretMissing","message":"There is no Secret."}]"#;
        let read: Vec<CredentialHealth> = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(!read[0].is_ready());
        let newer = text.replace("SecretMissing", "SecretSealed");
        let read: Vec<CredentialHealth> = serde_json::from_str(&newer).unwrap();
        assert!(!read[0].is_ready());
        assert_eq!(serde_json::to_string(&read).unwrap(), newer);
        let refused = r#"[{"name":"model","reason":"Rejected","message":"401.","refusedIn":["team-a"]}]"#;
        let read: Vec<CredentialHealth> = serde_json::from_str(refused).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), refused);
        let ready = text.replace("SecretMissing", "Ready");
        let read: Vec<CredentialHealth> = serde_json::from_str(&ready).unwrap();
        assert!(read[0].is_ready());
    }
}
