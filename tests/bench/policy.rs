//! What a decision costs (docs/design.md, section 10): `make bench`. Compare figures of one run with each other only.

use std::collections::BTreeMap;
use std::hint::black_box;

use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxPolicy};
use cofferdam_policy::decide::{Request, decide, evaluate_under};
use cofferdam_policy::dimension::runtime::{RuntimeClassFact, UserNamespaceSupport};
use cofferdam_policy::dimension::vulnerabilities::NONE;
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::layer::layers::Layers;
use cofferdam_policy::pattern::host::Host;
use serde_json::{Value, json};

/// Rules of each list of a layer.
const RULES: usize = 64;

fn main() {
    divan::main();
}

struct World {
    run: AgentRun,
    policy: SandboxPolicy,
    cluster: Vec<ClusterSandboxPolicy>,
    labels: BTreeMap<String, String>,
    classes: [RuntimeClassFact; 1],
}

/// A run that `layers` layers grant, each by the last rule of its lists.
fn world(layers: usize, rules: usize) -> World {
    let read = |value: Value| serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"));
    let cluster = (1..layers).map(|index| {
        json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy",
            "metadata": {"name": format!("layer-{index}")},
            "spec": {"namespaceSelector": {}, "limits": limits(rules)},
        })
    });
    World {
        run: serde_json::from_value(json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
            "metadata": {"name": "measured", "namespace": "team-a"},
            "spec": {
                "task": {"prompt": "x"},
                "agent": {"image": format!("registry.example.com/team-{}/agent:1", rules - 1)},
                "repositories": [{"name": "app", "url": format!("https://git.example.com/team-{}/app", rules - 1)}],
            },
        }))
        .unwrap_or_else(|error| panic!("{error}")),
        policy: serde_json::from_value(json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxPolicy",
            "metadata": {"name": "default", "namespace": "team-a"}, "spec": {"limits": limits(rules)},
        }))
        .unwrap_or_else(|error| panic!("{error}")),
        cluster: cluster.map(read).collect(),
        labels: BTreeMap::from([("cofferdam.dev/sandbox".to_owned(), "enabled".to_owned())]),
        classes: [RuntimeClassFact {
            name: "gvisor".to_owned(),
            user_namespaces: UserNamespaceSupport::Nowhere,
        }],
    }
}

fn limits(rules: usize) -> Value {
    let of = |rule: &dyn Fn(usize) -> Value| (0..rules).map(rule).collect::<Vec<_>>();
    json!({
        "runtime": {"runtimeClassNames": ["gvisor"]},
        "images": {"mode": "AllowList", "allowed": of(&|n| json!(format!("registry.example.com/team-{n}/*")))},
        "repositories": {"mode": "AllowList", "clone": of(&|n| json!({
            "name": format!("team-{n}"), "url": format!("https://git.example.com/team-{n}/*")}))},
        "egress": {"mode": "AllowList", "rules": of(&|n| json!({
            "name": format!("host-{n}"), "hosts": [format!("host-{n}.example.com")]}))},
        "maxResources": {"cpu": "4", "memory": "8Gi"},
        "maxActiveDeadlineSeconds": 7200,
    })
}

impl World {
    fn request(&self) -> Request<'_> {
        Request {
            namespace_labels: &self.labels,
            run: &self.run,
            policy: Some(&self.policy),
            cluster_policies: &self.cluster,
            runtime_classes: &self.classes,
            reports: &NONE,
            credentials: &[],
        }
    }

    fn layers(&self) -> Layers {
        Layers::read(&self.labels, &self.cluster, &self.policy).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Policies parsed and met: what the controller does when it looks at a run.
#[divan::bench(args = [1, 3, 10])]
fn read_and_decide(bencher: divan::Bencher<'_, '_>, layers: usize) {
    let world = world(layers, RULES);
    bencher.bench(|| black_box(decide(&world.request())).is_ok());
}

/// The decision alone, under layers that were read before.
#[divan::bench(args = [1, 3, 10])]
fn decide_under_read_layers(bencher: divan::Bencher<'_, '_>, layers: usize) {
    let world = world(layers, RULES);
    let read = world.layers();
    bencher.bench(|| {
        let evaluation = evaluate_under(&world.request(), &world.policy, &read);
        black_box(evaluation.admit()).is_ok()
    });
}

/// One request of an agent at the gateway: the last of so many rules of one layer grants it.
#[divan::bench(args = [1, 10, 100])]
fn egress_decision(bencher: divan::Bencher<'_, '_>, rules: usize) {
    let world = world(1, rules);
    let layers = world.layers();
    let frozen = FrozenPolicy::of_layers(layers.egress(), layers.tunnels());
    let host =
        Host::parse(&format!("host-{}.example.com", rules - 1)).unwrap_or_else(|error| panic!("{error}"));
    bencher.bench(|| black_box(frozen.agent_route(&host, 443)).is_allowed());
}
