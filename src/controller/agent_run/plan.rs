//! What a run came to when its Job was built. It travels on the Job, so that a controller that starts anew, or a
//! policy that changes meanwhile, changes nothing for a run that is under way.
//!
//! A controller of another release finds the plans of the one before it, and reads them: an upgrade ends no run. So a
//! change of [`Plan`] makes a new version, and the reader of the version before it stays for one release.

use k8s_openapi::api::batch::v1::Job;
use serde::{Deserialize, Serialize};

use cofferdam_api::names::ANNOTATION_PLAN;
use cofferdam_api::{NodeAccess, ResolvedAgentProfile, ResolvedEvidence, ResolvedPolicy, ResolvedRun, Retry};
use cofferdam_policy::decide::Admitted;
use cofferdam_policy::dimension::profile::Offered;

/// Version of a [`Plan`] of which policies say something of the run's evidence.
const EVIDENCE: u32 = 4;
/// Version of one that has a profile besides what every plan has.
const PROFILE: u32 = 3;
/// Version of one without: controllers that know neither read it, too.
const PLAIN: u32 = 2;

/// The one field that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Everything that the rest of a run's life needs to know of its admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    version: u32,
    /// The agent's image.
    pub image: String,
    /// `RuntimeClass` of the pod.
    pub runtime_class_name: String,
    /// Policies that were met.
    pub policies: Vec<ResolvedPolicy>,
    /// Hash of the frozen policy.
    pub policy_hash: String,
    /// Digest of the built pod.
    pub pod_digest: String,
    /// `address:port` of the gateway that the pod was given.
    pub gateway: String,
    /// Seconds from the Job's creation to the agent's start.
    pub start_deadline_seconds: i32,
    /// Whether policy tolerates a pod that reaches its own node.
    pub node_access: NodeAccess,
    /// Whether policy lets the run be tried again should its agent never start.
    pub retry: Retry,
    /// Which attempt the Job is, from 1.
    pub attempt: i32,
    /// The profile by which the agent is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_profile: Option<ResolvedAgentProfile>,
    /// What policies say of the run's evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<ResolvedEvidence>,
}

/// The annotation is missing or is of no version that is read.
#[derive(Debug, thiserror::Error)]
#[error("the Job's annotation {ANNOTATION_PLAN} cannot be read: {0}")]
pub struct PlanError(String);

/// The lowest version that can say this.
const fn version_of(has_profile: bool, has_evidence: bool) -> u32 {
    match (has_profile, has_evidence) {
        (_, true) => EVIDENCE,
        (true, false) => PROFILE,
        (false, false) => PLAIN,
    }
}

impl Plan {
    /// The plan of one attempt of an admitted run.
    pub fn new(admitted: &Admitted, gateway: String, pod_digest: String, attempt: i32) -> Self {
        Self {
            version: version_of(admitted.profile.is_some(), admitted.evidence.is_some()),
            image: admitted.agent.image.clone().unwrap_or_default(),
            runtime_class_name: admitted.runtime_class.clone(),
            policies: admitted.policies.clone(),
            policy_hash: admitted.frozen.hash(),
            pod_digest,
            gateway,
            start_deadline_seconds: admitted.start_deadline_seconds,
            node_access: admitted.node_access,
            retry: admitted.retry,
            attempt,
            agent_profile: admitted.profile.as_ref().map(Offered::resolved),
            evidence: admitted.evidence,
        }
    }

    /// Reads the plan back from a Job.
    ///
    /// # Errors
    /// The annotation is missing, malformed, or neither of this version nor of the one before.
    pub fn of(job: &Job) -> Result<Self, PlanError> {
        let text = job
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(ANNOTATION_PLAN))
            .ok_or_else(|| PlanError("it is missing".to_owned()))?;
        Self::parse(text)
    }

    fn parse(text: &str) -> Result<Self, PlanError> {
        let odd = |error: serde_json::Error| PlanError(error.to_string());
        // The version first: the fields of a newer one must not hide that it is newer.
        let Version { version } = serde_json::from_str(text).map_err(odd)?;
        if !(PLAIN..=EVIDENCE).contains(&version) {
            return Err(PlanError(format!(
                "it has version {version}, and this controller reads {PLAIN} to {EVIDENCE}"
            )));
        }
        let plan: Self = serde_json::from_str(text).map_err(odd)?;
        let of_rest = version_of(plan.agent_profile.is_some(), plan.evidence.is_some());
        if version != of_rest {
            return Err(PlanError(format!(
                "it has version {version}, and what it says is of version {of_rest}"
            )));
        }
        Ok(plan)
    }

    /// As the annotation's value.
    ///
    /// # Errors
    /// Serialisation, which does not fail for these types.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The part of it that status shows; the prompt's digest comes from the run, commits with `prepare`'s report.
    pub fn resolved(&self) -> ResolvedRun {
        ResolvedRun {
            image: self.image.clone(),
            agent_profile: self.agent_profile.clone(),
            images: Vec::new(),
            prompt_digest: None,
            runtime_class_name: self.runtime_class_name.clone(),
            repositories: Vec::new(),
            policies: self.policies.clone(),
            policy_hash: self.policy_hash.clone(),
            evidence: self.evidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_api::OnSinkFailure;

    /// As a controller of version 2 wrote it.
    const TWO: &str = r#"{"version":2,"image":"ghcr.io/team/agent:1","runtimeClassName":"gvisor","policies":[{"kind":"SandboxPolicy","name":"default","uid":"u-1","generation":3}],"policyHash":"hash","podDigest":"sha256:aa","gateway":"10.96.0.7:3128","startDeadlineSeconds":300,"nodeAccess":"Allow","retry":"Never","attempt":1}"#;
    /// As one of version 3 writes it.
    const THREE: &str = r#"{"version":3,"image":"ghcr.io/team/agent:1","runtimeClassName":"gvisor","policies":[{"kind":"SandboxPolicy","name":"default","uid":"u-1","generation":3}],"policyHash":"hash","podDigest":"sha256:aa","gateway":"10.96.0.7:3128","startDeadlineSeconds":300,"nodeAccess":"Allow","retry":"Never","attempt":1,"agentProfile":{"name":"claude-code","policyKind":"SandboxPolicy","policyName":"default","digest":"sha256:bb"}}"#;

    /// One of version 4 without a profile.
    const FOUR: &str = r#"{"version":4,"image":"ghcr.io/team/agent:1","runtimeClassName":"gvisor","policies":[{"kind":"SandboxPolicy","name":"default","uid":"u-1","generation":3}],"policyHash":"hash","podDigest":"sha256:aa","gateway":"10.96.0.7:3128","startDeadlineSeconds":300,"nodeAccess":"Allow","retry":"Never","attempt":1,"evidence":{"onSinkFailure":"Continue"}}"#;

    fn with_both() -> String {
        THREE.replace(r#""version":3"#, r#""version":4"#).replace(
            r#""sha256:bb"}"#,
            r#""sha256:bb"},"evidence":{"onSinkFailure":"Continue"}"#,
        )
    }

    #[test]
    fn plans_of_this_version_and_of_the_one_before_are_read() {
        let three = Plan::parse(THREE).unwrap();
        assert_eq!(
            three.to_json().unwrap(),
            THREE,
            "a document that is written otherwise is of another version"
        );
        assert_eq!(three.resolved().agent_profile.unwrap().name, "claude-code");
        let two = Plan::parse(TWO).unwrap();
        assert_eq!(
            two.to_json().unwrap(),
            TWO,
            "a plan without a profile is one that the release before reads"
        );
        assert_eq!((two.resolved().agent_profile, two.attempt), (None, 1));
        for (text, profile) in [(FOUR, false), (&with_both(), true)] {
            let four = Plan::parse(text).unwrap();
            assert_eq!(four.to_json().unwrap(), text);
            let resolved = four.resolved();
            assert_eq!(
                (
                    resolved.evidence.unwrap().on_sink_failure,
                    resolved.agent_profile.is_some()
                ),
                (Some(OnSinkFailure::Continue), profile)
            );
        }
    }

    #[test]
    fn other_documents_are_none() {
        for (text, words) in [
            (
                FOUR.replace(r#""version":4"#, r#""version":5,"more":1"#),
                "it has version 5",
            ),
            (
                THREE.replace(r#""version":3"#, r#""version":4"#),
                "what it says is of version 3",
            ),
            (
                FOUR.replace(r#""version":4"#, r#""version":3"#),
                "what it says is of version 4",
            ),
            (
                TWO.replace(r#""version":2"#, r#""version":1"#),
                "it has version 1",
            ),
            (
                THREE.replace(r#""version":3"#, r#""version":2"#),
                "what it says is of version 3",
            ),
            (
                TWO.replace(r#""version":2"#, r#""version":3"#),
                "what it says is of version 2",
            ),
            (THREE.replace(r#""version":3,"#, ""), "missing field"),
            (
                THREE.replace(r#""attempt":1"#, r#""attempt":1,"more":1"#),
                "unknown field",
            ),
        ] {
            let error = Plan::parse(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
