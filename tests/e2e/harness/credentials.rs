//! Credentials of a test's own, and their values.

use std::time::Duration;

use cofferdam_api::SandboxCredential;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{CREDENTIALS_NAMESPACE, Space, until};

/// A `SandboxCredential` that one namespace may use.
pub struct Credential {
    client: Client,
    pub name: String,
}

impl Credential {
    /// Applies the credential `e2e-<name>`, whose value stands in the Secret of the same name.
    pub async fn apply(space: &Space, name: &str, spec: Value) -> Self {
        let name = format!("e2e-{name}");
        let mut whole = json!({
            "type": "Secret", "secretName": name,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
        });
        super::merge(&mut whole, &spec);
        let object = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxCredential", "metadata": {"name": name}, "spec": whole,
        });
        let credential = Self {
            client: space.client.clone(),
            name,
        };
        credential
            .api()
            .patch(
                &credential.name,
                &PatchParams::apply("e2e").force(),
                &Patch::Apply(object),
            )
            .await
            .expect("the credential is valid");
        credential
    }

    fn api(&self) -> Api<SandboxCredential> {
        Api::all(self.client.clone())
    }

    /// Waits until its `Ready` has this reason, and gives the message.
    pub async fn is_ready(&self, reason: &str) -> String {
        until(
            &format!("{} is {reason}", self.name),
            Duration::from_mins(1),
            || async {
                let credential = self.api().get(&self.name).await.expect("it is there");
                let conditions = credential
                    .status
                    .map(|status| status.conditions)
                    .unwrap_or_default();
                let ready = conditions
                    .into_iter()
                    .find(|condition| condition.type_ == "Ready");
                match ready {
                    Some(ready) if ready.reason == reason => Ok(ready.message),
                    other => Err(other),
                }
            },
        )
        .await
    }

    /// Takes the credential and its value away.
    pub async fn forget(self) {
        self.api()
            .delete(&self.name, &DeleteParams::default())
            .await
            .expect("the credential is the test's own");
        forget_secret(&self.client, &self.name).await;
    }
}

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), CREDENTIALS_NAMESPACE)
}

/// Puts a value into a Secret of the credentials' namespace, as whoever keeps the company's keys does.
pub async fn put_secret(client: &Client, name: &str, value: &str) {
    let token = ByteString(value.as_bytes().to_vec());
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"token": token},
    });
    secrets(client)
        .patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(secret))
        .await
        .expect("an admin writes Secrets");
}

/// Deletes such a Secret, if it is there.
pub async fn forget_secret(client: &Client, name: &str) {
    match secrets(client).delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => panic!("{name}: {error}"),
    }
}
