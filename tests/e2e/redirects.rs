//! A git server that says that a repository has moved. Policy has named the one that was asked for and no other, and
//! the gateway sees hosts and no paths: so git follows nobody, to no host.

use cofferdam_api::Reason;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Internet, Space, default_limits};

const FORGE: &str = "git.internet.test";
const ALLOWED: &str = "allowed.internet.test";
const DENIED: &str = "denied.internet.test";

/// The usual limits, and the repositories of these hosts.
fn repositories_of(hosts: &[&str]) -> Value {
    let address = |host: &str| match host {
        ALLOWED => "203.0.113.30/32",
        DENIED => "203.0.113.40/32",
        _ => "203.0.113.10/32",
    };
    let rules: Vec<Value> = hosts
        .iter()
        .map(|host| {
            let name = host.split('.').next();
            json!({"name": name, "url": format!("https://{host}/**"), "addresses": [address(host)]})
        })
        .collect();
    let mut limits = default_limits();
    limits["repositories"]["clone"] = json!(rules);
    limits
}

/// Whether a server of this name was asked for something below this path since then.
fn was_asked(host: &str, path: &str, since: Timestamp) -> bool {
    let below = format!("{path}/");
    let mut requests = Internet::requests().into_iter();
    requests.any(|seen| seen.time >= since && seen.host == host && seen.path.starts_with(&below))
}

/// `path` is spelt as no other test asks for it. The exit of `prepare` is open to the hosts of `open`, since each run
/// clones another repository from there as well.
#[rstest]
#[case::to_another_repository("moved-here", FORGE, "/two-second", &[FORGE])]
#[case::to_another_host("moved-there", ALLOWED, "/git/two-second", &[FORGE, ALLOWED])]
#[case::to_a_denied_host("moved-out", DENIED, "/git/two-second", &[FORGE])]
#[tokio::test]
async fn a_repository_that_has_moved_is_not_followed(
    #[case] name: &str,
    #[case] host: &str,
    #[case] path: &str,
    #[case] open: &[&str],
) {
    let since = Timestamp::now();
    let space = Space::open_bare(name).await;
    space.policy("default", repositories_of(open)).await;
    space.policy("direct", repositories_of(&[host])).await;

    let asked = format!("/redirect/{host}{path}");
    let mut repositories = vec![json!({"name": "moved", "url": format!("https://{FORGE}{asked}")})];
    repositories.extend(open.iter().map(|open| {
        let below = if *open == FORGE { "" } else { "/git" };
        json!({"name": open.split('.').next(), "url": format!("https://{open}{below}/two-first.git")})
    }));
    let more = json!({"repositories": repositories});
    let run = space.script("led", BUSYBOX, "sh", "true\n", more).await;
    let status = run.ends(Reason::CloneRefused).await.status.unwrap();
    let message = status.message.unwrap_or_default();
    let advice = format!("it has moved to https://{host}{path}: write that url");
    assert!(message.contains(&advice) && message.contains("302"), "{message}");
    assert_eq!(status.agent_start_time, None);
    assert!(was_asked(FORGE, &asked, since), "nobody was told that it moved");
    assert!(!was_asked(host, path, since), "{host} was asked for {path}");

    // The control: what is there is a repository, and who names it gets it.
    let more = json!({
        "policyRef": {"name": "direct"},
        "repositories": [{"name": "found", "url": format!("https://{host}{path}")}],
    });
    let run = space.script("direct", BUSYBOX, "sh", "true\n", more).await;
    run.ends(Reason::Completed).await;
    assert!(was_asked(host, path, since), "the record of {host} has no {path}");
    space.close().await;
}
