//! Whether credentials can be sent: the gateway reads their Secrets, the archive keeps what it tells, and the status of each
//! `SandboxCredential` says it. The controller reads no Secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::archive::Archive;
use super::stores::Stores;
use super::verdict::Gap;
use super::watches::{Trigger, Triggers};
use cofferdam_api::{LiveReason, Reason};
use cofferdam_policy::dimension::credentials::Credential;
use cofferdam_wire::credential::CredentialHealth;

mod status;

/// How often the archive is asked.
const PERIOD: Duration = Duration::from_secs(5);

/// What gateways tell of credentials, by name.
pub type Told = BTreeMap<String, CredentialHealth>;

/// What gateways told last.
#[derive(Debug, Default)]
pub struct Health(RwLock<Arc<Told>>);

impl Health {
    /// What they told.
    pub fn told(&self) -> Arc<Told> {
        Arc::clone(&self.0.read())
    }

    /// Keeps what they tell now, and says whether it is something else than before.
    fn put(&self, all: Vec<CredentialHealth>) -> bool {
        let told: Told = all
            .into_iter()
            .map(|health| (health.name.clone(), health))
            .collect();
        let mut known = self.0.write();
        let is_news = **known != told;
        if is_news {
            *known = Arc::new(told);
        }
        is_news
    }
}

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
                if stores.credential_health.put(all) {
                    for trigger in [Trigger::Credentials, Trigger::AllRuns, Trigger::AllPolicies] {
                        // Nobody listens only when the process ends.
                        drop(triggers.unbounded_send(trigger));
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the archive does not say which credentials are ready"),
        }
    }
}

/// What keeps a run from starting that needs these credentials. Pure.
pub fn gap(needed: &[Credential], told: &Told) -> Option<Gap> {
    let message = needed.iter().find_map(|credential| {
        let name = &credential.name;
        match told.get(name) {
            Some(health) if health.is_ready() => None,
            Some(health) => Some(format!("SandboxCredential {name} is not ready: {}", health.message)),
            None => Some(format!(
                "No gateway has told yet whether it has the value of SandboxCredential {name}. It comes within seconds; if not, \
                 look at the gateway's log."
            )),
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
    use super::*;
    use crate::testing;
    use cofferdam_wire::credential::HealthReason;

    fn health(reason: HealthReason) -> CredentialHealth {
        CredentialHealth {
            name: "model".to_owned(),
            reason: reason.into(),
            message: "There is no Secret of-model.".to_owned(),
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
        let message = |told: Arc<Told>| gap(&needed, &told).map(|gap| gap.message);
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
        assert_eq!(gap(&[], &told(Vec::new())), None);
    }

    #[test]
    fn the_same_again_is_no_news() {
        let kept = Health::default();
        assert!(kept.put(vec![health(HealthReason::Ready)]));
        assert!(!kept.put(vec![health(HealthReason::Ready)]));
        assert!(kept.put(vec![health(HealthReason::SecretMissing)]));
        assert!(kept.put(Vec::new()));
    }
}
