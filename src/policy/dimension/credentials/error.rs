//! What no credential can be.

/// A definition says what no credential can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A host.
    #[error("spec.hosts: {0:?} is not a host name")]
    Host(String),
    /// Neither or both ways of sending it.
    #[error("exactly one of spec.inject and spec.basic must be given")]
    Injection,
    /// The selector.
    #[error("spec.namespaceSelector: {0}")]
    Selector(String),
    /// The App.
    #[error("spec.gitHubApp: {0}")]
    App(String),
}
