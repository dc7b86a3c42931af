//! What the tests stand on: a client, namespaces, policies, runs, and what the internet's servers saw.

mod credentials;
mod internet;
mod ordinary;
mod policies;
mod run;
mod space;
mod wait;

pub use credentials::{Credential, forget_secret, put_secret};
pub use internet::{Internet, state};
pub use ordinary::{Ordinary, sandboxed, unconfined};
pub use policies::{ceiling, forget_ceiling};
pub use run::{Run, is_true};
pub use space::{Space, default_limits, merge, prompt_from, remove_namespace, repository, restricted};
pub use wait::{eventually, until};

/// Images that `make install` loads.
pub const BUSYBOX: &str = "cofferdam.test/busybox:dev";
pub const ATTACKER: &str = "cofferdam.test/attacker:dev";

/// Where the operator runs.
pub const OPERATOR_NAMESPACE: &str = "cofferdam-system";
/// The namespace of the Secrets that hold credentials.
pub const CREDENTIALS_NAMESPACE: &str = "cofferdam-credentials";

/// A client for the embedded cluster, as cluster admin.
pub async fn client() -> kube::Client {
    // Another test of this process may have installed it; all install the same one.
    let _already = rustls::crypto::ring::default_provider().install_default();
    kube::Client::try_default()
        .await
        .expect("KUBECONFIG must name the embedded cluster: run these tests by `make e2e`")
}
