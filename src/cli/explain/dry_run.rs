//! What the API server says to the run itself and to a pod like its own, without storing either.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use super::cluster::unknown;
use super::document::{DryRun, Outcome, Unknown};
use cofferdam_api::AgentRun;

/// Shows up in the audit log of the API server.
const FIELD_MANAGER: &str = "kubectl-cofferdam";

/// Tries to create the run: schema, CEL, the right to use the policy, and who asks. Gives back the run as it would be
/// stored, which is what the controller would decide about.
///
/// # Errors
/// The API server does not answer.
pub async fn run(client: &Client, run: &AgentRun) -> Result<(DryRun, AgentRun), Unknown> {
    let api: Api<AgentRun> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let mut stored = None;
    let answer = api
        .create(&params(), run)
        .await
        .map(|created| stored = Some(created));
    let tried = outcome("AgentRun", answer)?;
    Ok((tried, stored.unwrap_or_else(|| run.clone())))
}

/// Tries to create a pod like the run's: quota, Pod Security, `LimitRange`, image policy.
///
/// # Errors
/// The API server does not answer.
pub async fn pod(client: &Client, pod: &Pod) -> Result<DryRun, Unknown> {
    let namespace = pod.namespace().unwrap_or_default();
    if !may_create_pods(client, &namespace).await? {
        return Ok(DryRun {
            kind: "Pod",
            outcome: Outcome::NotAsked,
            message: Some(format!(
                "you may not create pods in {namespace}, so quota, Pod Security, LimitRange and image policy could not be asked; \
                 the run's own pod is made by Cofferdam, not by you"
            )),
        });
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let answer = api.create(&params(), pod).await.map(drop);
    outcome("Pod", answer)
}

/// Asked beforehand: the refusal of RBAC and that of an admission plugin are both 403.
async fn may_create_pods(client: &Client, namespace: &str) -> Result<bool, Unknown> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some("create".to_owned()),
                resource: Some("pods".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    match api.create(&PostParams::default(), &review).await {
        Ok(review) => Ok(review.status.is_some_and(|status| status.allowed)),
        Err(error) => Err(unknown("whether you may create pods", &error)),
    }
}

fn params() -> PostParams {
    PostParams {
        dry_run: true,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    }
}

/// A refusal is an answer; that there is none is not.
fn outcome(kind: &'static str, answer: Result<(), kube::Error>) -> Result<DryRun, Unknown> {
    let (outcome, message) = match answer {
        Ok(()) => (Outcome::Accepted, None),
        Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => (
            Outcome::NotAsked,
            Some("there is an object of this name already, so the API server judges no new one".to_owned()),
        ),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404 | 409 | 413 | 422) => {
            (Outcome::Refused, Some(status.message.clone()))
        }
        Err(error) => {
            return Err(unknown(
                &format!("whether the API server takes the {kind}"),
                &error,
            ));
        }
    };
    Ok(DryRun {
        kind,
        outcome,
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api_error(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Box::new(
            kube::core::Status::failure("in its own words", reason).with_code(code),
        ))
    }

    #[test]
    fn a_refusal_is_an_answer_and_silence_is_none() {
        assert_eq!(outcome("Pod", Ok(())).unwrap().outcome, Outcome::Accepted);
        let refused = outcome("Pod", Err(api_error(403, "Forbidden"))).unwrap();
        assert_eq!(
            (refused.outcome, refused.message.as_deref()),
            (Outcome::Refused, Some("in its own words"))
        );
        let taken = outcome("AgentRun", Err(api_error(409, "AlreadyExists"))).unwrap();
        assert_eq!(taken.outcome, Outcome::NotAsked);
        for code in [401, 429, 500, 503] {
            assert!(outcome("Pod", Err(api_error(code, "x"))).is_err(), "{code}");
        }
    }
}
