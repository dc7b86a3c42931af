//! The status of each `SandboxCredential`: whether the gateway has a value that it can send.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, ResourceExt};

use super::Told;
use crate::conditions::{self, Desired};
use crate::policy_status::{Context, Policy, READY};
use cofferdam_api::{SandboxCredential, SandboxCredentialStatus};
use cofferdam_policy::dimension::credentials::{Credential, selects};

impl Policy for SandboxCredential {
    const UNREADABLE: &'static str = "a credential cannot be read: runs that need it do not start";

    fn api(&self, client: &Client) -> Api<Self> {
        Api::all(client.clone())
    }

    fn judge(&self, context: &Context, now: Timestamp) -> SandboxCredentialStatus {
        judge(self, &context.stores.credential_health.told(), now)
    }

    fn conditions(status: &SandboxCredentialStatus) -> &[Condition] {
        &status.conditions
    }
}

/// The status of a credential. Pure.
fn judge(credential: &SandboxCredential, told: &Told, now: Timestamp) -> SandboxCredentialStatus {
    let (holds, reason, message) = found(credential, told);
    let status = credential.status.as_ref();
    let mut conditions = status.map(|status| status.conditions.clone()).unwrap_or_default();
    let desired = Desired {
        type_: READY,
        holds,
        reason,
        message,
    };
    conditions::set(&mut conditions, desired, credential.metadata.generation, now);
    SandboxCredentialStatus {
        observed_generation: credential.metadata.generation,
        conditions,
    }
}

/// Whether it can be sent, the reason, and that for people with what to do.
fn found(credential: &SandboxCredential, told: &Told) -> (Option<bool>, String, String) {
    let read = Credential::read(credential).and_then(|read| {
        selects(credential, &std::collections::BTreeMap::new())?;
        Ok(read)
    });
    if let Err(error) = read {
        return (Some(false), "Malformed".to_owned(), format!("{error}."));
    }
    match told.get(&credential.name_any()) {
        Some(health) => {
            let reason = health.reason.to_string();
            let message = if health.is_ready() {
                health.message.clone()
            } else {
                let key = &credential.spec.secret_key;
                format!(
                    "{} Runs that need this credential do not start. Create the Secret with the value at key {key}, or correct \
                     spec.secretName and spec.secretKey.",
                    health.message
                )
            };
            (Some(health.is_ready()), reason, message)
        }
        None => (
            None,
            "WaitingForGateway".to_owned(),
            "No gateway has told yet whether it has the value. It comes within seconds; if not, look at the gateway's log."
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;
    use cofferdam_wire::credential::{CredentialHealth, HealthReason};
    use rstest::rstest;
    use serde_json::{Value, json};

    fn credential(changes: &Value) -> SandboxCredential {
        let mut spec = json!({
            "type": "Secret", "secretName": "of-model", "hosts": ["a.example.com"],
            "inject": {"header": "x-api-key"}, "namespaceSelector": {},
        });
        json_patch::merge(&mut spec, changes);
        let mut made = SandboxCredential::new("model", serde_json::from_value(spec).unwrap());
        made.metadata.generation = Some(3);
        made
    }

    fn told(reason: HealthReason) -> Told {
        let health = CredentialHealth {
            name: "model".to_owned(),
            reason: reason.into(),
            message: "There is no Secret of-model in the credentials' namespace.".to_owned(),
        };
        Told::from([("model".to_owned(), health)])
    }

    #[rstest]
    #[case::ready(json!({}), told(HealthReason::Ready), "True", "Ready")]
    #[case::missing(json!({}), told(HealthReason::SecretMissing), "False", "SecretMissing")]
    #[case::not_told(json!({}), Told::new(), "Unknown", "WaitingForGateway")]
    #[case::no_injection(json!({"inject": null}), told(HealthReason::Ready), "False", "Malformed")]
    #[case::odd_selector(
        json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}}),
        told(HealthReason::Ready), "False", "Malformed")]
    fn a_credential_says_whether_it_can_be_sent(
        #[case] changes: Value,
        #[case] told: Told,
        #[case] status: &str,
        #[case] reason: &str,
    ) {
        let judged = judge(&credential(&changes), &told, at(0));
        let ready = &judged.conditions[0];
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            (status, reason),
            "{}",
            ready.message
        );
        assert_eq!(judged.observed_generation, Some(3));
        if reason == "SecretMissing" {
            assert!(
                ready
                    .message
                    .contains("Create the Secret with the value at key token"),
                "{}",
                ready.message
            );
        }
    }
}
