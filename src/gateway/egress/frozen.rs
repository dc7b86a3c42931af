//! Frozen policies by their hash: read once, verified, kept while a live pod refers to them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use parking_lot::Mutex;

use crate::denial::Denial;
use cofferdam_api::names::{FROZEN_POLICY_KEY, LABEL_FROZEN_POLICY, frozen_policy_name, short_hash};
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_wire::denial::DenialCode;

/// Longest time for a read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A failure is an answer for so long, so that a run cannot turn its requests into requests to the API server.
const FAILURE_LASTS: Duration = Duration::from_secs(2);

/// Where frozen policies are read.
pub trait PolicySource: Send + Sync {
    /// The ConfigMap of this hash; the error is for people.
    fn read<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<ConfigMap, String>>;
}

/// Reads from the operator's namespace.
pub struct ClusterPolicies(pub Api<ConfigMap>);

impl PolicySource for ClusterPolicies {
    fn read<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<ConfigMap, String>> {
        Box::pin(async move {
            let name = frozen_policy_name(hash);
            self.0.get(&name).await.map_err(|error| error.to_string())
        })
    }
}

/// The frozen policies that were read.
pub struct FrozenPolicies {
    source: Box<dyn PolicySource>,
    known: Mutex<HashMap<String, Arc<FrozenPolicy>>>,
    failed: Mutex<HashMap<String, (Instant, String)>>,
}

impl FrozenPolicies {
    /// No policy read yet.
    pub fn new(source: impl PolicySource + 'static) -> Self {
        Self {
            source: Box::new(source),
            known: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// The policy of this hash. Whatever is wrong with it means: deny.
    pub async fn get(&self, hash: &str) -> Result<Arc<FrozenPolicy>, Denial> {
        if let Some(policy) = self.known.lock().get(hash) {
            return Ok(Arc::clone(policy));
        }
        let recent = self
            .failed
            .lock()
            .get(hash)
            .filter(|(at, _)| at.elapsed() < FAILURE_LASTS)
            .map(|(_, error)| error.clone());
        if let Some(error) = recent {
            return Err(unreadable(&error));
        }
        match self.read(hash).await {
            Ok(policy) => {
                let policy = Arc::new(policy);
                self.known.lock().insert(hash.to_owned(), Arc::clone(&policy));
                Ok(policy)
            }
            Err(error) => {
                tracing::warn!(hash, error, "a frozen policy cannot be used");
                self.failed
                    .lock()
                    .insert(hash.to_owned(), (Instant::now(), error.clone()));
                Err(unreadable(&error))
            }
        }
    }

    /// Forgets what no live pod refers to.
    pub fn retain(&self, hashes: &HashSet<String>) {
        self.known.lock().retain(|hash, _| hashes.contains(hash));
        self.failed.lock().retain(|hash, _| hashes.contains(hash));
    }

    async fn read(&self, hash: &str) -> Result<FrozenPolicy, String> {
        let map = tokio::time::timeout(READ_TIMEOUT, self.source.read(hash))
            .await
            .unwrap_or_else(|_| Err("no answer in 5 s".to_owned()))?;
        verify(&map, hash)
    }
}

fn unreadable(error: &str) -> Denial {
    Denial::new(
        DenialCode::PolicyUnreadable,
        format!("the run's frozen policy cannot be used: {error}"),
    )
}

fn verify(map: &ConfigMap, hash: &str) -> Result<FrozenPolicy, String> {
    if map.labels().get(LABEL_FROZEN_POLICY).map(String::as_str) != Some("true")
        || map.immutable != Some(true)
    {
        return Err("the ConfigMap is not an immutable frozen policy".to_owned());
    }
    let text = map
        .data
        .as_ref()
        .and_then(|data| data.get(FROZEN_POLICY_KEY))
        .ok_or_else(|| format!("the ConfigMap has no {FROZEN_POLICY_KEY}"))?;
    if short_hash(text.as_bytes()) != hash {
        return Err("its content has another hash".to_owned());
    }
    FrozenPolicy::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(crate) mod testing {
    //! ConfigMaps without a cluster.

    use super::*;

    pub(crate) struct Fixed(pub(crate) Vec<ConfigMap>, pub(crate) Arc<Mutex<usize>>);

    impl PolicySource for Fixed {
        fn read<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<ConfigMap, String>> {
            *self.1.lock() += 1;
            let name = frozen_policy_name(hash);
            let found = self.0.iter().find(|map| map.name_any() == name).cloned();
            Box::pin(async move { found.ok_or_else(|| "not found".to_owned()) })
        }
    }

    /// The ConfigMap of a policy, and its hash.
    pub(crate) fn map_of(text: &str) -> (ConfigMap, String) {
        let hash = short_hash(text.as_bytes());
        let map = serde_json::from_value(serde_json::json!({
            "metadata": {"name": frozen_policy_name(&hash), "labels": {LABEL_FROZEN_POLICY: "true"}},
            "immutable": true,
            "data": {FROZEN_POLICY_KEY: text},
        }))
        .unwrap();
        (map, hash)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn text() -> String {
        FrozenPolicy::of_layers(Vec::new(), cofferdam_api::Tunnels::Deny).to_json()
    }

    async fn code(map: ConfigMap, hash: &str) -> Option<&'static str> {
        let policies = FrozenPolicies::new(Fixed(vec![map], Arc::default()));
        policies.get(hash).await.err().map(|denial| denial.code.as_str())
    }

    type Mutation = (&'static str, fn(&mut ConfigMap));

    #[tokio::test]
    async fn only_the_right_bytes_are_a_policy() {
        let (map, hash) = map_of(&text());
        assert_eq!(code(map.clone(), &hash).await, None);
        let mutations: [Mutation; 6] = [
            ("edited", |map| {
                map.data
                    .as_mut()
                    .unwrap()
                    .get_mut(FROZEN_POLICY_KEY)
                    .unwrap()
                    .push(' ');
            }),
            ("another policy", |map| {
                // Canonical and readable: nothing but its hash gives it away.
                let other = text().replace(
                    "\"git\":[]",
                    "\"git\":[{\"addresses\":[],\"host\":\"evil.test\",\"port\":443}]",
                );
                assert!(other != text() && FrozenPolicy::parse(&other).is_ok());
                map.data
                    .as_mut()
                    .unwrap()
                    .insert(FROZEN_POLICY_KEY.to_owned(), other);
            }),
            ("no key", |map| map.data = None),
            ("mutable", |map| map.immutable = None),
            ("unlabelled", |map| map.metadata.labels = None),
            ("another name", |map| {
                map.metadata.name = Some("policy-x".to_owned());
            }),
        ];
        for (name, mutate) in mutations {
            let mut map = map.clone();
            mutate(&mut map);
            assert_eq!(code(map, &hash).await, Some("PolicyUnreadable"), "{name}");
        }
    }

    #[tokio::test]
    async fn a_document_of_the_right_hash_that_nobody_understands_denies() {
        for text in ["", "{}", "null", r#"{"schemaVersion":999,"layers":[],"git":[]}"#] {
            let (map, hash) = map_of(text);
            assert_eq!(code(map, &hash).await, Some("PolicyUnreadable"), "{text}");
        }
        let unknown = text().replace("{\"git\"", "{\"extra\":1,\"git\"");
        assert_ne!(unknown, text());
        let (map, hash) = map_of(&unknown);
        assert_eq!(code(map, &hash).await, Some("PolicyUnreadable"));
    }

    #[tokio::test]
    async fn good_and_bad_answers_are_not_asked_for_again_at_once() {
        let (map, hash) = map_of(&text());
        let reads = Arc::default();
        let policies = FrozenPolicies::new(Fixed(vec![map], Arc::clone(&reads)));
        for _ in 0..3 {
            assert!(policies.get(&hash).await.is_ok());
            assert!(policies.get("missing").await.is_err());
        }
        assert_eq!(*reads.lock(), 2);
        policies.retain(&HashSet::new());
        assert!(policies.get(&hash).await.is_ok());
        assert_eq!(*reads.lock(), 3);
    }
}
