//! The outcome of a decision about what an agent may do while its run lasts: allow or deny, with who denied and why.

use crate::refusal::Layer;

/// What policies decide about one connection or request.
///
/// Two outcomes exist. Code that matches on them names both and has no catch-all arm: a third one, such as holding a
/// request until a person has decided, is a third variant, and whoever has not said what to do with it does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision<T> {
    /// Every layer that says anything allows it; the value says what is allowed and by which rules.
    Allow(T),
    /// It is not allowed.
    Deny(Denied),
}

/// Which layer denied, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// Stable reason.
    pub reason: DenyReason,
    /// The first layer, in canonical order, that denies; absent: no layer says anything, or the run asked for less.
    pub layer: Option<Layer>,
    /// For people: what was denied, by which layer, and what that layer allows.
    pub message: String,
}

/// Why policies deny a connection or a request. The spelling is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// No layer sets `limits.egress`.
    NoEgressPolicy,
    /// A layer has `limits.egress.mode: DenyAll`.
    EgressDenied,
    /// A layer has no rule for the host.
    HostNotAllowed,
    /// A layer has a rule for the host, but not for the port.
    PortNotAllowed,
    /// A layer has rules for the host and port, but none for the request's method and path.
    RequestNotAllowed,
    /// Rules that allow the request name different credentials for it.
    CredentialConflict,
    /// A rule that allows the request has a credential, and the request is in clear text.
    CredentialNeedsTls,
    /// Only the namespace's own policy grants a Service of the cluster.
    ServiceNotGranted,
    /// The policies allow it, and `spec.egress` of the run does not name it.
    NotAskedFor,
    /// `prepare` wants to reach something else than the host of an admitted repository.
    NotARepositoryHost,
}

impl DenyReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::NoEgressPolicy,
        Self::EgressDenied,
        Self::HostNotAllowed,
        Self::PortNotAllowed,
        Self::RequestNotAllowed,
        Self::CredentialConflict,
        Self::CredentialNeedsTls,
        Self::ServiceNotGranted,
        Self::NotAskedFor,
        Self::NotARepositoryHost,
    ];

    /// The stable spelling, a single word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoEgressPolicy => "NoEgressPolicy",
            Self::EgressDenied => "EgressDenied",
            Self::HostNotAllowed => "HostNotAllowed",
            Self::PortNotAllowed => "PortNotAllowed",
            Self::RequestNotAllowed => "RequestNotAllowed",
            Self::CredentialConflict => "CredentialConflict",
            Self::CredentialNeedsTls => "CredentialNeedsTls",
            Self::ServiceNotGranted => "ServiceNotGranted",
            Self::NotAskedFor => "NotAskedFor",
            Self::NotARepositoryHost => "NotARepositoryHost",
        }
    }
}

impl<T> Decision<T> {
    /// The same decision about what `change` makes of the allowed value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Decision<U> {
        match self {
            Self::Allow(value) => Decision::Allow(change(value)),
            Self::Deny(denied) => Decision::Deny(denied),
        }
    }

    /// For a caller that can only go on or stop: whatever is not allowed is denied.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn into_result(self) -> Result<T, Denied> {
        match self {
            Self::Allow(value) => Ok(value),
            Self::Deny(denied) => Err(denied),
        }
    }

    /// Whether it is allowed now.
    pub const fn is_allowed(&self) -> bool {
        match self {
            Self::Allow(_) => true,
            Self::Deny(_) => false,
        }
    }
}
