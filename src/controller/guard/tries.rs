//! Tries the guard: requests that nobody may make, by dry runs, which store nothing.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};

use super::canaries;
use cofferdam_api::names::{FENCE, SANDBOX_SERVICE_ACCOUNT};

/// An opted-in namespace, where the guard must hold too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub namespace: String,
    /// Name of one of its sandbox pods.
    pub pod: Option<String>,
}

/// A namespace of every cluster, for as long as none opted in.
const ELSEWHERE: &str = "default";

/// What came of a request that must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// Its guard refused it.
    Refused,
    /// Nobody refused it.
    Passed,
    /// Something else answered.
    Unclear(String),
}

/// Why the guards are not proven, for people; `None`: each refused what it must.
///
/// In the operator's namespace each guard must refuse its object. Elsewhere a quota, a limit range or a webhook of the
/// tenant may answer first, and nobody there may stop the runs of others: only what passes counts.
pub async fn all(client: &Client, operator_namespace: &str, tenant: Option<Tenant>) -> Option<String> {
    for (guard, outcome) in created(client, operator_namespace).await {
        match outcome {
            Outcome::Refused => {}
            Outcome::Passed => return Some(passed(guard, "a test object", operator_namespace)),
            Outcome::Unclear(why) => return Some(format!("{guard} could not be proven by a dry run: {why}")),
        }
    }
    let there = tenant.as_ref().map_or(ELSEWHERE, |tenant| &tenant.namespace);
    let mut outcomes = created(client, there).await;
    if let Some(tenant) = &tenant {
        outcomes.extend(changed(client, tenant).await);
    }
    outcomes
        .into_iter()
        .find(|(_, outcome)| *outcome == Outcome::Passed)
        .map(|(guard, _)| passed(guard, "a test object or a test change", there))
}

fn passed(guard: &str, what: &str, namespace: &str) -> String {
    format!("{guard} did not refuse {what} in namespace {namespace}; is its binding missing?")
}

/// Creates each object of the reserved name.
async fn created(client: &Client, namespace: &str) -> Vec<(&'static str, Outcome)> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    macro_rules! create {
        ($guard:expr, $object:expr) => {{
            let object = $object;
            let result = Api::namespaced(client.clone(), namespace)
                .create(&params, &object)
                .await;
            ($guard, outcome(result.map(drop), $guard))
        }};
    }
    vec![
        create!("cofferdam-guard-pods", canaries::pod()),
        create!("cofferdam-guard-jobs", canaries::job()),
        create!("cofferdam-guard-networkpolicies", canaries::network_policy()),
        create!("cofferdam-guard-serviceaccounts", canaries::service_account()),
    ]
}

/// Changes what is there in a namespace of sandboxes.
async fn changed(client: &Client, tenant: &Tenant) -> Vec<(&'static str, Outcome)> {
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    macro_rules! change {
        ($guard:expr, $kind:ty, $name:expr, $change:expr) => {{
            let api: Api<$kind> = Api::namespaced(client.clone(), &tenant.namespace);
            let result = api.patch($name, &params, &Patch::Merge($change)).await;
            ($guard, outcome(result.map(drop), $guard))
        }};
    }
    let mut outcomes = vec![
        change!(
            "cofferdam-guard-networkpolicies",
            NetworkPolicy,
            FENCE,
            canaries::opened()
        ),
        change!(
            "cofferdam-guard-serviceaccounts",
            ServiceAccount,
            SANDBOX_SERVICE_ACCOUNT,
            canaries::annotated()
        ),
    ];
    if let Some(pod) = &tenant.pod {
        outcomes.push(change!("cofferdam-guard-pods", Pod, pod, canaries::annotated()));
    }
    outcomes
}

/// Only this guard's own refusal proves it: anything else that refuses the canary today may let it pass tomorrow.
fn outcome(result: kube::Result<()>, guard: &str) -> Outcome {
    match result {
        Err(kube::Error::Api(status)) if status.message.contains(&format!("'{guard}'")) => Outcome::Refused,
        Err(error) => Outcome::Unclear(error.to_string()),
        Ok(()) => Outcome::Passed,
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
            outcome(by("cofferdam-guard-pods"), "cofferdam-guard-pods"),
            Outcome::Refused
        );
        for other in ["cofferdam-guard-pods-other", "someone-elses"] {
            let unclear = outcome(by(other), "cofferdam-guard-pods");
            assert!(matches!(unclear, Outcome::Unclear(_)), "{unclear:?}");
        }
        assert_eq!(outcome(Ok(()), "cofferdam-guard-pods"), Outcome::Passed);
    }
}
