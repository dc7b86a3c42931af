//! What a change asks to be looked at.

use std::collections::HashMap;

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use crate::api_server::Guarded;
use crate::pod_view::is_over;
use crate::run_pod::RunPod;
use crate::stores::run_of;
use cofferdam_api::names::{LABEL_RUN, LABEL_RUN_UID};
use cofferdam_api::{AgentRun, SandboxCredential, SandboxPolicy};

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
    /// The status of a credential.
    Credential(String),
    /// Every run that is not over and every policy that a credential of this name has a say in.
    UsersOf(String),
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

/// A policy. What rests on it is looked at where it `is_news`.
pub(super) fn look_at_policy(policy: &Guarded<SandboxPolicy>, is_news: bool) -> Vec<Trigger> {
    let runs = policy.meta().namespace.clone().map(Trigger::RunsOf);
    let itself = Trigger::Policy(ObjectRef::from_obj(policy));
    runs.into_iter().filter(|_| is_news).chain([itself]).collect()
}

/// A cluster policy, as [`look_at_policy`]. Which one it is does not matter to those over the same namespaces.
pub(super) fn look_at_cluster_policy(is_news: bool) -> Vec<Trigger> {
    let others = [Trigger::AllRuns, Trigger::AllPolicies];
    others
        .into_iter()
        .filter(|_| is_news)
        .chain([Trigger::ClusterPolicies])
        .collect()
}

/// A credential, as [`look_at_policy`].
pub(super) fn look_at_credential(credential: &Guarded<SandboxCredential>, is_news: bool) -> Vec<Trigger> {
    let name = credential.name_any();
    let users = is_news.then(|| Trigger::UsersOf(name.clone()));
    users.into_iter().chain([Trigger::Credential(name)]).collect()
}

/// The specs of a kind's objects as they were seen, so that a write of a status, which changes none, wakes nothing that
/// rests on a spec.
#[derive(Debug, Default)]
pub(super) struct SeenSpecs(HashMap<(Option<String>, String), Version>);

/// Uid and generation of an object: what changes with its spec.
type Version = (Option<String>, Option<i64>);

impl SeenSpecs {
    /// Whether the spec of `object` now differs from what was seen of it before.
    pub(super) fn is_news<K: Resource>(&mut self, object: &K, change: Change) -> bool {
        let meta = object.meta();
        let key = (meta.namespace.clone(), object.name_any());
        match change {
            Change::Applied => {
                let now = (meta.uid.clone(), meta.generation);
                self.0.insert(key, now.clone()) != Some(now)
            }
            Change::Deleted => {
                self.0.remove(&key);
                true
            }
        }
    }
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
                Trigger::AllRuns | Trigger::AllPolicies | Trigger::ClusterPolicies
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
    use crate::testing;

    #[test]
    fn a_written_status_wakes_nothing_that_rests_on_the_spec() {
        let mut seen = SeenSpecs::default();
        let mut credential = testing::defined("model", "model.example");
        let mut look = |uid: &str, generation, change| {
            credential.metadata.uid = Some(uid.to_owned());
            credential.metadata.generation = Some(generation);
            let guarded = kube::core::DeserializeGuard(Ok(credential.clone()));
            let triggers = look_at_credential(&guarded, seen.is_news(&guarded, change));
            let wakes = |trigger: &Trigger| matches!(trigger, Trigger::UsersOf(name) if name == "model");
            assert!(
                triggers
                    .iter()
                    .any(|trigger| matches!(trigger, Trigger::Credential(_))),
                "its own status is always looked at"
            );
            triggers.iter().any(wakes)
        };
        assert!(look("one", 1, Change::Applied), "it is new");
        assert!(!look("one", 1, Change::Applied), "its status was written");
        assert!(look("one", 2, Change::Applied), "its spec changed");
        assert!(look("two", 2, Change::Applied), "it was made anew");
        assert!(look("two", 2, Change::Deleted));
        assert!(look("two", 2, Change::Applied), "it came back");
    }

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
