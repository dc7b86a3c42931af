//! Nothing leads into a sandbox: no Service selects one, nobody writes one down as an endpoint, and the API server
//! proxies to no Service beside one.

use std::time::Duration;

use cofferdam_api::names;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::objects::{edit_binding, ordinary_pod, with};
use super::pods::both;
use super::{Call, Case, Meets, Who, World, bindings_of};
use crate::harness::{ATTACKER, OPERATOR_NAMESPACE, Space, client, restricted, until};

use Meets::{Guard, NoGuard, Nothing};
use Who::{Admin, Edit, Kubernetes};

/// Selectors that can select sandbox pods.
const INTO: &str = r#"[
    ["sandboxes of one run", {"cofferdam.dev/run": "held"}],
    ["sandboxes of one policy", {"cofferdam.dev/policy-hash": "hash"}],
    ["one Job's pods", {"batch.kubernetes.io/job-name": "agr-services-0b7c9f3e"}],
    ["one Job's pods by the old label", {"job-name": "agr-services-0b7c9f3e"}],
    ["one Job's pods by uid", {"batch.kubernetes.io/controller-uid": "x"}],
    ["one Job's pods by the old uid", {"controller-uid": "x"}],
    ["pods of a zone", {"topology.kubernetes.io/zone": "a"}],
    ["pods left out by a mesh", {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}],
    ["pods of a queue", {"kueue.x-k8s.io/podset": "main"}]
]"#;

/// Selectors that cannot.
const BESIDE: &str = r#"[
    ["pods by a label that no sandbox has", {"app": "web"}],
    ["pods by the label of most charts", {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "a"}],
    ["some pods of Jobs", {"app": "web", "batch.kubernetes.io/job-name": "migrate"}],
    ["none: endpoints by hand", {}]
]"#;

fn service(name: &str, selector: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
    })
}

fn selectors(world: &World) -> Vec<Case> {
    let services = world.core("services");
    let mut cases = Vec::new();
    for (table, meets) in [(INTO, Guard("services")), (BESIDE, Nothing)] {
        let table: Vec<(&'static str, Value)> = serde_json::from_str(table).expect("a table");
        for (what, selector) in table {
            cases.extend(both(
                what,
                &Call::create(&services, service("door", &selector)),
                meets,
            ));
        }
    }
    let into = service("door", &json!({"cofferdam.dev/run": "held"}));
    for (what, path, value) in [
        ("without an address", "/spec/clusterIP", json!("None")),
        ("on every node", "/spec/type", json!("NodePort")),
        ("from outside", "/spec/type", json!("LoadBalancer")),
    ] {
        let call = Call::create(&services, with(&into, path, value));
        cases.extend(both(what, &call, Guard("services")));
    }
    let elsewhere = json!({"metadata": {"name": "alias"}, "spec": {"type": "ExternalName", "externalName": "example.com"}});
    cases.extend(both("another name", &Call::create(&services, elsewhere), Nothing));
    // One that is there comes to select sandboxes, or changes otherwise.
    let there = format!("{services}/ordinary");
    let made = Call::post(&services, service("ordinary", &json!({"app": "web"})));
    cases.push(Case("an ordinary Service", Edit, made, Nothing));
    let turned = json!({"spec": {"selector": {"app": null, "cofferdam.dev/run": "held"}}});
    let labelled = json!({"metadata": {"labels": {"tier": "front"}}});
    cases.extend(both("turned", &Call::patch(&there, turned), Guard("services")));
    cases.extend(both("labelled", &Call::patch(&there, labelled), Nothing));
    for name in ["ordinary", "http:ordinary:80", "none"] {
        let proxied = Call::post(&world.core(&format!("services/{name}/proxy/")), json!({}));
        cases.extend(both("the API server's proxy", &proxied, Guard("connect")));
    }
    cases
}

fn endpoints(world: &World) -> Vec<Case> {
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
        world.namespace
    );
    let refers = |pod: &str| json!({"kind": "Pod", "namespace": world.namespace, "name": pod});
    let slice = |target: Value| {
        json!({
            "metadata": {"name": "door-1", "labels": {"kubernetes.io/service-name": "door"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.244.9.8"]}, {"addresses": ["10.244.9.9"], "targetRef": target}],
            "ports": [{"name": "http", "port": 8000}],
        })
    };
    let old = |list: &str, target: Value| {
        json!({"metadata": {"name": "door"}, "subsets": [
            {"addresses": [{"ip": "10.244.9.8"}], "ports": [{"port": 8000}]},
            {list: [{"ip": "10.244.9.9", "targetRef": target}], "ports": [{"port": 8001}]}]})
    };
    let old_path = world.core("endpoints");
    let mut cases = Vec::new();
    for who in [
        Admin,
        Kubernetes("endpointslice-controller"),
        Kubernetes("endpointslicemirroring-controller"),
    ] {
        for (pod, meets) in [(world.pod.as_str(), Guard("endpoints")), ("ordinary", Nothing)] {
            let call = Call::create(&slices, slice(refers(pod)));
            cases.push(Case("an EndpointSlice", who, call, meets));
        }
    }
    for who in [Admin, Kubernetes("endpoint-controller")] {
        for list in ["addresses", "notReadyAddresses"] {
            for (pod, meets) in [(world.pod.as_str(), Guard("endpoints")), ("ordinary", Nothing)] {
                let call = Call::create(&old_path, old(list, refers(pod)));
                cases.push(Case("Endpoints", who, call, meets));
            }
        }
    }
    cases.push(Case(
        "an EndpointSlice",
        Edit,
        Call::create(&slices, slice(refers(&world.pod))),
        NoGuard,
    ));
    cases
}

#[tokio::test]
async fn nothing_leads_into_a_sandbox() {
    let world = World::open("services", true).await;
    let mut cases = selectors(&world);
    cases.extend(endpoints(&world));
    world.check(cases).await;
}

#[tokio::test]
async fn namespaces_that_did_not_opt_in_keep_their_services() {
    let world = World::open("plain-services", false).await;
    let services = world.core("services");
    let any = Call::create(&services, service("door", &json!({"cofferdam.dev/run": "held"})));
    let cases = both("any selector", &any, Nothing)
        .into_iter()
        .collect::<Vec<_>>();
    world.check(cases).await;
}

/// A server as an agent could run it.
fn server() -> Value {
    let pod = with(&ordinary_pod("web"), "/spec/nodeSelector", json!({}));
    let pod = with(&pod, "/spec/containers/0/image", json!(ATTACKER));
    let pod = with(&pod, "/spec/terminationGracePeriodSeconds", json!(0));
    with(
        &pod,
        "/spec/containers/0/command",
        json!(["python3", "-m", "http.server", "8000", "--directory", "/usr"]),
    )
}

#[tokio::test]
async fn what_the_api_server_proxies_to_elsewhere_it_does_not_where_sandboxes_are() {
    let space = Space::open_with("guard-proxied", &restricted()).await;
    let admin = Admin.client().await;
    let at = |resource: &str| format!("/api/v1/namespaces/{}/{resource}", space.name);
    let bindings = bindings_of(&space.name);
    for (path, object) in [
        (bindings, edit_binding()),
        (at("pods"), server()),
        (at("services"), service("door", &json!({"app": "web"}))),
    ] {
        Call::post(&path, object)
            .send(&admin)
            .await
            .expect("an admin makes it");
    }
    let edit = Edit.client().await;
    let proxied = || async {
        let request = http::Request::get(at("services/door:http/proxy/"));
        let request = request.body(Vec::new()).expect("a request");
        edit.request_text(request).await
    };
    // The control: the user reaches the server by the API server, past every NetworkPolicy of the pod.
    until(
        "the server answers by the API server",
        Duration::from_mins(2),
        || async {
            match proxied().await {
                Ok(page) if page.contains("bin") => Ok(()),
                other => Err((other, space.api::<Pod>().get("web").await.map(|pod| pod.status))),
            }
        },
    )
    .await;
    space
        .label(names::LABEL_SANDBOX, Some(names::SANDBOX_ENABLED))
        .await;
    until(
        "the guard refuses the same request",
        Duration::from_secs(30),
        || async {
            match proxied().await {
                Err(kube::Error::Api(status)) if status.message.contains("'cofferdam-guard-connect'") => {
                    Ok(())
                }
                other => Err(other),
            }
        },
    )
    .await;
    space.close().await;
}

/// Whoever writes Services, in whatever namespace, takes no address by which the operator is reached: without this, every
/// sandbox of the cluster would lose the gateway.
#[tokio::test]
async fn nobody_takes_an_address_of_the_operator() {
    let world = World::open("addresses", false).await;
    let own: Api<Service> = Api::namespaced(client().await, OPERATOR_NAMESPACE);
    let own = own
        .list(&ListParams::default())
        .await
        .expect("Services can be listed")
        .items;
    let own: Vec<String> = own
        .into_iter()
        .filter_map(|service| service.spec?.cluster_ip)
        .collect();
    assert!(own.len() >= 3, "{own:?}");
    let services = world.core("services");
    let external = |addresses: Value| {
        with(
            &service("door", &json!({"app": "web"})),
            "/spec/externalIPs",
            addresses,
        )
    };
    let mut cases = Vec::new();
    for address in &own {
        for addresses in [json!([address]), json!(["203.0.113.201", address])] {
            let call = Call::create(&services, external(addresses));
            cases.extend(both("an address of the operator", &call, Guard("addresses")));
        }
    }
    let call = Call::create(&services, external(json!(["203.0.113.201"])));
    cases.extend(both("another address", &call, Nothing));
    // One that is there takes it later.
    let there = format!("{services}/ordinary");
    let made = Call::post(&services, service("ordinary", &json!({"app": "web"})));
    cases.push(Case("an ordinary Service", Edit, made, Nothing));
    let taking = |address: &str| Call::patch(&there, json!({"spec": {"externalIPs": [address]}}));
    cases.extend(both("taken later", &taking(&own[0]), Guard("addresses")));
    cases.extend(both("another, later", &taking("203.0.113.201"), Nothing));
    world.check(cases).await;
}
