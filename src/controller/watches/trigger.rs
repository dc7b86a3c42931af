//! What a change asks to be looked at.

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use crate::api_server::Guarded;
use crate::pod_view::is_over;
use crate::run_pod::RunPod;
use crate::stores::run_of;
use cofferdam_api::names::{LABEL_RUN, LABEL_RUN_UID};
use cofferdam_api::{AgentRun, SandboxPolicy};

/// What a change asks to be looked at.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// One run.
    Run(ObjectRef<Guarded<AgentRun>>),
    /// Every run of a namespace that is not over.
    RunsOf(String),
    /// The slot of a run that may be gone, by namespace, name and uid.
    Slot(String, String, String),
    /// Every run that is not over.
    AllRuns,
    /// The fence of a namespace.
    Fence(String),
    /// The status of a policy.
    Policy(ObjectRef<Guarded<SandboxPolicy>>),
    /// The status of every policy of a namespace.
    PoliciesOf(String),
    /// The status of every policy.
    AllPolicies,
    /// The status of every cluster policy.
    ClusterPolicies,
    /// The status of every credential.
    Credentials,
}

/// Sends triggers to whoever looks.
pub type Triggers = UnboundedSender<Trigger>;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new, or it differs.
    Applied,
    /// It is gone.
    Deleted,
}

pub(super) fn runs_of_its_namespace_and_itself(policy: &Guarded<SandboxPolicy>) -> Vec<Trigger> {
    let runs = policy.meta().namespace.clone().map(Trigger::RunsOf);
    let itself = Trigger::Policy(ObjectRef::from_obj(policy));
    runs.into_iter().chain([itself]).collect()
}

/// A run that is gone gives back its slot.
pub(super) fn look_at_run(run: &Guarded<AgentRun>, change: Change) -> Vec<Trigger> {
    if change == Change::Deleted {
        let slot = || Some(Trigger::Slot(run.namespace()?, run.name_any(), run.uid()?));
        return slot().into_iter().collect();
    }
    vec![Trigger::Run(ObjectRef::from_obj(run))]
}

/// The last pod of a run that is gone gives back its slot.
pub(super) fn look_at_pod(pod: &RunPod, change: Change) -> Vec<Trigger> {
    let slot = || {
        let (run, uid) = (pod.labels().get(LABEL_RUN)?, pod.labels().get(LABEL_RUN_UID)?);
        Some(Trigger::Slot(pod.namespace()?, run.clone(), uid.clone()))
    };
    let left = (change == Change::Deleted || is_over(pod)).then(slot).flatten();
    let fence = pod.namespace().map(Trigger::Fence);
    run_of(pod)
        .map(Trigger::Run)
        .into_iter()
        .chain(fence)
        .chain(left)
        .collect()
}

pub(super) fn runs_and_fence<K: Resource>(object: &K) -> Vec<Trigger> {
    let namespace = object.meta().namespace.clone();
    namespace
        .map(|namespace| vec![Trigger::RunsOf(namespace.clone()), Trigger::Fence(namespace)])
        .unwrap_or_default()
}

/// `triggers` with at most one of each that means all objects of a kind: a list of a thousand nodes asks for it a
/// thousand times.
pub(super) fn all_at_once(triggers: impl Iterator<Item = Trigger>) -> Vec<Trigger> {
    let mut asked = Vec::new();
    triggers
        .filter(|trigger| {
            let kind = std::mem::discriminant(trigger);
            let is_for_all = matches!(
                trigger,
                Trigger::AllRuns | Trigger::AllPolicies | Trigger::ClusterPolicies | Trigger::Credentials
            );
            let is_new = !asked.contains(&kind);
            if is_for_all && is_new {
                asked.push(kind);
            }
            !is_for_all || is_new
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_triggers_for_all_runs_become_one_and_others_stay() {
        let triggers = [
            Trigger::AllRuns,
            Trigger::Fence("a".to_owned()),
            Trigger::AllRuns,
            Trigger::Fence("b".to_owned()),
            Trigger::AllRuns,
        ];
        let kept = all_at_once(triggers.into_iter());
        assert!(
            matches!(kept.as_slice(), [Trigger::AllRuns, Trigger::Fence(a), Trigger::Fence(b)] if a == "a" && b == "b"),
            "{kept:?}"
        );
    }
}
