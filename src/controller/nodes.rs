//! Which nodes can give a pod a user namespace: what they advertise of their runtime's handlers. Pure.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Node, NodeRuntimeHandler, NodeSpec, NodeStatus};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use cofferdam_policy::dimension::runtime::UserNamespaceSupport;

/// Leaves of a node what [`support`] reads: images, capacities and addresses make most of an object that is held for
/// every node of the cluster.
pub fn trim(node: &mut Node) {
    let ObjectMeta {
        name,
        resource_version,
        ..
    } = std::mem::take(&mut node.metadata);
    node.metadata = ObjectMeta {
        name,
        resource_version,
        ..ObjectMeta::default()
    };
    node.spec = node.spec.take().map(|spec| NodeSpec {
        unschedulable: spec.unschedulable,
        ..NodeSpec::default()
    });
    node.status = node.status.take().map(|status| NodeStatus {
        conditions: status.conditions.map(|mut conditions| {
            conditions.retain(|condition| condition.type_ == READY);
            for condition in &mut conditions {
                condition.message = None;
            }
            conditions
        }),
        runtime_handlers: status.runtime_handlers,
        ..NodeStatus::default()
    });
}

const READY: &str = "Ready";

/// Whether the nodes that pods can go to and that list `handler` advertise user namespaces for it. A node that lists no
/// handlers (Kubernetes before 1.30) has none.
pub fn support<'a>(nodes: impl IntoIterator<Item = &'a Node>, handler: &str) -> UserNamespaceSupport {
    let advertised = nodes
        .into_iter()
        .filter(|node| is_usable(node))
        .filter_map(|node| {
            let listed = handlers(node)
                .iter()
                .find(|listed| listed.name.as_deref().unwrap_or_default() == handler)?;
            Some(advertises(listed))
        });
    let (mut with, mut without) = (false, false);
    for own in advertised {
        with |= own;
        without |= !own;
    }
    match (with, without) {
        (false, _) => UserNamespaceSupport::Nowhere,
        (true, true) => UserNamespaceSupport::Somewhere,
        (true, false) => UserNamespaceSupport::Everywhere,
    }
}

fn is_usable(node: &Node) -> bool {
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == READY && condition.status == "True");
    is_ready && !is_cordoned
}

fn handlers(node: &Node) -> &[NodeRuntimeHandler] {
    node.status
        .as_ref()
        .and_then(|status| status.runtime_handlers.as_deref())
        .unwrap_or_default()
}

fn advertises(handler: &NodeRuntimeHandler) -> bool {
    handler
        .features
        .as_ref()
        .and_then(|features| features.user_namespaces)
        == Some(true)
}

/// Remembers of each node what [`support`] rests on. Kubelets report every few minutes at least, and almost never
/// anything that a run could wait for.
#[derive(Debug, Default)]
pub struct Seen(HashMap<String, Option<Vec<NodeRuntimeHandler>>>);

impl Seen {
    /// Whether `node` now differs from what was seen of it before.
    pub fn is_news(&mut self, node: &Node) -> bool {
        let now = is_usable(node).then(|| handlers(node).to_vec());
        let before = self.0.insert(node.name_any(), now.clone());
        // A node that is new and cannot be used yet changes nothing.
        before.unwrap_or_default() != now
    }

    /// Whether it mattered that `node` is gone.
    pub fn is_missed(&mut self, node: &Node) -> bool {
        self.0.remove(&node.name_any()).flatten().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    use UserNamespaceSupport::{Everywhere, Nowhere, Somewhere};

    fn node(name: &str, ready: &str, cordoned: bool, handlers: &[(&str, bool)]) -> Node {
        let handlers: Vec<Value> = handlers
            .iter()
            .map(|(name, own)| json!({"name": name, "features": {"recursiveReadOnlyMounts": true, "userNamespaces": own}}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "resourceVersion": "7", "labels": {"zone": "a"}},
            "spec": {"podCIDR": "10.0.0.0/24", "unschedulable": cordoned},
            "status": {
                "capacity": {"cpu": "4"},
                "images": [{"names": ["registry.example/large"], "sizeBytes": 1}],
                "conditions": [
                    {"type": "DiskPressure", "status": "True"},
                    {"type": "Ready", "status": ready, "message": "kubelet is posting ready status"},
                ],
                "runtimeHandlers": handlers,
            },
        }))
        .unwrap()
    }

    fn able(name: &str) -> Node {
        node(name, "True", false, &[("", false), ("runsc", true)])
    }

    fn unable(name: &str) -> Node {
        node(name, "True", false, &[("", true), ("runsc", false)])
    }

    #[rstest]
    #[case::no_node(vec![], Nowhere)]
    #[case::all(vec![able("a"), able("b")], Everywhere)]
    #[case::some(vec![able("a"), unable("b")], Somewhere)]
    #[case::none(vec![unable("a"), unable("b")], Nowhere)]
    #[case::one_without_the_handler_does_not_count(vec![able("a"), node("b", "True", false, &[("runc", false)])], Everywhere)]
    #[case::no_node_with_the_handler(vec![node("b", "True", false, &[("runc", true)])], Nowhere)]
    #[case::an_old_kubelet(vec![node("b", "True", false, &[])], Nowhere)]
    #[case::a_cordoned_one_does_not_count(vec![able("a"), node("b", "True", true, &[("runsc", false)])], Everywhere)]
    #[case::only_a_cordoned_one(vec![node("b", "True", true, &[("runsc", true)])], Nowhere)]
    #[case::one_not_ready_does_not_count(vec![unable("a"), node("b", "Unknown", false, &[("runsc", true)])], Nowhere)]
    fn what_nodes_advertise_is_summed_up(#[case] nodes: Vec<Node>, #[case] expected: UserNamespaceSupport) {
        assert_eq!(support(&nodes, "runsc"), expected);
        let mut trimmed = nodes;
        trimmed.iter_mut().for_each(trim);
        assert_eq!(support(&trimmed, "runsc"), expected, "the same of what is kept");
    }

    #[test]
    fn the_default_handler_has_no_name() {
        assert_eq!(support(&[unable("a")], ""), Everywhere);
    }

    #[test]
    fn what_is_not_read_is_not_kept() {
        let mut node = able("a");
        trim(&mut node);
        assert_eq!(
            serde_json::to_value(&node).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": "a", "resourceVersion": "7"},
                "spec": {"unschedulable": false},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "runtimeHandlers": [
                        {"name": "", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": false}},
                        {"name": "runsc", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": true}},
                    ],
                },
            })
        );
    }

    #[test]
    fn a_heartbeat_is_no_news_and_a_change_is() {
        let mut seen = Seen::default();
        assert!(seen.is_news(&able("a")));
        let mut heartbeat = able("a");
        heartbeat.metadata.resource_version = Some("8".to_owned());
        assert!(!seen.is_news(&heartbeat));
        assert!(seen.is_news(&unable("a")));
        let cordoned = node("a", "True", true, &[("runsc", false)]);
        assert!(seen.is_news(&cordoned));
        assert!(
            !seen.is_news(&node("a", "False", true, &[("runsc", true)])),
            "still of no use"
        );
        assert!(
            !seen.is_news(&node("b", "False", false, &[("runsc", true)])),
            "of no use yet"
        );
        assert!(seen.is_news(&able("b")));
    }

    #[test]
    fn a_node_that_goes_is_missed_if_it_was_of_use() {
        let mut seen = Seen::default();
        seen.is_news(&able("a"));
        seen.is_news(&node("b", "False", false, &[("runsc", true)]));
        assert!(seen.is_missed(&able("a")));
        assert!(!seen.is_missed(&able("a")), "it is forgotten");
        assert!(!seen.is_missed(&able("b")));
        assert!(seen.is_news(&able("a")), "it came back");
    }
}
