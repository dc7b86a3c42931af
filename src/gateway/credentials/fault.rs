//! Why a credential is not sent.

use super::app::fault::AppFault;
use super::app::jwt::KeyError;
use super::value::ValueError;
use crate::denial::Denial;
use cofferdam_wire::credential::HealthReason;
use cofferdam_wire::denial::DenialCode;

/// Why a credential is not sent. No message holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The watches have shown nothing yet, or have ended some time ago.
    #[error("the gateway does not see the Secrets of the credentials' namespace")]
    NotSeen,
    /// The definition is gone.
    #[error("there is no SandboxCredential of this name any more")]
    Gone,
    /// The definition is not what it was when the run was admitted.
    #[error("its SandboxCredential has changed since the run was admitted; start a new run")]
    Changed,
    /// No definition lets it go to the host.
    #[error("its SandboxCredential does not list the host")]
    OtherHost,
    /// There is no such Secret.
    #[error("there is no Secret {0} in the credentials' namespace")]
    NoSecret(String),
    /// It lacks the key.
    #[error("Secret {0} of the credentials' namespace has no key {1}")]
    NoKey(String, String),
    /// The value cannot be sent.
    #[error("the value of key {1} in Secret {0} of the credentials' namespace cannot be used: {2}")]
    Value(String, String, ValueError),
    /// The definition cannot be used.
    #[error("its SandboxCredential cannot be used: {0}")]
    Malformed(&'static str),
    /// The private key of an App cannot be used.
    #[error("the value of key {1} in Secret {0} of the credentials' namespace cannot be used: {2}")]
    Key(String, String, KeyError),
    /// No token of an App can be had.
    #[error(transparent)]
    App(#[from] AppFault),
}

impl Fault {
    /// How the credential's health is told.
    pub const fn reason(&self) -> HealthReason {
        match self {
            Self::NotSeen => HealthReason::NotSeen,
            Self::NoSecret(_) => HealthReason::SecretMissing,
            Self::NoKey(..) => HealthReason::SecretKeyMissing,
            Self::Value(..) | Self::Key(..) => HealthReason::SecretMalformed,
            Self::App(_) => HealthReason::Rejected,
            Self::Gone | Self::Changed | Self::OtherHost | Self::Malformed(_) => HealthReason::Malformed,
        }
    }
}

/// The denial of a request that needs a credential which is not there.
pub fn unavailable(name: &str, fault: &Fault) -> Denial {
    let message = format!("credential {name} cannot be added: {fault}");
    Denial::new(DenialCode::CredentialUnavailable, message)
}
