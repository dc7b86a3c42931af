//! A hostile agent in the sandbox. Each negative stands beside a positive control: the same attempt that succeeds
//! where it may (through the proxy, to its own files), from an ordinary pod, or, in [`crate::unenforced`], without
//! the fence.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason, names};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, LogParams};
use kube::{Api, Client};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    ATTACKER, BUSYBOX, Internet, OPERATOR_NAMESPACE, Ordinary, Space, default_limits, eventually, sandboxed,
    unconfined,
};

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
            "rebind-service": "rebind-service.internet.test:443",
            "rebind-node": "rebind-node.internet.test:443",
            "rebind-loopback": "rebind-loopback.internet.test:443",
            "rebind-metadata": "rebind-metadata.internet.test:80",
            "rebind-mixed": "rebind-mixed.internet.test:443",
        },
        "gateway": format!("{gateway}:3128"),
    })
}

/// The script of attempts.
pub async fn script(client: &Client, neighbour: Option<&str>) -> String {
    REACH.replace("@@TARGETS@@", &targets(client, neighbour).await.to_string())
}

fn outcome<'a>(lines: &'a [String], name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    lines
        .iter()
        .find_map(|line| line.strip_prefix(&prefix))
        .unwrap_or_else(|| panic!("no attempt `{name}` in {lines:#?}"))
}

/// Names that resolve to the cluster's own addresses, and what policy says of them: as much as it can say.
const REBOUND: [&str; 5] = ["service", "node", "loopback", "metadata", "mixed"];

fn limits_with_rebound_names() -> Value {
    let mut limits = default_limits();
    let hosts: Vec<String> = REBOUND
        .iter()
        .map(|name| format!("rebind-{name}.internet.test"))
        .chain(["allowed.internet.test".to_owned()])
        .collect();
    limits["egress"]["rules"] = json!([{
        "name": "rebound", "hosts": hosts, "ports": [80, 443], "tls": "Tunnel",
        "addresses": ["203.0.113.30/32", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16"],
    }]);
    limits
}

/// What an ordinary pod does not reach either, where `NetworkPolicies` hold: the chart's own policies keep everybody
/// from the operator's pods. Without enforcement it reaches these too ([`crate::unenforced`]).
const KEPT_BY_THE_CHART: [&str; 2] = ["tcp archive", "tcp gateway health"];

/// What is wrong with the control: an ordinary pod reaches each address that a sandbox must not, so that it is the
/// fence that keeps a sandbox from it, and not an address where nobody is.
pub fn not_reached(lines: &[String], but: &[&str]) -> Vec<String> {
    let reached = lines
        .iter()
        .filter(|line| line.starts_with("tcp ") || line.starts_with("udp "))
        // The sink answers no datagram: whether this one arrived is looked up there.
        .filter(|line| !line.starts_with("udp internet"))
        .filter(|line| !but.iter().any(|name| line.starts_with(&format!("{name}: "))))
        .filter(|line| !line.ends_with(": reached"))
        .map(|line| format!("the control, an ordinary pod: {line}"));
    reached.collect()
}

/// What is missing at the sink of an ordinary pod's packets.
pub fn not_at_the_sink(address: &str, since: Timestamp) -> Vec<String> {
    let arrived = at_the_sink(&[address.to_owned()], since);
    ["203.0.113.66:443", "203.0.113.66:53"]
        .iter()
        .filter(|wanted| !arrived.iter().any(|line| line.contains(**wanted)))
        .map(|wanted| {
            format!("the control, an ordinary pod: nothing at the sink for {wanted} in {arrived:?}")
        })
        .collect()
}

/// What the gateway answers to each of these, by its short code.
const DENIED: [(&str, &str); 16] = [
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
    ("connect rebind-service", "AddressDenied"),
    ("connect rebind-node", "AddressDenied"),
    ("connect rebind-loopback", "AddressDenied"),
    ("connect rebind-metadata", "AddressDenied"),
    ("connect rebind-mixed", "AddressDenied"),
];

#[tokio::test]
async fn the_sandbox_reaches_nothing_but_what_policy_names() {
    let since = Timestamp::now();
    let space = Space::open_bare("reach").await;
    space.policy("default", limits_with_rebound_names()).await;
    let neighbour = space
        .script(
            "neighbour",
            BUSYBOX,
            "sh",
            "sleep 90\n",
            json!({"activeDeadlineSeconds": 120}),
        )
        .await;
    let ordinary = Ordinary::start(
        &space,
        "ordinary",
        &script(&space.client, None).await,
        &sandboxed(),
    )
    .await;
    neighbour.in_phase("Running").await;
    let address = neighbour.address().await;
    // The control of "another sandbox": from its node, which no fence can close, it answers.
    assert!(
        reached_from_the_node(&address, 3130),
        "nobody answers at {address}:3130"
    );

    let attempts = script(&space.client, Some(&address)).await;
    let run = space
        .script("attacker", ATTACKER, "python3", &attempts, json!({}))
        .await;
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
    for (name, code) in DENIED {
        expect(name, code, |seen, what| seen.ends_with(what));
    }
    for name in ["tls other name", "tls no name"] {
        expect(name, "cut", |seen, what| seen.starts_with(what));
    }
    for (name, answer) in [
        ("forged upload, origin form", "HTTP/1.1 400 NotForwarded"),
        ("forged upload, absolute form", "HTTP/1.1 403 HostInvalid"),
        ("forged stop, origin form", "HTTP/1.1 400 NotForwarded"),
        ("forged stop, absolute form", "HTTP/1.1 403 HostInvalid"),
        ("state, absolute form", "HTTP/1.1 403 HostInvalid"),
        ("probe, absolute form", "HTTP/1.1 403 OwnAddress"),
        ("direct connect, no token", "HTTP/1.1 407 TokenMissing"),
        ("direct connect, forged token", "HTTP/1.1 407 TokenInvalid"),
        ("direct garbage", "HTTP/1.1 400 BadRequest"),
    ] {
        expect(name, answer, |seen, what| seen == what);
    }
    for name in ["whoami", "state", "upload", "stop"] {
        for who in ["no token", "forged token"] {
            expect(
                &format!("direct {name}, {who}"),
                "HTTP/1.1 401 Unauthorized",
                |seen, what| seen == what,
            );
        }
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
    wrong.extend(at_the_sink(&[address, run.address().await], since));
    let (ordinary, lines) = ordinary.ended().await;
    wrong.extend(not_reached(&lines, &KEPT_BY_THE_CHART));
    wrong.extend(not_at_the_sink(&ordinary, since));
    assert!(wrong.is_empty(), "{wrong:#?}");
    space.close().await;
}

/// What reached the sink from these pods since a test began. Pods are not masqueraded.
pub fn at_the_sink(addresses: &[String], since: Timestamp) -> Vec<String> {
    let from = |peer: &str| {
        peer.rsplit_once(':')
            .is_some_and(|(address, _)| addresses.iter().any(|known| known == address))
    };
    Internet::sink()
        .into_iter()
        .filter(|seen| seen.time >= since && from(&seen.peer))
        .map(|seen| format!("at the sink: {} from {}", seen.destination, seen.peer))
        .collect()
}

/// Whether a TCP connection from the node's own network opens.
fn reached_from_the_node(address: &str, port: u16) -> bool {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/cluster");
    let dial = format!("exec 3<>/dev/tcp/{address}/{port}");
    std::process::Command::new(program)
        .args(["exec", "--", "timeout", "5", "bash", "-c", &dial])
        .status()
        .expect("`make cluster` builds target/cluster")
        .success()
}

/// Attempts of `confined.py` with what they come to in a sandbox, and in a pod that nothing confines.
const ATTEMPTS: &[(&str, &str, &str)] = &[
    ("token in environment", "no", "yes"),
    ("capabilities", "none", "some"),
    ("uid", "65532", "0"),
    ("kernel", "gVisor", "other"),
    ("setuid root", "no", "done"),
    ("chroot", "no", "done"),
    ("mknod", "no", "done"),
    ("raw socket", "no", "done"),
    ("packet socket", "no", "done"),
    ("mount", "no", "done"),
    ("bind 3128", "no", "done"),
    ("bind 3130", "no", "done"),
];

fn unlike(
    lines: &[String],
    who: &str,
    expected: impl Iterator<Item = (&'static str, &'static str)>,
) -> Vec<String> {
    expected
        .filter(|(name, expected)| outcome(lines, name) != *expected)
        .map(|(name, expected)| format!("{who}: {name}: wanted {expected}, got {}", outcome(lines, name)))
        .collect()
}

#[tokio::test]
async fn the_agent_is_confined_to_its_volumes_and_holds_nothing() {
    let space = Space::open("confined").await;
    // The control: the same script where nothing confines it.
    let free = Space::open_with("unconfined", &json!({})).await;
    let ordinary = Ordinary::start(&free, "ordinary", CONFINED, &unconfined()).await;
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
    let inside = ATTEMPTS.iter().map(|(name, inside, _)| (*name, *inside));
    wrong.extend(unlike(&lines, "the agent", inside));
    let tokens = [("token", "no"), ("planted token", "found")];
    wrong.extend(unlike(&lines, "the agent", tokens.into_iter()));

    let (_, lines) = ordinary.ended().await;
    let outside = ATTEMPTS.iter().map(|(name, _, outside)| (*name, *outside));
    wrong.extend(unlike(&lines, "the control", outside));
    let unwritten = lines
        .iter()
        .filter(|line| line.starts_with("write /") && !line.ends_with(": written"));
    wrong.extend(unwritten.map(|line| format!("the control: {line}")));
    if !outcome(&lines, "token").contains("/secrets/kubernetes.io") {
        wrong.push(format!("the control: token: {}", outcome(&lines, "token")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    space.close().await;
    free.close().await;
}

/// How a run is taken from its owner's hands while its agent lives.
#[derive(Clone, Copy)]
enum Ending {
    Run,
    Namespace,
}

/// Seconds from `deleted` to the gateway's last refusal of a caller at this address: so long the agent lived on.
async fn last_refusal(client: &Client, address: &str, deleted: Timestamp) -> f64 {
    let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let ours = ListParams::default().labels("app.kubernetes.io/component=gateway");
    let recent = LogParams {
        since_seconds: Some(180),
        ..LogParams::default()
    };
    let mut last = 0.0;
    for pod in pods.list(&ours).await.expect("pods").items {
        let name = pod.metadata.name.unwrap_or_default();
        let log = pods.logs(&name, &recent).await.unwrap_or_default();
        let times = log.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let about = line["message"] == "caller refused" && line["peer"] == *address;
            let time: Timestamp = line["timestamp"].as_str().filter(|_| about)?.parse().ok()?;
            Some(time.duration_since(deleted).as_secs_f64())
        });
        last = times.fold(last, f64::max);
    }
    last
}

/// Seconds for which the agent must have lived on, for its attempts to mean anything.
const LIVED_ON: f64 = 10.0;

#[rstest]
#[case::the_run("persist", Ending::Run)]
#[case::its_namespace("persist-namespace", Ending::Namespace)]
#[tokio::test]
async fn a_deleted_run_reaches_nothing_though_its_agent_will_not_end(
    #[case] name: &str,
    #[case] ending: Ending,
) {
    let since = Timestamp::now();
    let space = Space::open(name).await;
    let gateway = cluster_ip(&space.client, names::GATEWAY_SERVICE).await;
    let path = format!("/{name}");
    let targets = json!({
        "path": path,
        "direct": {"internet": "203.0.113.66:4444", "api server": "10.96.0.1:443"},
        "gateway": format!("{gateway}:3128"),
    });
    let script = PERSIST.replace("@@TARGETS@@", &targets.to_string());
    let run = space
        .script("persistent", ATTACKER, "python3", &script, json!({}))
        .await;
    run.in_phase("Running").await;
    let address = run.address().await;
    let printed = tokio::spawn(run.follow(names::CONTAINER_AGENT));
    let persisted = || {
        Internet::requests()
            .into_iter()
            .filter(|seen| seen.path == path && seen.time >= since)
            .collect::<Vec<_>>()
    };
    // The control: while the run lives, its requests arrive.
    eventually("requests arrive", Duration::from_secs(30), || async {
        persisted().len() > 3
    })
    .await;

    match ending {
        Ending::Run => {
            let runs = space.api::<AgentRun>();
            let deleted = runs.delete(&run.name, &DeleteParams::default()).await;
            deleted.map(drop).expect("the run can be deleted");
        }
        // Kubernetes comes to what is in a namespace in its own time, to pods first; what counts is when it does.
        Ending::Namespace => {
            space.begin_to_close().await;
            eventually("the pod is being deleted", Duration::from_mins(1), || async {
                run.pod()
                    .await
                    .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
            })
            .await;
        }
    }
    let deleted = Timestamp::now();
    let fences: Api<NetworkPolicy> = space.api();
    eventually("the pod is gone", Duration::from_mins(2), || async {
        let fence = fences.get_opt(names::FENCE).await.expect("fences can be read");
        let pod = run.pod().await;
        // In this order: a fence that is away while a pod still runs was away too early.
        let runs = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            !matches!(phase, Some("Succeeded" | "Failed"))
        };
        assert!(
            fence.is_some() || !pod.as_ref().is_some_and(runs),
            "the fence is gone before the pod has ended: {pod:#?}"
        );
        pod.is_none()
    })
    .await;

    let mut wrong = Vec::new();
    let lived_on = last_refusal(&space.client, &address, deleted).await;
    if lived_on < LIVED_ON {
        wrong.push(format!(
            "the agent tried for {lived_on} s after the delete: nothing was shown"
        ));
    }
    let printed = printed.await.expect("its log was followed");
    if printed.trim() != "begun" {
        wrong.push(format!("directly: {printed}"));
    }
    wrong.extend(at_the_sink(std::slice::from_ref(&address), since));
    // What was on its way when the delete was acknowledged may still arrive: the API server tells its watchers
    // within a second.
    let late = persisted()
        .into_iter()
        .filter(|seen| seen.time.duration_since(deleted).as_secs_f64() > 1.0);
    wrong.extend(late.map(|seen| format!("through the proxy after the delete: {seen:?}")));
    assert!(wrong.is_empty(), "{wrong:#?}");
    space.close().await;
}
