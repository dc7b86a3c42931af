//! Objects of a cache in groups, so that a question about a few does not walk through all.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use parking_lot::RwLock;

/// Namespace and name of an object.
type Name = (String, String);

/// Tells the group of an object; `None`: it belongs to none.
pub type GroupOf<K> = fn(&K) -> Option<String>;

/// The objects of one cache, each in at most one group.
#[derive(Debug, Default)]
pub struct Index(RwLock<Option<Groups>>);

#[derive(Debug, Default)]
struct Groups {
    members: HashMap<String, BTreeSet<Name>>,
    group_of: HashMap<Name, String>,
}

impl Index {
    /// Replaces all groups by those of a whole list of the cache.
    pub fn list(&self, objects: impl Iterator<Item = (Name, Option<String>)>) {
        let mut groups = Groups::default();
        for (name, group) in objects {
            groups.set(name, group);
        }
        *self.0.write() = Some(groups);
    }

    /// Puts an object into a group; `None`: it is gone, or belongs to none.
    pub fn set(&self, name: Name, group: Option<String>) {
        if let Some(groups) = self.0.write().as_mut() {
            groups.set(name, group);
        }
    }

    /// The objects of one group or of all that `store` still has; `None`: nothing was listed yet, so nothing is known.
    ///
    /// An object may have left the group since: the store is ahead of the index by one event.
    pub fn find<K>(&self, store: &Store<K>, group: Option<&str>) -> Option<Vec<std::sync::Arc<K>>>
    where
        K: Lookup + Clone + 'static,
        K::DynamicType: Default + Eq + Hash + Clone,
    {
        let names: Vec<Name> = {
            let groups = self.0.read();
            let members = &groups.as_ref()?.members;
            match group {
                Some(group) => members.get(group).into_iter().flatten().cloned().collect(),
                None => members.values().flatten().cloned().collect(),
            }
        };
        let found = names
            .iter()
            .filter_map(|(namespace, name)| store.get(&ObjectRef::new(name).within(namespace)));
        Some(found.collect())
    }
}

impl Groups {
    fn set(&mut self, name: Name, group: Option<String>) {
        if self.group_of.get(&name) == group.as_ref() {
            return;
        }
        if let Some(left) = self.group_of.remove(&name)
            && let Some(members) = self.members.get_mut(&left)
        {
            members.remove(&name);
            if members.is_empty() {
                self.members.remove(&left);
            }
        }
        if let Some(group) = group {
            self.members
                .entry(group.clone())
                .or_default()
                .insert(name.clone());
            self.group_of.insert(name, group);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::runtime::{reflector, watcher};
    use serde_json::json;

    use super::*;

    fn name(name: &str) -> Name {
        ("team-a".to_owned(), name.to_owned())
    }

    /// A store of these pods.
    fn store(names: &[&str]) -> Store<Pod> {
        let (store, mut writer) = reflector::store();
        for name in names {
            let pod = json!({"metadata": {"namespace": "team-a", "name": name}});
            writer.apply_watcher_event(&watcher::Event::Apply(serde_json::from_value(pod).unwrap()));
        }
        store
    }

    fn found(index: &Index, store: &Store<Pod>, group: Option<&str>) -> Option<Vec<String>> {
        let pods = index.find(store, group)?;
        let mut names: Vec<String> = pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        names.sort();
        Some(names)
    }

    #[test]
    fn nothing_is_known_before_the_first_list() {
        let (index, store) = (Index::default(), store(&["one"]));
        index.set(name("one"), Some("a".to_owned()));
        assert_eq!(found(&index, &store, Some("a")), None);
        index.list(std::iter::empty());
        assert_eq!(found(&index, &store, Some("a")), Some(vec![]));
    }

    #[test]
    fn an_object_is_in_its_last_group_only_and_gone_ones_in_none() {
        let (index, store) = (Index::default(), store(&["one", "two", "three"]));
        index.list(
            [
                (name("one"), Some("a".to_owned())),
                (name("two"), Some("a".to_owned())),
                (name("gone"), Some("a".to_owned())),
            ]
            .into_iter(),
        );
        assert_eq!(
            found(&index, &store, Some("a")).unwrap(),
            ["one", "two"],
            "the store has lost the third"
        );
        index.set(name("two"), Some("b".to_owned()));
        index.set(name("three"), Some("b".to_owned()));
        assert_eq!(found(&index, &store, Some("a")).unwrap(), ["one"]);
        assert_eq!(found(&index, &store, Some("b")).unwrap(), ["three", "two"]);
        assert_eq!(found(&index, &store, None).unwrap(), ["one", "three", "two"]);
        index.set(name("one"), None);
        assert_eq!(found(&index, &store, Some("a")).unwrap(), Vec::<String>::new());
        index.list([(name("three"), None)].into_iter());
        assert_eq!(
            found(&index, &store, None).unwrap(),
            Vec::<String>::new(),
            "a list replaces what was before"
        );
    }

    #[test]
    fn empty_groups_take_no_memory() {
        let index = Index::default();
        index.list(std::iter::empty());
        for n in 0..100 {
            index.set(name(&n.to_string()), Some(n.to_string()));
            index.set(name(&n.to_string()), None);
        }
        let groups = index.0.read();
        let groups = groups.as_ref().unwrap();
        assert!(groups.members.is_empty() && groups.group_of.is_empty());
    }
}
