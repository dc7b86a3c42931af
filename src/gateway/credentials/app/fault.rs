//! Why a GitHub App gets no token.

use super::jwt::KeyError;
use cofferdam_policy::dimension::credentials::ScopeError;

/// Why there is no token. No message holds one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppFault {
    /// The private key.
    #[error("its private key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// It is not known for which repositories.
    #[error("{0}")]
    Scope(#[from] ScopeError),
    /// GitHub did not answer.
    #[error("GitHub cannot be asked for a token: {0}")]
    Unreachable(String),
    /// GitHub does not believe the App.
    #[error(
        "GitHub does not take the App's signature: appID and the private key do not belong together, the key was revoked, or \
         the clock of the gateway's node is wrong"
    )]
    Rejected,
    /// There is no installation.
    #[error("the App is not installed at {0}, or there is no such repository: install it there")]
    NotInstalled(String),
    /// The installation does not allow anything now.
    #[error("the App's installation is suspended: whoever owns the repositories can resume it")]
    Suspended,
    /// A repository is not among those of the installation.
    #[error("the App's installation does not cover all of {0}: add the repository to the installation")]
    Outside(String),
    /// The installation does not grant what the definition wants.
    #[error(
        "the App's installation does not grant {0}: grant it to the App and have the installation's owner accept it, or take \
         it out of gitHubApp.permissions"
    )]
    PermissionMissing(String),
    /// Too much was asked.
    #[error("GitHub takes no more requests of the App for {0} s")]
    RateLimited(u64),
    /// Another refusal.
    #[error("GitHub refuses a token with {0}: {1}")]
    Refused(u16, String),
    /// An answer that means nothing, or a token that may do more than was asked for.
    #[error("GitHub's answer cannot be used: {0}")]
    Odd(&'static str),
    /// The run holds many.
    #[error("the run has asked for tokens of too many repositories")]
    TooMany,
    /// The run has ended.
    #[error("the run has ended")]
    Ended,
}
