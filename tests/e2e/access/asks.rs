//! Asks above the ceiling. Nothing runs here: what the API server takes, the controller refuses before there is a Job.

use std::time::Duration;

use cofferdam_api::Reason;
use serde_json::{Value, json};

use super::spec::{DIGEST, limits, run};
use super::world::World;
use crate::harness::until;

/// Who refuses.
#[derive(Clone, Copy)]
enum By {
    /// The API server, at the creation.
    Schema,
    /// The controller, with this reason.
    Controller(Reason),
}

const IMAGE: By = By::Controller(Reason::ImageDenied);
const POLICY: By = By::Controller(Reason::PolicyDenied);

/// What is tried, who refuses it, in which words, and the same within the ceiling.
struct Ask(&'static str, Value, By, &'static str, Value);

fn images() -> Vec<Ask> {
    let image = |name: &str| json!({"agent": {"image": name}});
    let pinned = format!("cofferdam.test/pinned@{DIGEST}");
    let other = pinned.replace("aaaa", "aaab");
    let both = format!("cofferdam.test/busybox:dev@{DIGEST}");
    let none = "no entry there matches";
    vec![
        Ask(
            "a neighbour's name",
            image("cofferdam.test/team-evil/agent:1"),
            IMAGE,
            none,
            image("cofferdam.test/team/agent:1"),
        ),
        Ask(
            "a deeper path",
            image("cofferdam.test/team/sub/agent:1"),
            IMAGE,
            none,
            image("cofferdam.test/team/sub-agent:1"),
        ),
        Ask(
            "another tag",
            image("cofferdam.test/busybox:latest"),
            IMAGE,
            none,
            image("cofferdam.test/busybox:dev"),
        ),
        Ask(
            "a digest that overrules the tag",
            image(&both),
            IMAGE,
            none,
            image("cofferdam.test/busybox:dev"),
        ),
        Ask("another digest", image(&other), IMAGE, none, image(&pinned)),
        Ask(
            "a tag for a digest",
            image("cofferdam.test/pinned:latest"),
            IMAGE,
            none,
            image(&pinned),
        ),
        Ask(
            "another port of the registry",
            image("cofferdam.test:8443/team/agent:1"),
            IMAGE,
            none,
            image("cofferdam.test/team/agent:2"),
        ),
        Ask(
            "the registry as a path",
            image("evil.test/cofferdam.test/team/agent:1"),
            IMAGE,
            none,
            image("cofferdam.test/team/agent:3"),
        ),
        Ask(
            "the registry in capitals",
            image("COFFERDAM.test/team/agent:1"),
            By::Schema,
            "in lower case",
            image("cofferdam.test/team/agent:4"),
        ),
        Ask(
            "the default registry's other name",
            image("index.docker.io/evil/python"),
            IMAGE,
            none,
            image("index.docker.io/python"),
        ),
        Ask(
            "a user of the default registry",
            image("evil/python"),
            IMAGE,
            none,
            image("python"),
        ),
        Ask(
            "what only the namespace allows",
            image("ghcr.io/team/agent:1"),
            IMAGE,
            "narrow",
            image("python:3"),
        ),
    ]
}

fn repositories() -> Vec<Ask> {
    let clone = |url: &str| json!({"repositories": [{"name": "work", "url": url}]});
    let none = "no entry there matches";
    let good = || clone("https://git.internet.test/team/app");
    vec![
        Ask(
            "a neighbour's repository",
            clone("https://git.internet.test/team-evil/app"),
            POLICY,
            none,
            good(),
        ),
        Ask(
            "the path in capitals",
            clone("https://git.internet.test/Team/app"),
            POLICY,
            none,
            clone("https://GIT.internet.test/team/app.git"),
        ),
        Ask(
            "another port of the forge",
            clone("https://git.internet.test:8443/team/app"),
            POLICY,
            none,
            clone("https://git.internet.test:443/team/app"),
        ),
        Ask(
            "a longer host",
            clone("https://git.internet.test.evil.test/team/app"),
            POLICY,
            none,
            good(),
        ),
        Ask(
            "a deeper repository",
            clone("https://git.internet.test/team/app/info"),
            POLICY,
            none,
            clone("https://git.internet.test/team/app/"),
        ),
        Ask(
            "a way up",
            clone("https://git.internet.test/team/../evil"),
            POLICY,
            "'..'",
            good(),
        ),
        Ask(
            "a user in the URL",
            clone("https://git.internet.test@evil.test/team/app"),
            By::Schema,
            "user information",
            good(),
        ),
        Ask(
            "an encoded slash",
            clone("https://git.internet.test/team%2f..%2fevil/app"),
            By::Schema,
            "percent-encoded",
            good(),
        ),
        Ask(
            "the form of ssh",
            clone("git@git.internet.test:evil/app"),
            By::Schema,
            "https://",
            good(),
        ),
        Ask(
            "plain http",
            clone("http://git.internet.test/team/app"),
            By::Schema,
            "https://",
            good(),
        ),
    ]
}

fn amounts() -> Vec<Ask> {
    let limit = |name: &str, amount: &str| json!({"resources": {"limits": {name: amount}}});
    let request = |name: &str, amount: &str| json!({"resources": {"requests": {name: amount}}});
    let above = "it is above the ceiling";
    vec![
        Ask("a core more", limit("cpu", "2"), POLICY, above, limit("cpu", "1")),
        Ask(
            "a thousandth more",
            limit("cpu", "1001m"),
            POLICY,
            above,
            limit("cpu", "1000m"),
        ),
        Ask(
            "a byte more",
            limit("memory", "1073741825"),
            POLICY,
            above,
            limit("memory", "1073741824"),
        ),
        Ask(
            "more by another unit",
            limit("memory", "1.1e9"),
            POLICY,
            above,
            limit("memory", "1e9"),
        ),
        Ask(
            "a request alone",
            request("memory", "2Gi"),
            POLICY,
            above,
            request("memory", "512Mi"),
        ),
        Ask(
            "more of the disk",
            limit("ephemeral-storage", "0.01Ti"),
            POLICY,
            above,
            limit("ephemeral-storage", "0.001Ti"),
        ),
        Ask(
            "a device",
            limit("nvidia.com/gpu", "1"),
            By::Schema,
            "only cpu, memory and ephemeral-storage",
            limit("cpu", "500m"),
        ),
        Ask(
            "no limit at all",
            limit("memory", "0"),
            By::Schema,
            "more than zero",
            limit("memory", "1Mi"),
        ),
        Ask(
            "less than nothing",
            limit("cpu", "-1"),
            By::Schema,
            "more than zero",
            limit("cpu", "1m"),
        ),
    ]
}

fn others() -> Vec<Ask> {
    let env = |name: &str| json!({"agent": {"env": [{"name": name, "value": "http://evil.test"}]}});
    let reach = |host: &str, port: i64| json!({"egress": {"mode": "AllowList", "rules": [{"name": "out", "hosts": [host], "ports": [port]}]}});
    let good = || reach("allowed.internet.test", 443);
    let above = "it is above the ceiling";
    vec![
        Ask(
            "a longer run",
            json!({"activeDeadlineSeconds": 601}),
            POLICY,
            above,
            json!({"activeDeadlineSeconds": 600}),
        ),
        Ask(
            "a longer start",
            json!({"startDeadlineSeconds": 301}),
            POLICY,
            above,
            json!({"startDeadlineSeconds": 300}),
        ),
        Ask(
            "a longer memory",
            json!({"ttlSecondsAfterFinished": 3601}),
            POLICY,
            above,
            json!({"ttlSecondsAfterFinished": 3600}),
        ),
        Ask(
            "days in one number",
            json!({"activeDeadlineSeconds": 86401}),
            By::Schema,
            "activeDeadlineSeconds",
            json!({"activeDeadlineSeconds": 1}),
        ),
        Ask(
            "nodes of its own choice",
            json!({"schedulingProfileName": "gpu"}),
            POLICY,
            "no profile of this name",
            json!({"schedulingProfileName": "elsewhere"}),
        ),
        Ask(
            "another proxy",
            env("HTTPS_PROXY"),
            By::Schema,
            "the sandbox sets itself",
            env("HTTPS_PROXIES"),
        ),
        Ask(
            "another authority",
            env("SSL_CERT_FILE"),
            By::Schema,
            "the sandbox sets itself",
            env("SSL_CERT"),
        ),
        Ask(
            "a variable of ours",
            env("COFFERDAM_RUN"),
            By::Schema,
            "the sandbox sets itself",
            env("OFFERDAM_RUN"),
        ),
        Ask(
            "an address for a host",
            reach("10.96.0.1", 443),
            By::Schema,
            "must not be IP addresses",
            good(),
        ),
        Ask(
            "a whole top-level domain",
            reach("*.test", 443),
            By::Schema,
            "top-level domain",
            good(),
        ),
        Ask(
            "no port",
            reach("allowed.internet.test", 0),
            By::Schema,
            "ports",
            good(),
        ),
        Ask(
            "a Secret for the environment",
            json!({"agent": {"envFrom": [{"secretRef": {"name": "users"}}]}}),
            By::Schema,
            "envFrom",
            env("PLAIN"),
        ),
        Ask(
            "its own runtime",
            json!({"runtimeClassName": "runc"}),
            By::Schema,
            "runtimeClassName",
            json!({"onBehalfOf": "someone"}),
        ),
    ]
}

/// Tries one ask and its control; what came out otherwise than it must.
async fn wrong(world: &World, index: usize, ask: &Ask) -> Option<String> {
    let Ask(what, above, by, words, within) = ask;
    let refused = match world.run(&format!("above-{index}"), &run(above)).await {
        Err(message) => match by {
            By::Schema => message,
            By::Controller(_) => return Some(format!("{what}: the API server refused it: {message}")),
        },
        Ok(created) => {
            let By::Controller(reason) = by else {
                return Some(format!("{what}: the API server took it"));
            };
            let status = until("the ask is answered", Duration::from_mins(3), || async {
                let status = created.get().await.status.unwrap_or_default();
                if status.completion_time.is_some() || world.job(&created).await.is_some() {
                    Ok(status)
                } else {
                    Err(status)
                }
            })
            .await;
            if status.reason.as_deref() != Some(reason.as_str()) || world.job(&created).await.is_some() {
                return Some(format!("{what}: {status:?}"));
            }
            status.message.unwrap_or_default()
        }
    };
    if !refused.contains(words) {
        return Some(format!("{what}: wanted {words}, got {refused}"));
    }
    match world.run(&format!("within-{index}"), &run(within)).await {
        Err(message) => Some(format!("{what}: the control was refused: {message}")),
        Ok(created) => {
            until("the control has a Job", Duration::from_mins(1), || async {
                match world.job(&created).await {
                    Some(_) => Ok(()),
                    None => Err(created.get().await.status),
                }
            })
            .await;
            None
        }
    }
}

#[tokio::test]
async fn no_ask_exceeds_the_ceiling() {
    let world = World::open("access-asks", limits()).await;
    let asks: Vec<Ask> = [images(), repositories(), amounts(), others()]
        .into_iter()
        .flatten()
        .collect();
    let mut failures = Vec::new();
    for (index, ask) in asks.iter().enumerate() {
        failures.extend(wrong(&world, index, ask).await);
    }
    world.close().await;
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        asks.len(),
        failures.join("\n")
    );
}
