//! Runs one watch: fills its cache and index, and sends what its changes ask for.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::trigger::{Change, Trigger, Triggers, all_at_once, look_at_run, runs_and_fence};
use crate::api_server::Guarded;
use crate::fence::foreign;
use crate::index::{GroupOf, Index};
use crate::retired::Reported;
use crate::stores::{Indices, namespace_if_open, namespace_if_widening};
use crate::{nodes, trim};
use cofferdam_api::AgentRun;

/// Objects of one page of a list. A page is in memory as a whole before it is trimmed, and tenants decide how large an
/// object is.
const PAGE: u32 = 50;
/// The same for each `NetworkPolicy`: of a megabyte each, which takes five in memory, at most 50 MiB at a time.
const NETWORK_POLICIES_PAGE: u32 = 10;

pub(super) struct Watch<'a> {
    pub(super) client: &'a Client,
    pub(super) triggers: &'a Triggers,
    pub(super) stop: &'a CancellationToken,
}

impl Watch<'_> {
    pub(super) fn all<K>(
        &self,
        config: watcher::Config,
        triggered: impl Fn(&K) -> Vec<Trigger> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let triggered = move |object: &K, _| triggered(object);
        self.one(Api::all(self.client.clone()), config, triggered)
    }

    pub(super) fn one<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        triggered: impl FnMut(&K, Change) -> Vec<Trigger> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let mut reported = Reported::default();
        let trim = move |object: &mut K| {
            reported.look_at(&K::kind(&K::DynamicType::default()), object.meta());
            object.managed_fields_mut().clear();
        };
        self.run(api, config, trim, triggered)
    }

    pub(super) fn runs(&self, indices: &Indices) -> Store<Guarded<AgentRun>> {
        let mut reported = Reported::default();
        let trim = move |run: &mut Guarded<AgentRun>| {
            reported.look_at("AgentRun", run.meta());
            trim::run(run);
        };
        let api = Api::all(self.client.clone());
        let index = (&indices.open_runs, namespace_if_open as GroupOf<_>);
        self.indexed(api, watcher::Config::default(), trim, index, look_at_run)
    }

    pub(super) fn network_policies(&self, indices: &Indices) -> Store<NetworkPolicy> {
        let api = Api::all(self.client.clone());
        let config = watcher::Config::default().page_size(NETWORK_POLICIES_PAGE);
        let index = (&indices.widening, namespace_if_widening as GroupOf<_>);
        self.indexed(api, config, foreign::trim, index, |policy: &NetworkPolicy, _| {
            let policies = policy.meta().namespace.clone().map(Trigger::PoliciesOf);
            runs_and_fence(policy).into_iter().chain(policies).collect()
        })
    }

    /// Ignores updates of nodes that change nothing we use, such as heartbeats: each of the others wakes every run that
    /// waits.
    pub(super) fn nodes(&self) -> Store<Node> {
        let mut seen = nodes::Seen::default();
        let api = Api::all(self.client.clone());
        self.run(
            api,
            watcher::Config::default(),
            nodes::trim,
            move |node, change| {
                let matters = match change {
                    Change::Applied => seen.is_news(node),
                    Change::Deleted => seen.is_missed(node),
                };
                if matters {
                    vec![Trigger::AllRuns, Trigger::AllPolicies]
                } else {
                    Vec::new()
                }
            },
        )
    }

    /// A watch whose objects are of no group.
    pub(super) fn run<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        trim: impl FnMut(&mut K) + Send + 'static,
        triggered: impl FnMut(&K, Change) -> Vec<Trigger> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let index = (&Arc::default(), (|_| None) as GroupOf<_>);
        self.indexed(api, config, trim, index, triggered)
    }

    /// Runs one watch in a task of its own; what is kept of an object is what `trim` leaves of it. The index is true
    /// before anything is triggered.
    pub(super) fn indexed<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        trim: impl FnMut(&mut K) + Send + 'static,
        (index, group): (&Arc<Index>, GroupOf<K>),
        mut triggered: impl FnMut(&K, Change) -> Vec<Trigger> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let index = Arc::clone(index);
        let name = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        let (store, writer) = reflector::store::<K>();
        let (triggers, filled) = (self.triggers.clone(), store.clone());
        let stop = self.stop.clone().cancelled_owned();
        let page = config.page_size.filter(|page| *page < PAGE).unwrap_or(PAGE);
        let stream = watcher::watcher(api, config.page_size(page))
            .modify(trim)
            .default_backoff()
            .reflect(writer)
            .take_until(Box::pin(stop));
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            let mut before = Vec::new();
            while let Some(event) = stream.next().await {
                let changed = match event {
                    Ok(Event::Apply(object)) => {
                        index.set(name(&object), group(&object));
                        triggered(&object, Change::Applied)
                    }
                    Ok(Event::Delete(object)) => {
                        index.set(name(&object), None);
                        triggered(&object, Change::Deleted)
                    }
                    // The cache changes all at once at the end of a list, so only then there is something to look at.
                    Ok(Event::InitDone) => {
                        let objects = filled.state();
                        index.list(objects.iter().map(|object| (name(object), group(object))));
                        let gone = gone(std::mem::take(&mut before), &objects);
                        let gone = gone.iter().map(|object| (object, Change::Deleted));
                        let are = objects.iter().map(|object| (object, Change::Applied));
                        all_at_once(
                            gone.chain(are)
                                .flat_map(|(object, change)| triggered(object, change)),
                        )
                    }
                    Ok(Event::Init) => {
                        before = filled.state();
                        Vec::new()
                    }
                    Ok(Event::InitApply(_)) => Vec::new(),
                    Err(error) => {
                        tracing::warn!(kind = std::any::type_name::<K>(), %error, "watch interrupted");
                        Vec::new()
                    }
                };
                for trigger in changed {
                    // Nobody listens only when the process ends.
                    if triggers.unbounded_send(trigger).is_err() {
                        return;
                    }
                }
            }
        });
        store
    }
}

/// What was there `before` a list and is not in it: nobody was told of its deletion, because no watch stood then. Another
/// object of the same name is not it.
fn gone<K: Resource>(before: Vec<Arc<K>>, listed: &[Arc<K>]) -> Vec<Arc<K>> {
    let listed: HashSet<Option<&str>> = listed.iter().map(|object| object.meta().uid.as_deref()).collect();
    let is_gone = |object: &Arc<K>| !listed.contains(&object.meta().uid.as_deref());
    before.into_iter().filter(is_gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn node(name: &str, uid: &str) -> Arc<Node> {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectMeta::default()
        };
        Arc::new(Node {
            metadata,
            ..Node::default()
        })
    }

    #[test]
    fn what_a_list_lacks_or_has_as_another_of_its_name_is_gone() {
        let before = vec![node("stays", "1"), node("goes", "2"), node("made-anew", "3")];
        let listed = [node("stays", "1"), node("made-anew", "4"), node("new", "5")];
        let gone: Vec<_> = gone(before, &listed)
            .iter()
            .map(|node| node.metadata.uid.clone())
            .collect();
        assert_eq!(gone, [Some("2".to_owned()), Some("3".to_owned())]);
        assert!(
            super::gone(Vec::new(), &listed).is_empty(),
            "nothing was there before the first list"
        );
    }
}
