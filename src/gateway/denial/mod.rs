//! Refusals of requests, and text of sandboxes made safe to show.

use std::borrow::Cow;

use cofferdam_policy::decision::{Denied, DenyReason};
use cofferdam_policy::refusal::Layer;
use cofferdam_wire::denial::DenialCode;

/// A refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Stable code: it goes into reason phrases, records and status.
    pub code: DenialCode,
    /// One line for people: which host, which policy layer, what it allows.
    pub message: Cow<'static, str>,
    /// The policy layer that denied it, where one did.
    pub layer: Option<Layer>,
}

impl Denial {
    /// A refusal with its one line for people.
    pub fn new(code: DenialCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            layer: None,
        }
    }
}

impl From<Denied> for Denial {
    fn from(denied: Denied) -> Self {
        let code = match denied.reason {
            DenyReason::NoEgressPolicy => DenialCode::NoEgressPolicy,
            DenyReason::EgressDenied => DenialCode::EgressDenied,
            DenyReason::HostNotAllowed => DenialCode::HostNotAllowed,
            DenyReason::PortNotAllowed => DenialCode::PortNotAllowed,
            DenyReason::RequestNotAllowed => DenialCode::RequestNotAllowed,
            DenyReason::CredentialConflict => DenialCode::CredentialConflict,
            DenyReason::CredentialNeedsTls => DenialCode::CredentialNeedsTls,
            DenyReason::ServiceNotGranted => DenialCode::ServiceNotGranted,
            DenyReason::NotAskedFor => DenialCode::NotAskedFor,
            DenyReason::NotARepositoryHost => DenialCode::NotARepositoryHost,
        };
        Self {
            code,
            message: denied.message.into(),
            layer: denied.layer,
        }
    }
}

/// What a cluster policy denies that allowed it, or was not there, when the run was admitted.
pub fn denied_since(found: Denied) -> Denial {
    Denial {
        code: DenialCode::DeniedSinceAdmission,
        message: format!("{found}; the policy has changed since this run was admitted").into(),
        layer: found.layer,
    }
}

/// Longest text of a sandbox in logs and records, in bytes.
const SHOWN: usize = 100;

/// Text from a sandbox made safe for logs, records and terminals: one line of at most 100 bytes.
pub fn printable(text: &str) -> String {
    cofferdam_text::bounded(text, SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_of_policy_keep_their_spelling() {
        for reason in DenyReason::ALL {
            let denied = Denied {
                reason,
                layer: None,
                message: String::new(),
            };
            assert_eq!(Denial::from(denied).code.as_str(), reason.as_str());
        }
    }

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        assert_eq!(printable("a.test:443"), "a.test:443");
        assert_eq!(printable("\u{1b}[2J\u{202e}"), "\\u{1b}[2J\\u{202e}");
        assert_eq!(printable(&"é".repeat(1000)).len(), 99);
    }
}
