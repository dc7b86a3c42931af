//! The status of each `SandboxCredential`: whether the gateway has a value that it can send.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, ResourceExt};

use super::{Told, not_told};
use crate::policy_status::{Context, Found, Judged};
use cofferdam_api::{SandboxCredential, SandboxCredentialStatus};
use cofferdam_policy::dimension::credentials::{Credential, selects};
use cofferdam_wire::credential::HealthReason;

/// Namespaces that are named in a message.
const NAMESPACES: usize = 3;

impl Judged for SandboxCredential {
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
    let before = credential.status.as_ref().map(|status| &status.conditions);
    SandboxCredentialStatus {
        observed_generation: credential.metadata.generation,
        conditions: found(credential, told).into_ready(credential, before, now),
    }
}

/// Whether it can be sent.
fn found(credential: &SandboxCredential, told: &Told) -> Found {
    let read = Credential::read(credential).and_then(|read| {
        selects(credential, &std::collections::BTreeMap::new())?;
        Ok(read)
    });
    if let Err(error) = read {
        return Found::wrong("Malformed", format!("{error}."));
    }
    let Some(health) = told.get(&credential.name_any()) else {
        return Found {
            holds: None,
            reason: "WaitingForGateway".to_owned(),
            message: not_told("the value"),
        };
    };
    let key = &credential.spec.secret_key;
    let advice = match health.reason.known() {
        Some(HealthReason::Ready) => String::new(),
        Some(HealthReason::Rejected) => format!(
            " {} Put another value into key {key} of Secret {}: it is used at once.",
            who_waits(&health.refused_in),
            credential.spec.secret_name
        ),
        _ => format!(
            " Runs that need this credential do not start. Create the Secret with the value at key {key}, or correct \
             spec.secretName and spec.secretKey."
        ),
    };
    let message = format!("{}{advice}", health.message);
    Found {
        holds: Some(health.is_ready()),
        reason: health.reason.to_string(),
        message,
    }
}

/// Which runs do not start where a host does not take the value.
fn who_waits(refused_in: &[String]) -> String {
    match refused_in {
        [] => "Runs that need this credential do not start.".to_owned(),
        some => {
            let named: Vec<&str> = some.iter().take(NAMESPACES).map(String::as_str).collect();
            let more = some.len() - named.len();
            let others = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!(
                "It said so to several runs of namespace {}{others}; further runs there that need this credential do not \
                 start for 15 minutes.",
                named.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;
    use cofferdam_wire::credential::CredentialHealth;
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
            refused_in: Vec::new(),
        };
        Told::from([("model".to_owned(), health)])
    }

    #[rstest]
    #[case::ready(json!({}), told(HealthReason::Ready), "True", "Ready")]
    #[case::missing(json!({}), told(HealthReason::SecretMissing), "False", "SecretMissing")]
    #[case::refused(json!({}), told(HealthReason::Rejected), "False", "Rejected")]
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
