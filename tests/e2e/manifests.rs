//! Two thousand manifests, good and bad ones, before a real API server and the controller: each is taken or refused in
//! words that help, what is taken comes to rest, and the controller writes its status and nothing else. Ignored by
//! default, for other tests would share the node with it; `make e2e` runs it alone, by name.
//!
//! What a reconcile does without a write cannot be seen from outside: counted are the controller's requests in the audit
//! log of the API server, those that failed included.

mod audit;
mod operator;
mod sent;
mod spellings;

use std::time::Duration;

use cofferdam_api::names::FIELD_MANAGER;
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxPolicy};
use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use serde_json::{Value, json};

use self::operator::Operator;
use self::sent::{Places, Sent};
use crate::api::made::manifests;
use crate::harness::{Space, default_limits, until};

const COUNT: usize = 3400;
/// Requests at a time.
const CONCURRENCY: usize = 8;
/// Runs that must be there for the controller to look at.
const LEAST_RUNS: usize = 400;
/// Writes of the status of one run, those that fail included: waiting, the end, and one more.
const MOST_WRITES: usize = 3;
/// Longer than a run waits for a policy that may come later, with room for a busy node.
const SETTLED: Duration = Duration::from_secs(100);
/// By then a write is in the audit log.
const LOGGED: Duration = Duration::from_secs(2);
/// For so long nothing may be written when all has been said.
const QUIET: Duration = Duration::from_secs(10);

#[tokio::test]
#[ignore = "takes the whole node for a minute or two"]
async fn every_manifest_is_answered_and_the_controller_writes_status_alone() {
    let refused = Space::open_bare("manifests-refused").await;
    // No image of these runs is one of the test's.
    for policy in ["default", "strict"] {
        refused.policy(policy, default_limits()).await;
    }
    let suspended = Space::open_bare("manifests-suspended").await;
    let policies = Space::open_bare("manifests-policies").await;
    let places = Places {
        refused: &refused.name,
        suspended: &suspended.name,
        policies: &policies.name,
    };
    let ceilings: Api<ClusterSandboxPolicy> = Api::all(refused.client.clone());
    remove_ceilings(&ceilings).await;
    let operator = Operator::look(&refused.client).await;
    let begin = jiff::Timestamp::now();

    let (above, others): (Vec<_>, Vec<_>) = manifests()
        .take(COUNT)
        .enumerate()
        .partition(|(_, made)| made.kind() == "ClusterSandboxPolicy");
    let mut all = send(&refused, &places, above).await;
    observed(&dynamic::<ClusterSandboxPolicy>(&refused, None), "the ceilings").await;
    remove_ceilings(&ceilings).await;
    all.extend(send(&refused, &places, others).await);
    observed(
        &dynamic::<SandboxPolicy>(&refused, Some(&policies.name)),
        "the policies",
    )
    .await;

    let mut failures: Vec<String> = all.iter().filter_map(Sent::is_wrong).collect();
    let runs: Vec<&Sent> = all.iter().filter(|sent| sent.is_stored("AgentRun")).collect();
    for space in [&refused, &suspended] {
        let of_space = runs.iter().copied().filter(|sent| sent.is_in(&space.name));
        failures.extend(settled(space, &of_space.collect::<Vec<_>>()).await);
        failures.extend(left_behind(space).await);
    }
    let names = [&refused.name, &suspended.name, &policies.name].map(String::as_str);
    // What was written last is in the log a moment later.
    tokio::time::sleep(LOGGED).await;
    let before = audit::statuses(&audit::writes(begin, &names)).len();
    tokio::time::sleep(QUIET).await;
    let writes = audit::writes(begin, &names);
    let later = audit::statuses(&writes).into_iter().skip(before);
    failures.extend(later.map(|write| format!("still written: {write:?}")));
    let beyond = writes.iter().filter(|write| !write.is_lawful());
    failures.extend(beyond.map(|write| format!("more than status: {write:?}")));
    let per_run = audit::of_each_run(&writes);
    let too_many = per_run.iter().filter(|(_, count)| **count > MOST_WRITES);
    failures.extend(too_many.map(|(run, count)| format!("{run}: {count} writes")));
    failures.extend(operator.since(&refused.client).await);

    remove_ceilings(&ceilings).await;
    for space in [refused, suspended, policies] {
        space.close().await;
    }
    let shown = failures.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        failures.is_empty(),
        "{} failures, such as\n{shown}",
        failures.len()
    );
    // The controls: both answers were given, runs of both sorts were there, and the audit log tells of them.
    let taken = all.iter().filter(|sent| sent.answer.is_ok()).count();
    println!(
        "{taken} of {COUNT} taken, {} runs stored, {} writes",
        runs.len(),
        writes.len()
    );
    assert!(taken > COUNT / 4 && taken < COUNT * 3 / 4, "{taken}");
    assert!(runs.len() >= LEAST_RUNS, "{}", runs.len());
    assert!(per_run.len() >= runs.len(), "{} of {}", per_run.len(), runs.len());
}

async fn send(space: &Space, places: &Places<'_>, all: Vec<(usize, crate::api::made::Made)>) -> Vec<Sent> {
    let sent = all.into_iter().map(|(index, made)| {
        let post = sent::post_of(index, made, places);
        Sent::send(&space.client, post)
    });
    futures::stream::iter(sent)
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

/// Objects as they are stored, whatever they hold.
fn dynamic<K>(space: &Space, namespace: Option<&str>) -> Api<DynamicObject>
where
    K: kube::Resource,
    K::DynamicType: Default,
{
    let resource = ApiResource::erase::<K>(&K::DynamicType::default());
    match namespace {
        Some(namespace) => Api::namespaced_with(space.client.clone(), namespace, &resource),
        None => Api::all_with(space.client.clone(), &resource),
    }
}

async fn listed(api: &Api<DynamicObject>) -> Vec<Value> {
    let all = api
        .list(&ListParams::default())
        .await
        .expect("they can be listed");
    all.items
        .into_iter()
        .map(|object| serde_json::to_value(object).unwrap())
        .collect()
}

/// Waits until the controller has judged every policy.
async fn observed(api: &Api<DynamicObject>, what: &str) {
    until(&format!("{what} are judged"), SETTLED, || async {
        let all = listed(api).await;
        let open: Vec<String> = all
            .iter()
            .filter(|policy| policy["status"]["observedGeneration"] != policy["metadata"]["generation"])
            .map(|policy| policy["metadata"]["name"].to_string())
            .collect();
        if open.is_empty() { Ok(()) } else { Err(open) }
    })
    .await;
}

/// Waits until the runs of a namespace have come to rest, and says what is not as it must be then.
async fn settled(space: &Space, sent: &[&Sent]) -> Vec<String> {
    let api = dynamic::<AgentRun>(space, Some(&space.name));
    let what = format!("the runs of {} come to rest", space.name);
    let all = until(&what, SETTLED, || async {
        let all = listed(&api).await;
        let restless = |run: &&Value| !sent::is_at_rest(run);
        let open: Vec<Value> = all.iter().filter(restless).take(3).cloned().collect();
        if open.is_empty() { Ok(all) } else { Err(open) }
    })
    .await;
    sent.iter()
        .filter_map(|sent| {
            let created = sent.answer.as_ref().ok()?;
            let name = &created["metadata"]["name"];
            match all.iter().find(|run| run["metadata"]["name"] == *name) {
                Some(run) => changed(created, run).map(|how| format!("{name}: {how}")),
                // Who asks for no time to live at all is gone at once.
                None if created["spec"]["ttlSecondsAfterFinished"] == 0 => None,
                None => Some(format!("{name} is gone: {created}")),
            }
        })
        .collect()
}

/// What else than the status of a run was changed since its creation.
fn changed(created: &Value, run: &Value) -> Option<String> {
    let own = |run: &Value| {
        let mut metadata = run["metadata"].clone();
        for field in ["resourceVersion", "managedFields"] {
            metadata[field] = Value::Null;
        }
        json!([metadata, run["spec"]])
    };
    if own(created) != own(run) {
        return Some(format!("{} became {}", own(created), own(run)));
    }
    let managers = run["metadata"]["managedFields"].as_array()?;
    let beyond = managers
        .iter()
        .find(|entry| entry["manager"] == FIELD_MANAGER && entry["subresource"] != "status");
    beyond.map(|entry| format!("the controller manages {entry}"))
}

/// Objects that no run may have made.
async fn left_behind(space: &Space) -> Vec<String> {
    let all = ListParams::default();
    let names = |kind: &str, list: Vec<Option<String>>| {
        let named = |name: Option<String>| format!("{kind} {}", name.unwrap_or_default());
        list.into_iter().map(named).collect::<Vec<_>>()
    };
    let jobs = space.api::<Job>().list(&all).await.expect("Jobs").items;
    let pods = space.api::<Pod>().list(&all).await.expect("pods").items;
    let maps = space
        .api::<ConfigMap>()
        .list(&all)
        .await
        .expect("ConfigMaps")
        .items;
    let jobs = jobs.into_iter().map(|job| job.metadata.name).collect();
    let pods = pods.into_iter().map(|pod| pod.metadata.name).collect();
    let maps = maps.into_iter().map(|map| map.metadata.name);
    // Every namespace has this one.
    let maps = maps
        .filter(|name| name.as_deref() != Some("kube-root-ca.crt"))
        .collect();
    [names("Job", jobs), names("pod", pods), names("ConfigMap", maps)].concat()
}

/// Cluster policies of this test, and of one that failed before it.
async fn remove_ceilings(api: &Api<ClusterSandboxPolicy>) {
    let all = api
        .list_metadata(&ListParams::default())
        .await
        .expect("they can be listed");
    for policy in all.items {
        let name = policy.metadata.name.unwrap_or_default();
        if name.starts_with(sent::CEILING) {
            let deleted = api.delete(&name, &DeleteParams::default()).await;
            deleted.map(drop).expect("the cluster policy is the test's own");
        }
    }
}
