//! `kubectl cofferdam explain` as a user of a real cluster: it says what the controller then does, and what the API
//! server says of the pod.

pub mod plugin;
mod world;

use std::time::Duration;

use cofferdam_api::Reason;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use self::world::World;
use crate::harness::eventually;

/// A quota and a range are known to the API server a moment after they were made.
const KNOWN: Duration = Duration::from_secs(30);

/// What a run asks, and with what it is refused, by which layer and rule; nothing: it is allowed.
struct Case(&'static str, Value, Option<(Reason, &'static str)>);

fn cases() -> Vec<Case> {
    let image = |name: &str| json!({"agent": {"image": name}});
    let clone = |url: &str| json!({"repositories": [{"name": "work", "url": url}]});
    let limit = |name: &str, amount: &str| json!({"resources": {"limits": {name: amount}}});
    let (by_image, by_policy) = (Reason::ImageDenied, Reason::PolicyDenied);
    vec![
        Case("plain", json!({}), None),
        Case("clones", clone("https://git.internet.test/team/app"), None),
        Case("closed", json!({"egress": {"mode": "DenyAll"}}), None),
        Case(
            "at-the-ceiling",
            json!({"activeDeadlineSeconds": 600, "ttlSecondsAfterFinished": 3600}),
            None,
        ),
        Case(
            "image",
            image("cofferdam.test/other/agent:1"),
            Some((by_image, "SandboxPolicy/default")),
        ),
        Case(
            "image-above",
            image("ghcr.io/team/agent:1"),
            Some((by_image, "-ceiling (limits.images")),
        ),
        Case(
            "repository",
            clone("https://git.internet.test/other/app"),
            Some((by_policy, "limits.repositories.clone")),
        ),
        Case(
            "cpu",
            limit("cpu", "1001m"),
            Some((by_policy, "limits.maxResources")),
        ),
        Case(
            "memory",
            limit("memory", "2Gi"),
            Some((by_policy, "limits.maxResources")),
        ),
        Case(
            "time-out",
            json!({"activeDeadlineSeconds": 601}),
            Some((by_policy, "limits.maxActiveDeadlineSeconds")),
        ),
        Case(
            "start",
            json!({"startDeadlineSeconds": 301}),
            Some((by_policy, "limits.maxStartDeadlineSeconds")),
        ),
        Case(
            "to-live",
            json!({"ttlSecondsAfterFinished": 3601}),
            Some((by_policy, "limits.maxTTLSecondsAfterFinished")),
        ),
        Case(
            "profile",
            json!({"schedulingProfileName": "gpu"}),
            Some((by_policy, "no profile of this name")),
        ),
        Case(
            "no-policy",
            json!({"policyRef": {"name": "nobody-made-it"}}),
            Some((Reason::PolicyMissing, "nobody-made-it")),
        ),
        Case(
            "no-class",
            json!({"policyRef": {"name": "elsewhere"}}),
            Some((Reason::RuntimeUnavailable, "missing-runtime")),
        ),
    ]
}

#[tokio::test]
async fn what_is_explained_is_what_the_controller_then_does() {
    let world = World::open("explain").await;
    let mut failures = Vec::new();
    let mut created = Vec::new();
    for Case(name, change, refused) in cases() {
        let manifest = world.manifest(name, &change);
        let (code, said) = world.kim.explains(&manifest).await;
        let wanted = i32::from(refused.is_some());
        if code != wanted || said["facts"] != "Cluster" {
            failures.push(format!("{name}: exit code {code}: {said:#}"));
        }
        created.push((world.create(&manifest).await, said, refused));
    }
    for (run, said, refused) in created {
        let wrong = match refused {
            Some((reason, words)) => {
                let status = run.ended().await.status.unwrap_or_default();
                let told = status.message.unwrap_or_default();
                let explained = said["message"].as_str().unwrap_or_default();
                let same =
                    said["reason"] == reason.as_str() && status.reason.as_deref() == Some(reason.as_str());
                (!same || !are_the_same(explained, &told) || !explained.contains(words))
                    .then(|| format!("explained: {explained}\n  told: {:?} {told}", status.reason))
            }
            None => allowed(&run, &said).await,
        };
        failures.extend(wrong.map(|wrong| format!("{}: {wrong}", run.name)));
    }
    // The same for people, through kubectl.
    let (code, text) = world
        .kim
        .kubectl_explains(&world.manifest("told", &json!({})))
        .await;
    if code != 0 || !text.contains("AgentRun e2e-explain/told: allowed") {
        failures.push(format!("kubectl: {code}: {text}"));
    }
    world.close().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Whether a status tells what was explained. It holds less than a refusal may say, and the runtime classes that there
/// are, at the end of one message, stand in any order.
fn are_the_same(explained: &str, told: &str) -> bool {
    let to_the_classes = |text: &str| text.split(" (it has ").next().unwrap_or_default().to_owned();
    match told.strip_suffix('…') {
        Some(cut) => !cut.is_empty() && explained.starts_with(cut),
        None => to_the_classes(explained) == to_the_classes(told),
    }
}

/// What is wrong with an explanation that allows a run: it names no layer of each kind, or the controller does not
/// start it.
async fn allowed(run: &crate::harness::Run, said: &Value) -> Option<String> {
    let findings = said["findings"].as_array().into_iter().flatten();
    let layers: Vec<String> = findings
        .filter(|finding| finding["by"]["kind"] == "Layer")
        .map(|finding| finding["by"]["layer"]["kind"].to_string())
        .collect();
    let names = |kind: &str| layers.iter().any(|layer| layer.contains(kind));
    if !names("\"SandboxPolicy\"") || !names("\"ClusterSandboxPolicy\"") {
        return Some(format!("{said:#}"));
    }
    eventually(
        &format!("{} has a Job", run.name),
        Duration::from_mins(1),
        || async { !run.jobs().await.is_empty() },
    )
    .await;
    None
}

#[tokio::test]
async fn who_may_not_read_the_ceilings_is_told_nothing_of_them() {
    let world = World::open("explain-blind").await;
    let manifest = world.manifest("asked", &json!({}));
    let (code, said) = world.lee.explains(&manifest).await;
    let unknown = said["unknown"].to_string();
    // The control: one right more.
    let (controls, control) = world.kim.explains(&manifest).await;
    world.close().await;
    assert_eq!((code, &said["verdict"]), (2, &json!("CannotTell")), "{said:#}");
    assert!(
        unknown.contains("the ClusterSandboxPolicies") && unknown.contains("the RuntimeClasses"),
        "{unknown}"
    );
    assert_eq!(said["findings"], json!([]), "nothing is made up for it");
    assert_eq!(
        (controls, &control["verdict"]),
        (0, &json!("Allowed")),
        "{control:#}"
    );
}

/// The API server's word on the pod.
fn of_the_pod(said: &Value) -> Option<&Value> {
    said["dryRuns"]
        .as_array()?
        .iter()
        .find(|tried| tried["kind"] == "Pod")
}

#[tokio::test]
async fn what_the_api_server_says_of_the_pod_is_reported_as_it_is() {
    let world = World::open("explain-pod").await;
    let manifest = world.manifest("asked", &json!({}));
    let mut failures = Vec::new();
    let expect = |(code, said): (i32, Value), words: Option<&str>| {
        let pod = of_the_pod(&said).cloned().unwrap_or_default();
        let outcome = if words.is_some() { "Refused" } else { "Accepted" };
        let message = pod["message"].as_str().unwrap_or_default();
        let right =
            code == i32::from(words.is_some()) && pod["outcome"] == outcome && said["reason"].is_null();
        (!right || !message.contains(words.unwrap_or_default()))
            .then(|| format!("wanted {words:?}: {code} {said:#}"))
    };
    // The control of each: without it the pod is taken, by Pod Security too, which is in force here.
    failures.extend(expect(world.kim.explains(&manifest).await, None));
    failures.extend(pod_security_is_in_force(&world).await);

    let quota: ResourceQuota = serde_json::from_value(
        json!({"metadata": {"name": "small"}, "spec": {"hard": {"limits.memory": "64Mi"}}}),
    )
    .unwrap();
    let quotas = world.space.api::<ResourceQuota>();
    quotas
        .create(&PostParams::default(), &quota)
        .await
        .expect("a quota");
    // A quota that is not counted yet refuses as well, in other words.
    let counted = || async {
        quotas
            .get("small")
            .await
            .unwrap()
            .status
            .is_some_and(|status| status.hard.is_some())
    };
    eventually("the quota is counted", KNOWN, counted).await;
    failures.extend(expect(
        world.kim.explains(&manifest).await,
        Some("exceeded quota: small"),
    ));
    quotas
        .delete("small", &DeleteParams::default())
        .await
        .expect("the test's own");
    becomes_allowed(&world, &manifest).await;

    let range: LimitRange =
        serde_json::from_value(json!({"metadata": {"name": "narrow"}, "spec": {"limits": [
        {"type": "Container", "max": {"memory": "64Mi"}}]}}))
        .unwrap();
    let ranges = world.space.api::<LimitRange>();
    ranges
        .create(&PostParams::default(), &range)
        .await
        .expect("a range");
    eventually("the range is known", KNOWN, || async {
        world.kim.explains(&manifest).await.0 != 0
    })
    .await;
    let words = "maximum memory usage per Container is 64Mi";
    failures.extend(expect(world.kim.explains(&manifest).await, Some(words)));
    ranges
        .delete("narrow", &DeleteParams::default())
        .await
        .expect("the test's own");
    becomes_allowed(&world, &manifest).await;

    world.close().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

async fn becomes_allowed(world: &World, manifest: &Value) {
    eventually("the run is allowed again", KNOWN, || async {
        world.kim.explains(manifest).await.0 == 0
    })
    .await;
}

/// A pod that is not confined is refused by Pod Security in this namespace.
async fn pod_security_is_in_force(world: &World) -> Option<String> {
    let open = json!({"metadata": {"name": "open"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let pod: Pod = serde_json::from_value(open).unwrap();
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match world.space.api::<Pod>().create(&params, &pod).await {
        Err(kube::Error::Api(status)) if status.message.contains("violates PodSecurity") => None,
        other => Some(format!("Pod Security is not asked: {other:?}")),
    }
}
