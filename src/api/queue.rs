//! The queue of a namespace, worked out from its runs by whoever asks: no status tells a place, because it changes with
//! every run that starts.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use crate::{AgentRun, Stage};

/// The place of a run that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// From 1, which starts next.
    pub position: usize,
    /// Runs of the namespace that wait, this one included.
    pub length: usize,
}

/// Creation, name and uid.
type Key<'a> = (Option<&'a Time>, String, &'a str);

/// The places of all runs among `runs` that wait, by uid; `runs` are all runs of one or more namespaces.
///
/// The order is the controller's: creation, then name, then uid. O(n log n).
pub fn places<'a>(runs: impl IntoIterator<Item = &'a AgentRun>) -> HashMap<&'a str, Place> {
    let mut queues: BTreeMap<Option<&str>, Vec<Key<'_>>> = BTreeMap::new();
    for run in runs.into_iter().filter(|run| is_queued(run)) {
        let metadata = &run.metadata;
        if let Some(uid) = metadata.uid.as_deref() {
            let queue = queues.entry(metadata.namespace.as_deref()).or_default();
            queue.push((metadata.creation_timestamp.as_ref(), run.name_any(), uid));
        }
    }
    let mut places = HashMap::new();
    for mut queue in queues.into_values() {
        queue.sort();
        let length = queue.len();
        for (index, (_, _, uid)) in queue.into_iter().enumerate() {
            let position = index + 1;
            places.insert(uid, Place { position, length });
        }
    }
    places
}

/// The place of the run `uid` among all runs of its namespace; none: it does not wait.
pub fn place(runs: &[AgentRun], uid: &str) -> Option<Place> {
    places(runs).remove(uid)
}

/// Whether a run waits for a slot: one that is being deleted does not.
pub fn is_queued(run: &AgentRun) -> bool {
    run.stage() == Stage::Queued && run.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn run(namespace: &str, second: i64, name: &str, reason: &str) -> AgentRun {
        let created = Timestamp::from_second(second).unwrap().to_string();
        serde_json::from_value(json!({
            "apiVersion": "cofferdam.dev/v1alpha1",
            "kind": "AgentRun",
            "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"),
                "creationTimestamp": created},
            "spec": {"task": {"prompt": "p"}, "agent": {"image": "i"}},
            "status": {"conditions": [{"type": "Ready", "status": "False", "reason": reason, "message": "",
                "lastTransitionTime": created}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_place_is_told_by_age_and_name_within_the_namespace() {
        let mut deleted = run("a", 0, "deleted", "Queued");
        deleted.metadata.deletion_timestamp = deleted.metadata.creation_timestamp.clone();
        let runs = [
            run("a", 7, "late", "Queued"),
            run("a", 5, "two", "Queued"),
            run("a", 5, "one", "Queued"),
            run("a", 1, "running", "Running"),
            run("a", 2, "suspended", "Suspended"),
            run("b", 1, "one", "Queued"),
            deleted,
        ];
        let position = |uid: &str| place(&runs, uid).map(|place| (place.position, place.length));
        assert_eq!(position("a-one"), Some((1, 3)));
        assert_eq!(position("a-two"), Some((2, 3)));
        assert_eq!(position("a-late"), Some((3, 3)));
        assert_eq!(position("b-one"), Some((1, 1)));
        for uid in ["a-running", "a-suspended", "a-deleted", "nobody"] {
            assert_eq!(position(uid), None, "{uid}");
        }
        assert_eq!(places(&runs).len(), 4);
    }
}
