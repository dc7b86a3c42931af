//! What was read of policies, remembered by their version: every look at a run asks what its layers say, and they
//! seldom change.
//!
//! A memory and nothing else: the answer is always that of [`Layers::read`], which a test holds it to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube::api::ObjectMeta;
use parking_lot::Mutex;

use crate::layer::layers::{Layers, matching};
use crate::layer::parsed::{ParsedPolicy, Written};
use crate::refusal::{Layer, Refusal};
use cofferdam_api::{ClusterSandboxPolicy, SandboxPolicy};

/// Policies that are remembered; a cluster with more of them reads them all again now and then.
const LIMIT: usize = 4096;

/// Uid and `resourceVersion`: what the API server changes with every change of an object.
type Version = (String, String);

/// What was read before.
#[derive(Debug, Default)]
pub struct PolicyCache(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// What each policy says, by its uid.
    parsed: HashMap<String, (String, Arc<ParsedPolicy>)>,
    /// What the layers over each `SandboxPolicy` come to, by its uid, with the versions of all of them.
    layers: HashMap<String, (Vec<Version>, Arc<Layers>)>,
}

impl PolicyCache {
    /// As [`Layers::read`]. Policies without uid and `resourceVersion`, as in files, are read each time.
    ///
    /// # Errors
    /// As [`Layers::read`]; what cannot be read is not remembered.
    pub fn layers(
        &self,
        namespace_labels: &BTreeMap<String, String>,
        cluster_policies: &[ClusterSandboxPolicy],
        policy: &SandboxPolicy,
    ) -> Result<Arc<Layers>, Refusal> {
        let over = matching(namespace_labels, cluster_policies)?;
        let objects = over.iter().map(|cluster_policy| &cluster_policy.metadata);
        let versions: Option<Vec<Version>> = objects.chain([&policy.metadata]).map(version).collect();
        let known = versions
            .as_ref()
            .and_then(|versions| self.0.lock().layers_of(versions));
        if let Some(known) = known {
            return Ok(known);
        }
        let read = |layer, metadata: &_, written: Written<'_>| self.parsed(layer, metadata, written);
        let layers = Arc::new(Layers::of(&over, policy, read)?);
        if let Some(versions) = versions {
            self.0.lock().keep_layers(versions, &layers);
        }
        Ok(layers)
    }

    /// Forgets a policy that is gone.
    pub fn forget(&self, uid: &str) {
        let mut memory = self.0.lock();
        memory.parsed.remove(uid);
        memory
            .layers
            .retain(|_, (versions, _)| versions.iter().all(|(known, _)| known != uid));
    }

    fn parsed(
        &self,
        layer: Layer,
        metadata: &ObjectMeta,
        written: Written<'_>,
    ) -> Result<Arc<ParsedPolicy>, Refusal> {
        let version = version(metadata);
        let known = version
            .as_ref()
            .and_then(|version| self.0.lock().parsed_of(version));
        if let Some(known) = known {
            return Ok(known);
        }
        let parsed = Arc::new(ParsedPolicy::read(layer, written)?);
        if let Some(version) = version {
            self.0.lock().keep_parsed(version, &parsed);
        }
        Ok(parsed)
    }
}

impl Memory {
    fn parsed_of(&self, (uid, version): &Version) -> Option<Arc<ParsedPolicy>> {
        let (known, parsed) = self.parsed.get(uid)?;
        (known == version).then(|| Arc::clone(parsed))
    }

    fn keep_parsed(&mut self, (uid, version): Version, parsed: &Arc<ParsedPolicy>) {
        if self.parsed.len() >= LIMIT && !self.parsed.contains_key(&uid) {
            self.parsed.clear();
        }
        self.parsed.insert(uid, (version, Arc::clone(parsed)));
    }

    /// `versions` ends with that of the namespace's policy.
    fn layers_of(&self, versions: &[Version]) -> Option<Arc<Layers>> {
        let (uid, _) = versions.last()?;
        let (known, layers) = self.layers.get(uid)?;
        (known == versions).then(|| Arc::clone(layers))
    }

    fn keep_layers(&mut self, versions: Vec<Version>, layers: &Arc<Layers>) {
        let Some((uid, _)) = versions.last().cloned() else {
            return;
        };
        if self.layers.len() >= LIMIT && !self.layers.contains_key(&uid) {
            self.layers.clear();
        }
        self.layers.insert(uid, (versions, Arc::clone(layers)));
    }
}

fn version(metadata: &ObjectMeta) -> Option<Version> {
    Some((metadata.uid.clone()?, metadata.resource_version.clone()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(uid: &str, version: &str, image: &str) -> SandboxPolicy {
        serde_json::from_value(json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxPolicy",
            "metadata": {"name": format!("of-{uid}"), "namespace": "tenant-a", "uid": uid, "resourceVersion": version},
            "spec": {"limits": {"images": {"mode": "AllowList", "allowed": [image]}}},
        }))
        .unwrap()
    }

    fn over(uid: &str, version: &str, team: &str, seconds: i32) -> ClusterSandboxPolicy {
        serde_json::from_value(json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy",
            "metadata": {"name": format!("over-{uid}"), "uid": uid, "resourceVersion": version},
            "spec": {"namespaceSelector": {"matchLabels": {"team": team}}, "limits": {"maxActiveDeadlineSeconds": seconds}},
        }))
        .unwrap()
    }

    fn red() -> BTreeMap<String, String> {
        BTreeMap::from([("team".to_owned(), "red".to_owned())])
    }

    /// What the memory says, which must be what is read afresh.
    fn layers(cache: &PolicyCache, cluster: &[ClusterSandboxPolicy], policy: &SandboxPolicy) -> Arc<Layers> {
        let remembered = cache.layers(&red(), cluster, policy).unwrap();
        let afresh = Layers::read(&red(), cluster, policy).unwrap();
        assert_eq!(format!("{remembered:?}"), format!("{afresh:?}"));
        remembered
    }

    fn sizes(cache: &PolicyCache) -> [usize; 2] {
        let memory = cache.0.lock();
        [memory.parsed.len(), memory.layers.len()]
    }

    #[test]
    fn what_did_not_change_is_not_read_again() {
        let cache = PolicyCache::default();
        let (policy, cluster) = (policy("own", "1", "a.example/x"), [over("base", "1", "red", 60)]);
        let first = layers(&cache, &cluster, &policy);
        assert!(Arc::ptr_eq(&first, &layers(&cache, &cluster, &policy)));
        assert_eq!(sizes(&cache), [2, 1]);
    }

    #[test]
    fn each_change_is_seen_and_the_rest_is_kept() {
        let (own, base) = (policy("own", "1", "a.example/x"), over("base", "1", "red", 60));
        for (cluster, changed, own_is_kept) in [
            (vec![over("base", "2", "red", 30)], own.clone(), true),
            (vec![], own.clone(), true),
            // It stands over another namespace now.
            (vec![over("base", "3", "blue", 60)], own.clone(), true),
            (
                vec![base.clone(), over("more", "1", "red", 10)],
                own.clone(),
                true,
            ),
            (vec![base.clone()], policy("own", "2", "b.example/y"), false),
            // Made anew under the same name.
            (vec![base.clone()], policy("own-again", "1", "c.example/z"), false),
        ] {
            let cache = PolicyCache::default();
            let before = layers(&cache, std::slice::from_ref(&base), &own);
            let after = layers(&cache, &cluster, &changed);
            assert!(!Arc::ptr_eq(&before, &after), "{cluster:?}");
            let [before, after] = [&before, &after].map(|layers| layers.policies.last().unwrap());
            assert_eq!(Arc::ptr_eq(before, after), own_is_kept, "{cluster:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_each_time_and_not_remembered() {
        let cache = PolicyCache::default();
        let odd = policy("own", "1", "a.ex*mple/x");
        for _ in 0..2 {
            let refusal = cache.layers(&red(), &[], &odd).unwrap_err();
            assert_eq!(refusal, Layers::read(&red(), &[], &odd).unwrap_err());
        }
        assert_eq!(sizes(&cache), [0, 0]);
    }

    #[test]
    fn policies_without_a_version_are_not_remembered() {
        let cache = PolicyCache::default();
        let mut policy = policy("own", "1", "a.example/x");
        policy.metadata.resource_version = None;
        let cluster = [over("base", "1", "red", 60)];
        layers(&cache, &cluster, &policy);
        assert_eq!(sizes(&cache), [1, 0]);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_the_memory_is_bounded() {
        let cache = PolicyCache::default();
        let cluster = [over("base", "1", "red", 60)];
        let (own, other) = (
            policy("own", "1", "a.example/x"),
            policy("other", "1", "b.example/y"),
        );
        layers(&cache, &cluster, &own);
        layers(&cache, &[], &other);
        assert_eq!(sizes(&cache), [3, 2]);
        cache.forget("base");
        assert_eq!(sizes(&cache), [2, 1], "and what it was a layer of");
        cache.forget("other");
        cache.forget("own");
        assert_eq!(sizes(&cache), [0, 0]);
        for index in 0..LIMIT + 10 {
            let policy = policy(&format!("p{index}"), "1", "a.example/x");
            cache.layers(&red(), &[], &policy).unwrap();
        }
        assert_eq!(sizes(&cache), [10, 10]);
    }
}
