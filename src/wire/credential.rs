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
}

impl CredentialHealth {
    /// Whether it could be sent.
    pub fn is_ready(&self) -> bool {
        self.reason == HealthReason::Ready.into()
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
        let ready = text.replace("SecretMissing", "Ready");
        let read: Vec<CredentialHealth> = serde_json::from_str(&ready).unwrap();
        assert!(read[0].is_ready());
    }
}
