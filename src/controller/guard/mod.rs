//! The admission guard keeps everyone else's hands off sandboxes. No sandbox starts unless it is proven to be live.
//!
//! Every guard and its binding are read and compared with those that are built in. That the API server obeys them is
//! tried: the controller is exempt from most rules, so there is a name and an annotation that are refused to everyone.

mod built_in;
mod canaries;
mod compare;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::built_in::Installed;
pub use self::tries::Tenant;
use crate::verdict::Gap;
use cofferdam_api::{LiveReason, Reason};

/// How often the guard is proven.
const PERIOD: Duration = Duration::from_secs(30);
/// How soon it is tried again when it is not proven.
const RETRY: Duration = Duration::from_secs(5);
/// How long a proof holds: one period, and what a slow API server may take.
const VALID: Duration = Duration::from_secs(45);

/// Guards that are read at a time.
const READS: usize = 4;

/// What is known of the guard.
#[derive(Clone, Debug)]
pub struct Proof {
    at: Instant,
    missing: Option<String>,
}

/// The latest word on the guard.
#[derive(Clone, Debug)]
pub struct Guard(watch::Receiver<Option<Proof>>);

impl Guard {
    /// Why no sandbox may start; `None`: the guard was proven live within the last 45 s.
    pub fn gap(&self) -> Option<Gap> {
        self.gap_at(Instant::now())
    }

    fn gap_at(&self, now: Instant) -> Option<Gap> {
        let proof = self.0.borrow();
        let (message, actionable) = match &*proof {
            None => ("The admission guard has not been proven yet.".to_owned(), false),
            Some(proof) if now.duration_since(proof.at) > VALID => (
                "The last proof of the admission guard is older than 45 s; it is being proven again."
                    .to_owned(),
                false,
            ),
            Some(Proof {
                missing: Some(what), ..
            }) => (
                format!("The admission guard is not live: {what}. Install the chart again (helm upgrade)."),
                true,
            ),
            Some(_) => return None,
        };
        Some(Gap {
            reason: LiveReason::GuardNotReady,
            ends_with: Reason::GuardMissing,
            message,
            actionable,
        })
    }
}

/// Proves the guard now and then until `stop`; `changed` is called when the answer changes. `tenant` names an opted-in
/// namespace, another one each time.
pub fn watch_guard(
    client: Client,
    installed: Installed,
    stop: CancellationToken,
    tenant: impl Fn() -> Option<Tenant> + Send + 'static,
    changed: impl Fn() + Send + 'static,
) -> Guard {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let guards: Result<Vec<_>, _> =
            built_in::guards(&installed).map(|guards| guards.into_iter().map(Arc::new).collect());
        loop {
            let missing = match &guards {
                Ok(guards) => prove(&client, &installed.namespace, guards, tenant()).await,
                Err(damaged) => Some(damaged.to_string()),
            };
            let before = sender
                .borrow()
                .as_ref()
                .map(|proof: &Proof| proof.missing.clone());
            let wait = if missing.is_none() { PERIOD } else { RETRY };
            let is_news = before.as_ref() != Some(&missing);
            if let (true, Some(what)) = (is_news, &missing) {
                tracing::warn!(what, "the admission guard is not proven; no run starts");
            }
            sender.send_replace(Some(Proof {
                at: Instant::now(),
                missing,
            }));
            if is_news {
                changed();
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    });
    Guard(receiver)
}

/// What is not as it must be; `None`: everything is.
async fn prove(
    client: &Client,
    operator_namespace: &str,
    guards: &[Arc<built_in::Guard>],
    tenant: Option<Tenant>,
) -> Option<String> {
    // First, for what was changed is said by name; a try says only what came through.
    let mut found = futures::stream::iter(guards.to_vec())
        .map(|guard| read(client.clone(), guard))
        .buffered(READS);
    while let Some(wrong) = found.next().await {
        if wrong.is_some() {
            return wrong;
        }
    }
    tries::all(client, operator_namespace, tenant).await
}

/// What is wrong with a guard of the cluster. Read as it is, so that a field which this version does not know is seen.
async fn read(client: Client, guard: Arc<built_in::Guard>) -> Option<String> {
    let policies = ApiResource::erase::<ValidatingAdmissionPolicy>(&());
    let bindings = ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&());
    let policies: Api<DynamicObject> = Api::all_with(client.clone(), &policies);
    let bindings: Api<DynamicObject> = Api::all_with(client, &bindings);
    let found = tokio::try_join!(policies.get_opt(&guard.name), bindings.get_opt(&guard.name));
    let wrong = match found {
        Ok((Some(policy), Some(binding))) => compare::wrong(&guard, &policy.data, &binding.data),
        Ok(_) => Some("it or its binding is missing".to_owned()),
        Err(error) => Some(format!("it cannot be read: {error}")),
    };
    wrong.map(|wrong| format!("ValidatingAdmissionPolicy {}: {wrong}", guard.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_grows_old() {
        let (sender, receiver) = watch::channel(None);
        let guard = Guard(receiver);
        let now = Instant::now();
        assert!(guard.gap_at(now).is_some_and(|gap| !gap.actionable));
        sender.send_replace(Some(Proof {
            at: now,
            missing: None,
        }));
        assert_eq!(guard.gap_at(now + VALID), None);
        let late = guard.gap_at(now + VALID + Duration::from_secs(1));
        assert!(late.is_some_and(|gap| gap.ends_with == Reason::GuardMissing && !gap.actionable));
    }
}
