//! Nobody enters a sandbox pod or chooses its node.

use serde_json::json;

use super::pods::both;
use super::{Call, Case, Meets, Who, World};

use Meets::{Guard, NoGuard, Nothing};
use Who::{Admin, Scheduler};

/// Every way in, and a binding.
pub fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, rest) in [
        ("exec", "exec?command=id&stdout=true&container=agent"),
        ("attach", "attach?stdout=true&container=agent"),
        ("port-forward", "portforward?ports=3130"),
        ("proxy", "proxy/"),
    ] {
        let connect = |pod: &str| Call::post(&world.core(&format!("pods/{pod}/{rest}")), json!({}));
        cases.extend(both(what, &connect(&world.pod), Guard("connect")));
        cases.extend(both("the same to an ordinary pod", &connect("ordinary"), NoGuard));
    }
    for name in [format!("http:{}:8080", world.pod), format!("{}:3130", world.pod)] {
        let proxied = Call::post(&world.core(&format!("pods/{name}/proxy/")), json!({}));
        cases.extend(both("proxy by scheme and port", &proxied, Guard("connect")));
    }
    let bind = |pod: &str| {
        let body = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"kind": "Node", "name": "node-a"},
        });
        [
            Call::create(&world.core(&format!("pods/{pod}/binding")), body.clone()),
            Call::create(&world.core("bindings"), body),
        ]
    };
    for call in bind(&world.pod) {
        cases.push(Case("a binding", Admin, call, Guard("connect")));
    }
    let [placed, _] = bind("ordinary");
    cases.push(Case("an ordinary pod's binding", Admin, placed, Nothing));
    let [placed, _] = bind(&world.pod);
    cases.push(Case("a binding", Scheduler, placed, Nothing));
    cases
}
