//! Whether credentials can be sent: the gateway reads their Secrets, the archive keeps what it tells, and the status of each
//! `SandboxCredential` says it. The controller reads no Secret.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::health::Told;
use super::archive::Archive;
use super::stores::Stores;
use super::verdict::Gap;
use super::watches::{Trigger, Triggers};
use cofferdam_api::{LiveReason, Reason};
use cofferdam_policy::dimension::credentials::Credential;
use cofferdam_wire::credential::CredentialHealth;

pub mod health;
mod status;
pub mod users;

/// How often the archive is asked.
const PERIOD: Duration = Duration::from_secs(5);

/// Asks the archive until `stop`, as long as there are credentials.
pub async fn follow(archive: &Archive, stores: &Stores, triggers: &Triggers, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => return,
        }
        if stores.credentials.is_empty() {
            continue;
        }
        match archive.credentials().await {
            Ok(all) => {
                for name in stores.credential_health.put(all) {
                    for trigger in [Trigger::Credential(name.clone()), Trigger::UsersOf(name)] {
                        // Nobody listens only when the process ends.
                        drop(triggers.unbounded_send(trigger));
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the archive does not say which credentials are ready"),
        }
    }
}

/// Says that no gateway has spoken of `what` yet.
fn not_told(what: &str) -> String {
    format!(
        "No gateway has told yet whether it has {what}. It comes within seconds; if not, look at the gateway's log."
    )
}

/// Says that a credential cannot be sent.
pub fn not_ready(health: &CredentialHealth) -> String {
    format!(
        "SandboxCredential {} is not ready: {}",
        health.name, health.message
    )
}

/// What keeps a run of a namespace from starting that needs these credentials. Pure.
pub fn gap(namespace: &str, needed: &[Credential], told: &Told) -> Option<Gap> {
    let message = needed.iter().find_map(|credential| {
        let name = &credential.name;
        match told.get(name) {
            Some(health) if health.is_ready_for(namespace) => None,
            Some(health) => Some(not_ready(health)),
            None => Some(not_told(&format!("the value of SandboxCredential {name}"))),
        }
    })?;
    Some(Gap {
        reason: LiveReason::CredentialUnavailable,
        ends_with: Reason::CredentialFailed,
        message,
        actionable: true,
    })
}

#[cfg(test)]
mod tests {
    use super::health::Health;
    use super::*;
    use crate::testing;
    use cofferdam_wire::credential::HealthReason;
    use std::sync::Arc;

    fn health(reason: HealthReason) -> CredentialHealth {
        CredentialHealth {
            name: "model".to_owned(),
            reason: reason.into(),
            message: "There is no Secret of-model.".to_owned(),
            refused_in: Vec::new(),
        }
    }

    #[test]
    fn a_run_waits_for_what_no_gateway_could_send() {
        let needed = [testing::credential("model")];
        let told = |all: Vec<CredentialHealth>| {
            let health = Health::default();
            health.put(all);
            health.told()
        };
        let message = |told: Arc<Told>| gap("team-a", &needed, &told).map(|gap| gap.message);
        assert_eq!(message(told(vec![health(HealthReason::Ready)])), None);
        assert!(
            message(told(Vec::new()))
                .unwrap()
                .contains("No gateway has told yet")
        );
        let missing = message(told(vec![health(HealthReason::SecretMissing)])).unwrap();
        assert_eq!(
            missing,
            "SandboxCredential model is not ready: There is no Secret of-model."
        );
        assert_eq!(gap("team-a", &[], &told(Vec::new())), None);
        let refused = CredentialHealth {
            refused_in: vec!["team-a".to_owned()],
            ..health(HealthReason::Rejected)
        };
        let refused = told(vec![refused]);
        assert!(gap("team-a", &needed, &refused).is_some());
        assert_eq!(
            gap("team-b", &needed, &refused),
            None,
            "its runs were not refused"
        );
    }

    #[test]
    fn the_same_again_is_no_news() {
        let kept = Health::default();
        let other = || CredentialHealth {
            name: "other".to_owned(),
            ..health(HealthReason::Ready)
        };
        assert_eq!(
            kept.put(vec![health(HealthReason::Ready), other()]),
            ["model", "other"]
        );
        assert_eq!(kept.put(vec![health(HealthReason::Ready), other()]), [""; 0]);
        assert_eq!(
            kept.put(vec![health(HealthReason::SecretMissing), other()]),
            ["model"]
        );
        assert_eq!(kept.put(vec![health(HealthReason::SecretMissing)]), ["other"]);
    }
}
