//! No stranger joins the Job of a run: a pod that the job-controller would adopt is not made.

use std::time::Duration;

use serde_json::{Value, json};

use super::objects::{ordinary_job, ordinary_pod, with};
use super::pods::both;
use super::{Call, Case, Meets, Who, World};
use crate::harness::{client, until};

use Meets::{Guard, Nothing};
use Who::{Admin, Kubernetes};

const LABELS: [(&str, &str); 4] = [
    ("batch.kubernetes.io/controller-uid", "the Job's own"),
    ("controller-uid", "the Job's own"),
    ("batch.kubernetes.io/job-name", "agr-adoption-0b7c9f3e"),
    ("job-name", "agr-adoption-0b7c9f3e"),
];

fn labelled(object: &Value, at: &str, key: &str, value: &str) -> Value {
    with(object, &format!("{at}/{}", key.replace('/', "~1")), json!(value))
}

#[tokio::test]
async fn no_pod_joins_the_job_of_a_run() {
    let world = World::open("adoption", true).await;
    let uid = job_uid(&world).await;
    let (pods, jobs) = (world.core("pods"), world.jobs());
    let plain = ordinary_pod("decoy");
    let other = world.core("pods/ordinary");
    let mut cases = both("an ordinary pod", &Call::create(&pods, plain.clone()), Nothing)
        .into_iter()
        .collect::<Vec<_>>();
    for (key, value) in LABELS {
        let value = if value.starts_with("agr-") { value } else { &uid };
        let decoy = labelled(&plain, "/metadata/labels", key, value);
        cases.extend(both(key, &Call::create(&pods, decoy.clone()), Guard("adoption")));
        cases.push(Case(
            key,
            Kubernetes("replicaset-controller"),
            Call::create(&pods, decoy),
            Guard("adoption"),
        ));
        let patch = json!({"metadata": {"labels": {key: value}}});
        cases.extend(both(key, &Call::patch(&other, patch.clone()), Guard("adoption")));
        let by_status = Call::patch(&format!("{other}/status"), patch);
        cases.push(Case(key, Admin, by_status, Guard("adoption")));
        // The pods of a Job with a selector of its own carry what its author likes, and are orphans once it is gone.
        let mut job = labelled(
            &ordinary_job("mine"),
            "/spec/template/metadata/labels",
            key,
            value,
        );
        job["spec"]["manualSelector"] = json!(true);
        job["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
        cases.extend(both(key, &Call::create(&jobs, job), Guard("adoption")));
    }
    let mut own = ordinary_job("mine");
    own["spec"]["manualSelector"] = json!(true);
    own["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    cases.extend(both("a selector of its own", &Call::create(&jobs, own), Nothing));
    let named = labelled(
        &plain,
        "/metadata/labels",
        "batch.kubernetes.io/job-name",
        "migrate",
    );
    cases.extend(both("another Job's name", &Call::create(&pods, named), Nothing));
    cases.extend(both(
        "another label",
        &Call::patch(&other, json!({"metadata": {"labels": {"tier": "x"}}})),
        Nothing,
    ));
    // The job-controller labels the pods of ordinary Jobs like this.
    let owned = labelled(
        &plain,
        "/metadata/labels",
        "batch.kubernetes.io/controller-uid",
        "x",
    );
    cases.push(Case(
        "the same",
        Kubernetes("job-controller"),
        Call::create(&pods, owned),
        Nothing,
    ));
    world.check(cases).await;
}

async fn job_uid(world: &World) -> String {
    let jobs: kube::Api<k8s_openapi::api::batch::v1::Job> =
        kube::Api::namespaced(client().await, &world.namespace);
    let job = jobs.get(&world.job).await.expect("the sandbox Job");
    job.metadata.uid.expect("a uid")
}

#[tokio::test]
async fn namespaces_that_did_not_opt_in_label_their_pods_as_they_like() {
    let world = World::open("plain-labels", false).await;
    let decoy = labelled(&ordinary_pod("mine"), "/metadata/labels", "controller-uid", "x");
    let call = Call::create(&world.core("pods"), decoy);
    let cases = both("a label of Jobs", &call, Nothing)
        .into_iter()
        .collect::<Vec<_>>();
    world.check(cases).await;
}

/// Ordinary Jobs live on in a namespace with sandboxes.
#[tokio::test]
async fn an_ordinary_job_runs_beside_sandboxes() {
    let world = World::open("plain-jobs", true).await;
    let admin = Admin.client().await;
    Call::post(&world.jobs(), ordinary_job("mine"))
        .send(&admin)
        .await
        .expect("an ordinary Job");
    let jobs: kube::Api<k8s_openapi::api::batch::v1::Job> = kube::Api::namespaced(admin, &world.namespace);
    until("the Job counts its pod", Duration::from_secs(30), || async {
        let status = jobs.get("mine").await.expect("the Job").status;
        match status.as_ref().and_then(|status| status.active) {
            Some(1) => Ok(()),
            _ => Err(status),
        }
    })
    .await;
    world.close().await;
}
