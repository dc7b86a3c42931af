//! A hostile agent in the sandbox. Each negative stands beside a positive control: the same attempt that succeeds
//! where it may (through the proxy, to its own files), or, in [`crate::unenforced`], without the fence.

use std::time::Duration;

use cofferdam::api::{AgentRun, Reason, names};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::harness::{ATTACKER, BUSYBOX, Internet, OPERATOR_NAMESPACE, Run, Space, eventually};

const REACH: &str = include_str!("scripts/reach.py");
const CONFINED: &str = include_str!("scripts/confined.py");
const PERSIST: &str = include_str!("scripts/persist.py");

async fn cluster_ip(client: &Client, service: &str) -> String {
    let services: Api<Service> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let spec = services
        .get(service)
        .await
        .expect("the chart's Service")
        .spec
        .unwrap_or_default();
    spec.cluster_ip.expect("a ClusterIP")
}

async fn pod_address(client: &Client, component: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
    let pod = pods
        .list(&ours)
        .await
        .expect("pods")
        .items
        .into_iter()
        .next()
        .expect("the role runs");
    pod.status
        .and_then(|status| status.pod_ip)
        .expect("it has an address")
}

/// Everything that a sandbox must not reach, by way and name.
pub async fn targets(client: &Client, neighbour: Option<&str>) -> Value {
    let gateway = cluster_ip(client, names::GATEWAY_SERVICE).await;
    let archive = cluster_ip(client, names::ARCHIVE_SERVICE).await;
    let gateway_pod = pod_address(client, "gateway").await;
    let mut tcp = json!({
        "api server": "10.96.0.1:443",
        "api server on the node": "10.10.0.1:6443",
        "kubelet": "10.10.0.1:10250",
        "dns": "10.96.0.10:53",
        "metadata": "169.254.169.254:80",
        "gateway canary": format!("{gateway}:3129"),
        "gateway health": format!("{gateway_pod}:8081"),
        "archive": format!("{archive}:8080"),
        "internet by address": "203.0.113.66:443",
        "allowed host by address": "203.0.113.30:443",
    });
    if let Some(neighbour) = neighbour {
        tcp["another sandbox"] = json!(format!("{neighbour}:3130"));
    }
    json!({
        "tcp": tcp,
        "udp": {"dns": "10.96.0.10:53", "gateway canary": format!("{gateway}:3129"), "internet": "203.0.113.66:53"},
        "connect": {
            "allowed host": "allowed.internet.test:443",
            "denied host": "denied.internet.test:443",
            "denied port": "allowed.internet.test:8443",
            "git host": "git.internet.test:443",
            "address literal": "203.0.113.40:443",
            "decimal literal": "3405803816:443",
            "bracketed literal": "[2001:db8::1]:443",
            "api server": "kubernetes.default.svc.cluster.local:443",
            "archive": "cofferdam-archive.cofferdam-system.svc.cluster.local:8080",
            "gateway itself": format!("{gateway}:3128"),
            "metadata": "169.254.169.254:80",
        },
        "gateway": format!("{gateway}:3128"),
    })
}

/// Starts the script of attempts and gives the run.
pub async fn reach(space: &Space, name: &str, neighbour: Option<&str>) -> Run {
    let targets = targets(&space.client, neighbour).await.to_string();
    space
        .script(
            name,
            ATTACKER,
            "python3",
            &REACH.replace("@@TARGETS@@", &targets),
            json!({}),
        )
        .await
}

fn outcome<'a>(lines: &'a [String], name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    lines
        .iter()
        .find_map(|line| line.strip_prefix(&prefix))
        .unwrap_or_else(|| panic!("no attempt `{name}` in {lines:#?}"))
}

#[tokio::test]
async fn the_sandbox_reaches_nothing_but_what_policy_names() {
    let since = jiff::Timestamp::now();
    let space = Space::open("reach").await;
    let neighbour = space
        .script(
            "neighbour",
            BUSYBOX,
            "sh",
            "sleep 60\n",
            json!({"timeoutSeconds": 90}),
        )
        .await;
    neighbour.in_phase("Running").await;
    let address = neighbour
        .pod()
        .await
        .and_then(|pod| pod.status)
        .and_then(|status| status.pod_ip)
        .unwrap();

    let run = reach(&space, "attacker", Some(&address)).await;
    let ended = run.ends(Reason::Completed).await;
    let lines = run.added("result").await;

    // Everything that is wrong is told at once: one protection that is gone must not hide another.
    let mut wrong: Vec<String> = lines
        .iter()
        .filter(|line| line.starts_with("tcp ") || line.starts_with("udp "))
        .filter(|line| !line.ends_with(": no"))
        .cloned()
        .collect();
    assert!(lines.iter().any(|line| line.starts_with("tcp another sandbox")));
    let mut expect = |name: &str, what: &str, right: fn(&str, &str) -> bool| {
        let seen = outcome(&lines, name);
        if !right(seen, what) {
            wrong.push(format!("{name}: wanted {what}, got {seen}"));
        }
    };
    // The control: the same way to the allowed host opens, with its own name in the hello.
    expect("connect allowed host", " 200", |seen, what| seen.contains(what));
    expect("tls same name", "reached", |seen, what| seen == what);
    for (name, code) in [
        ("connect denied host", "HostNotAllowed"),
        ("connect denied port", "PortNotAllowed"),
        ("connect git host", "HostNotAllowed"),
        ("connect address literal", "HostInvalid"),
        ("connect decimal literal", "HostInvalid"),
        ("connect bracketed literal", "HostInvalid"),
        ("connect api server", "HostNotAllowed"),
        ("connect archive", "HostNotAllowed"),
        ("connect gateway itself", "HostInvalid"),
        ("connect metadata", "HostInvalid"),
        ("own token", "HostNotAllowed"),
    ] {
        expect(name, code, |seen, what| seen.ends_with(what));
    }
    for name in ["tls other name", "tls no name"] {
        expect(name, "cut", |seen, what| seen.starts_with(what));
    }
    for name in [
        "forged upload, origin form",
        "forged upload, absolute form",
        "forged stop, origin form",
        "forged stop, absolute form",
        "state, absolute form",
        "probe, absolute form",
    ] {
        expect(name, "HTTP/1.1 4", |seen, what| seen.starts_with(what));
    }
    // Had a forged upload been taken, this patch could not have arrived.
    let patches = ended
        .status
        .unwrap()
        .outputs
        .map_or(0, |outputs| outputs.patches.len());
    if patches != 1 {
        wrong.push(format!("{patches} patches arrived, not 1"));
    }
    wrong.extend(at_the_sink(since));
    assert!(wrong.is_empty(), "{wrong:#?}");
    space.close().await;
}

/// What reached the sink from any pod since a test began; it must be nothing. Only pods have addresses in
/// 10.244.0.0/16, and the operator's own pods never dial what no policy names.
fn at_the_sink(since: jiff::Timestamp) -> Vec<String> {
    Internet::sink()
        .into_iter()
        .filter(|seen| seen.peer.starts_with("10.244.") && seen.time >= since)
        .map(|seen| format!("at the sink: {} from {}", seen.destination, seen.peer))
        .collect()
}

#[tokio::test]
async fn the_agent_is_confined_to_its_volumes_and_holds_nothing() {
    let space = Space::open("confined").await;
    let run = space
        .script("confined", ATTACKER, "python3", CONFINED, json!({}))
        .await;
    run.ends(Reason::Completed).await;
    let lines = run.added("result").await;
    let own = |line: &&String| line.starts_with("write own ");
    let others = |line: &&String| line.starts_with("write /");
    assert_eq!(lines.iter().filter(own).count(), 3);
    let mut wrong: Vec<String> = lines
        .iter()
        .filter(|line| own(line) && !line.ends_with(": written") || others(line) && !line.ends_with(": no"))
        .cloned()
        .collect();
    for name in [
        "token",
        "token in environment",
        "setuid root",
        "chroot",
        "mknod",
        "raw socket",
        "packet socket",
        "mount",
        "bind 3128",
        "bind 3130",
    ] {
        if outcome(&lines, name) != "no" {
            wrong.push(format!("{name}: {}", outcome(&lines, name)));
        }
    }
    for (name, expected) in [
        ("capabilities", "none".to_owned()),
        ("uid", names::SANDBOX_UID.to_string()),
    ] {
        if outcome(&lines, name) != expected {
            wrong.push(format!("{name}: {}", outcome(&lines, name)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    space.close().await;
}

#[tokio::test]
async fn a_deleted_run_reaches_nothing_though_its_agent_will_not_end() {
    let since = jiff::Timestamp::now();
    let space = Space::open("persist").await;
    let run = space
        .script("persistent", ATTACKER, "python3", PERSIST, json!({}))
        .await;
    run.in_phase("Running").await;
    let persisted = || {
        Internet::requests()
            .into_iter()
            .filter(|seen| seen.path == "/persist" && seen.time >= since)
            .collect::<Vec<_>>()
    };
    // The control: while the run lives, its requests arrive.
    eventually("requests arrive", Duration::from_secs(30), || async {
        persisted().len() > 3
    })
    .await;

    space
        .api::<AgentRun>()
        .delete(&run.name, &DeleteParams::default())
        .await
        .expect("the run can be deleted");
    let deleted = jiff::Timestamp::now();
    eventually("the pod is gone", Duration::from_mins(2), || async {
        run.pod().await.is_none()
    })
    .await;

    // What was on its way when the delete was acknowledged may still arrive: the API server tells its watchers
    // within a second.
    let mut wrong: Vec<String> = persisted()
        .into_iter()
        .filter(|seen| seen.time.duration_since(deleted).as_secs_f64() > 1.0)
        .map(|seen| format!("through the proxy after the delete: {seen:?}"))
        .collect();
    wrong.extend(at_the_sink(since));
    assert!(wrong.is_empty(), "{wrong:#?}");
    space.close().await;
}
