//! The admission guard keeps everyone else's hands off sandboxes. No sandbox starts unless it is proven to be live.
//!
//! The controller is exempt from most of its rules, so it proves them by a name that is refused to everyone. Rules
//! that cannot be tried by a dry run are read and compared.

mod canaries;
mod installed;

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::verdict::Gap;
use cofferdam_api::{LiveReason, Reason};

/// How often the guard is proven.
const PERIOD: Duration = Duration::from_secs(30);
/// How soon it is tried again when it is not proven.
const RETRY: Duration = Duration::from_secs(5);
/// How long a proof holds: one period, and what a slow API server may take.
const VALID: Duration = Duration::from_secs(45);

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
                format!("The admission guard is not live: {what}. Install the chart's guard policies again."),
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

/// Proves the guard now and then until `stop`; `changed` is called when the answer changes.
pub fn watch_guard(
    client: Client,
    namespace: String,
    stop: CancellationToken,
    changed: impl Fn() + Send + 'static,
) -> Guard {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            let missing = prove(&client, &namespace).await;
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
async fn prove(client: &Client, namespace: &str) -> Option<String> {
    if let Some(missing) = try_canaries(client, namespace).await {
        return Some(missing);
    }
    for guard in installed::GUARDS {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
        let found = tokio::try_join!(policies.get_opt(guard.name), bindings.get_opt(guard.name));
        let wrong = match found {
            Ok((Some(policy), Some(binding))) => installed::wrong(guard, &policy, &binding),
            Ok(_) => Some("it or its binding is missing".to_owned()),
            Err(error) => Some(format!("it cannot be read: {error}")),
        };
        if let Some(wrong) = wrong {
            return Some(format!("ValidatingAdmissionPolicy {}: {wrong}", guard.name));
        }
    }
    None
}

async fn try_canaries(client: &Client, namespace: &str) -> Option<String> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    macro_rules! refused {
        ($object:expr, $guard:expr) => {{
            let object = $object;
            let result = Api::namespaced(client.clone(), namespace)
                .create(&params, &object)
                .await;
            if let Some(missing) = not_refused(result.map(drop), $guard) {
                return Some(missing);
            }
        }};
    }
    refused!(canaries::pod(), "cofferdam-guard-pods");
    refused!(canaries::job(), "cofferdam-guard-jobs");
    refused!(canaries::network_policy(), "cofferdam-guard-networkpolicies");
    refused!(canaries::service_account(), "cofferdam-guard-serviceaccounts");
    None
}

/// Only this guard's own refusal proves it: anything else that refuses the canary today may let it pass tomorrow.
fn not_refused(result: kube::Result<()>, guard: &str) -> Option<String> {
    match result {
        Err(kube::Error::Api(status)) if status.message.contains(&format!("'{guard}'")) => None,
        Err(error) => Some(format!("{guard} could not be proven by a dry run: {error}")),
        Ok(()) => Some(format!(
            "{guard} did not refuse the test object; is its binding missing?"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(message: &str) -> kube::Result<()> {
        let mut status = kube::core::Status::failure(message, "Invalid");
        status.code = 422;
        Err(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn only_the_guards_own_refusal_proves_it() {
        let by = |policy: &str| {
            refusal(&format!(
                "pods \"x\" is forbidden: ValidatingAdmissionPolicy '{policy}' with binding"
            ))
        };
        assert_eq!(
            not_refused(by("cofferdam-guard-pods"), "cofferdam-guard-pods"),
            None
        );
        assert!(not_refused(by("cofferdam-guard-pods-other"), "cofferdam-guard-pods").is_some());
        assert!(not_refused(by("someone-elses"), "cofferdam-guard-pods").is_some());
        assert!(not_refused(Ok(()), "cofferdam-guard-pods").is_some());
    }

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
