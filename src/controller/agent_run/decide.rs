//! Whether a run that has no Job gets one now. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::conditions::seconds_since;
use crate::credentials;
use crate::credentials::health::Told;
use crate::verdict::{Gap, Verdict};
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, LiveReason, Reason, SandboxCredential, SandboxPolicy};
use cofferdam_policy::decide::{Admitted, Refusal, Request, decide_cached};
use cofferdam_policy::dimension::runtime::RuntimeClassFact;
use cofferdam_policy::dimension::vulnerabilities::Reports;
use cofferdam_policy::layer::cache::PolicyCache;

/// Seconds for which what a manifest refers to may come later than the run, as it does when both are applied at once.
const ORDER_GRACE_SECONDS: i64 = 30;
/// Start time-out of a run that says nothing, where no policy is there to say it.
const DEFAULT_START_DEADLINE_SECONDS: i32 = 600;

/// Everything that the decision rests on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Labels of the run's namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// The policy that the run names.
    pub policy: Option<SandboxPolicy>,
    /// Every cluster policy, or which one cannot be read: what cannot be read might forbid anything.
    pub cluster_policies: Result<Vec<ClusterSandboxPolicy>, String>,
    /// `RuntimeClass`es that exist.
    pub runtime_classes: Vec<RuntimeClassFact>,
    /// What scanners found in the agent's image; `None`: it is not known yet.
    pub reports: Option<Reports>,
    /// The credentials that exist.
    pub credentials: Vec<SandboxCredential>,
    /// What gateways tell of them.
    pub credential_health: Arc<Told>,
    /// The gateway's data port, or why it is not known.
    pub gateway: Result<SocketAddr, Gap>,
    /// Why the admission guard is not proven live; `None` if it is.
    pub guard_gap: Option<Gap>,
    /// Why the namespace is not fenced; `None` if it is.
    pub fence_gap: Option<Gap>,
    /// Why the archive has no room for what the run would leave; `None` if it has.
    pub space_gap: Option<Gap>,
    /// Since when the run has been waiting.
    pub waiting_since: Timestamp,
    /// What was read of these policies before.
    pub readings: Arc<PolicyCache>,
}

/// What to do with the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Make its Job.
    Start {
        /// What policy made of its asks.
        admitted: Box<Admitted>,
        /// Where the gateway is.
        gateway: SocketAddr,
    },
    /// Make nothing until it is resumed.
    Suspended,
    /// Make nothing yet.
    Wait(Gap),
    /// It is over before it began.
    End(Verdict),
}

/// Decides about a run without a Job.
pub fn decide(run: &AgentRun, facts: &Facts, now: Timestamp) -> Decision {
    if run.spec.cancel.is_some() {
        return Decision::End(Verdict::new(
            Reason::Cancelled,
            "The run was cancelled before it started.",
        ));
    }
    if run.spec.suspend {
        return Decision::Suspended;
    }
    let Some(reports) = &facts.reports else {
        return wait(no_reports(), DEFAULT_START_DEADLINE_SECONDS, facts, now);
    };
    let admitted = match admit(run, facts, reports) {
        Ok(admitted) => admitted,
        Err(verdict) => return refused(verdict, facts, now),
    };
    let namespace = run.namespace().unwrap_or_default();
    let without = credentials::gap(
        &namespace,
        admitted.frozen.credentials(),
        &facts.credential_health,
    );
    let gap = facts.guard_gap.as_ref().or(facts.fence_gap.as_ref());
    let gap = gap.or(facts.space_gap.as_ref()).or(without.as_ref());
    match (gap, &facts.gateway) {
        (None, Ok(gateway)) => Decision::Start {
            admitted: Box::new(admitted),
            gateway: *gateway,
        },
        (Some(gap), _) | (None, Err(gap)) => wait(gap.clone(), admitted.start_deadline_seconds, facts, now),
    }
}

fn admit(run: &AgentRun, facts: &Facts, reports: &Reports) -> Result<Admitted, Verdict> {
    let cluster_policies = facts.cluster_policies.as_ref().map_err(|broken| {
        Verdict::new(
            Reason::PolicyDenied,
            format!("{broken}. Until it is fixed or deleted no run can start."),
        )
    })?;
    let request = Request {
        namespace_labels: &facts.namespace_labels,
        run,
        policy: facts.policy.as_ref(),
        cluster_policies,
        runtime_classes: &facts.runtime_classes,
        reports,
        credentials: &facts.credentials,
    };
    decide_cached(&request, &facts.readings)
        .map_err(|refusal: Refusal| Verdict::new(refusal.reason, refusal.message()))
}

/// A refusal is final, but for what may only have been applied in another order.
fn refused(verdict: Verdict, facts: &Facts, now: Timestamp) -> Decision {
    let awaited = match verdict.reason {
        Reason::PolicyMissing => Some(LiveReason::WaitingForPolicy),
        Reason::RuntimeUnavailable => Some(LiveReason::WaitingForRuntimeClass),
        Reason::CredentialFailed => Some(LiveReason::CredentialUnavailable),
        _ => None,
    };
    match awaited {
        Some(reason) if seconds_since(facts.waiting_since, now) < ORDER_GRACE_SECONDS => {
            Decision::Wait(Gap {
                reason,
                ends_with: verdict.reason,
                message: verdict.message,
                actionable: true,
            })
        }
        _ => Decision::End(verdict),
    }
}

fn wait(gap: Gap, start_deadline_seconds: i32, facts: &Facts, now: Timestamp) -> Decision {
    let limit = if start_deadline_seconds > 0 {
        start_deadline_seconds
    } else {
        DEFAULT_START_DEADLINE_SECONDS
    };
    if seconds_since(facts.waiting_since, now) < i64::from(limit) {
        return Decision::Wait(gap);
    }
    Decision::End(Verdict::new(
        gap.ends_with,
        format!("Waited {limit} s (startDeadlineSeconds): {}", gap.message),
    ))
}

fn no_reports() -> Gap {
    Gap {
        reason: LiveReason::WaitingForReports,
        ends_with: Reason::StartTimeout,
        message: "A policy sets limits.images.vulnerabilities, and the controller has not read the VulnerabilityReports \
                  yet. If this lasts, the controller's log says why."
            .to_owned(),
        actionable: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use cofferdam_api::Stage;
    use cofferdam_wire::credential::HealthReason;

    fn facts() -> Facts {
        testing::facts()
    }

    fn at(second: i64) -> Timestamp {
        testing::at(second)
    }

    #[test]
    fn a_good_run_starts_and_each_gap_holds_it() {
        let run = testing::run();
        assert!(matches!(decide(&run, &facts(), at(1)), Decision::Start { .. }));
        let gap = Gap {
            reason: LiveReason::GuardNotReady,
            ends_with: Reason::GuardMissing,
            message: "No guard.".to_owned(),
            actionable: true,
        };
        for broken in [
            Facts {
                guard_gap: Some(gap.clone()),
                ..facts()
            },
            Facts {
                fence_gap: Some(gap.clone()),
                ..facts()
            },
            Facts {
                space_gap: Some(gap.clone()),
                ..facts()
            },
            Facts {
                gateway: Err(gap.clone()),
                ..facts()
            },
            // Not known is not the same as missing.
            Facts {
                reports: None,
                ..facts()
            },
        ] {
            assert!(matches!(decide(&run, &broken, at(1)), Decision::Wait(_)));
            assert!(matches!(decide(&run, &broken, at(599)), Decision::Wait(_)));
            assert!(
                matches!(decide(&run, &broken, at(600)), Decision::End(_)),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn what_may_only_come_later_is_waited_for_and_a_denial_is_final() {
        let run = testing::run();
        let missing = Facts {
            policy: None,
            ..facts()
        };
        assert!(
            matches!(decide(&run, &missing, at(29)), Decision::Wait(gap) if gap.reason == LiveReason::WaitingForPolicy)
        );
        assert!(
            matches!(decide(&run, &missing, at(30)), Decision::End(end) if end.reason == Reason::PolicyMissing)
        );
        let mut foreign = run.clone();
        foreign.spec.agent.image = Some("elsewhere.example/agent:v1".to_owned());
        assert!(
            matches!(decide(&foreign, &facts(), at(0)), Decision::End(end) if end.reason == Reason::ImageDenied)
        );
    }

    /// A policy whose rule names a credential.
    fn keyed() -> Facts {
        let mut policy = testing::policy();
        let egress = policy.spec.limits.egress.as_mut().unwrap();
        for rule in &mut egress.rules {
            rule.tls = cofferdam_api::TlsMode::Inspect;
            rule.methods = vec!["POST".to_owned()];
            rule.paths = vec!["/v1/messages".to_owned()];
            rule.credential = Some("model".to_owned());
        }
        Facts {
            policy: Some(policy),
            ..facts()
        }
    }

    #[test]
    fn a_run_waits_for_its_credential_and_ends_without() {
        let run = testing::run();
        let waits = |facts: &Facts, second| matches!(decide(&run, facts, at(second)), Decision::Wait(gap) if gap.reason == LiveReason::CredentialUnavailable);
        let fails = |facts: &Facts, second| matches!(decide(&run, facts, at(second)), Decision::End(end) if end.reason == Reason::CredentialFailed);
        let undefined = keyed();
        assert!(
            waits(&undefined, 29) && fails(&undefined, 30),
            "it may only be applied later"
        );
        let defined = |ready: Option<HealthReason>| Facts {
            credentials: vec![testing::defined("model", "model.example")],
            credential_health: Arc::new(testing::told("model", ready)),
            ..keyed()
        };
        for not_ready in [None, Some(HealthReason::SecretMissing)] {
            assert!(
                waits(&defined(not_ready), 599) && fails(&defined(not_ready), 600),
                "{not_ready:?}"
            );
        }
        let ready = defined(Some(HealthReason::Ready));
        assert!(matches!(decide(&run, &ready, at(1)), Decision::Start { .. }));
    }

    #[test]
    fn a_cluster_policy_that_cannot_be_read_denies() {
        let broken = Facts {
            cluster_policies: Err("ClusterSandboxPolicy/odd cannot be read".into()),
            ..facts()
        };
        let decision = decide(&testing::run(), &broken, at(0));
        assert!(
            matches!(decision, Decision::End(end) if end.reason == Reason::PolicyDenied && end.message.contains("odd"))
        );
    }

    #[test]
    fn a_suspended_run_waits_and_a_cancelled_one_ends_without_a_job() {
        let mut run = testing::run();
        run.spec.suspend = true;
        assert_eq!(decide(&run, &facts(), at(100_000)), Decision::Suspended);
        run.spec.cancel = Some(cofferdam_api::Cancel::KeepWork);
        assert!(
            matches!(decide(&run, &facts(), at(0)), Decision::End(end) if end.reason == Reason::Cancelled)
        );
    }

    #[test]
    fn a_run_that_rested_is_decided_by_the_policies_of_the_moment() {
        let mut narrower = testing::policy();
        narrower.spec.limits.images.as_mut().unwrap().allowed =
            ["elsewhere.example/**", "images.example/runner"]
                .map(str::to_owned)
                .into();
        let denying = Facts {
            policy: Some(narrower),
            ..facts()
        };
        for stage in [Stage::Suspended, Stage::Queued] {
            let run = testing::resting(stage);
            let refused =
                |decision| matches!(decision, Decision::End(end) if end.reason == Reason::ImageDenied);
            assert!(matches!(decide(&run, &facts(), at(900)), Decision::Start { .. }));
            assert!(
                refused(decide(&run, &denying, at(900))),
                "{stage:?}: admitted before, denied now"
            );
            let mut foreign = run.clone();
            foreign.spec.agent.image = Some("elsewhere.example/agent:v1".to_owned());
            assert!(refused(decide(&foreign, &facts(), at(900))));
            assert!(
                matches!(decide(&foreign, &denying, at(900)), Decision::Start { .. }),
                "{stage:?}: denied before, admitted now"
            );
        }
    }

    #[test]
    fn the_ceiling_and_its_source_come_with_the_decision() {
        let mut policy = testing::policy();
        policy.spec.limits.max_running = Some(4);
        let facts = Facts {
            policy: Some(policy),
            ..facts()
        };
        let Decision::Start { admitted, .. } = decide(&testing::run(), &facts, at(1)) else {
            panic!("it may start")
        };
        assert_eq!(admitted.max_running.value, 4);
        assert_eq!(
            admitted.max_running.source.to_string(),
            "SandboxPolicy/house-rules (limits.maxRunning)"
        );
    }
}
