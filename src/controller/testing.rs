//! Objects for tests. Every name differs from every other, so that a swapped one shows.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::client::Body;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Event;
use kube::{Client, Resource};
use serde_json::{Value, json};

use crate::agent_run::decide::Facts;
use crate::agent_run::plan::Plan;
use crate::agent_run::status;
use crate::agent_run::workload::{self, Input, Workload};
use crate::archive::Archive;
use crate::config::{PullPolicy, SandboxConfig};
use crate::credentials::health::Told;
use crate::evidence::seal::{SealOutcome, Sealer};
use crate::evidence::signer::Signer;
use crate::evidence::statement::Origin;
use crate::run_pod::RunPod;
use crate::slots::WaitsFor;
use crate::verdict::Verdict;
use cofferdam_api::{AgentRun, Reason, SandboxCredential, SandboxPolicy, Stage};
use cofferdam_policy::decide::{self, Admitted, decide};
use cofferdam_policy::dimension::credentials::Credential;
use cofferdam_policy::dimension::runtime::{RuntimeClassFact, UserNamespaceSupport};
use cofferdam_policy::dimension::vulnerabilities::{NONE, Reports};
use cofferdam_policy::source::Sourced;
use cofferdam_wire::credential::{CredentialHealth, HealthReason};
use cofferdam_wire::record::ProcessId;
use cofferdam_wire::seal::Seal;

/// Where the gateway is.
pub const GATEWAY: &str = "10.96.7.7:3128";
pub const NAMESPACE_UID: &str = "5d1e0f77-7777-4222-8333-444455556666";
pub const RUN_UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";

/// `second` seconds after the run's creation.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub fn run() -> AgentRun {
    let mut run: AgentRun = serde_json::from_value(json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
        "metadata": {"name": "mend-roof", "namespace": "tenant-a", "uid": RUN_UID, "generation": 1, "resourceVersion": "7"},
        "spec": {
            "policyRef": {"name": "house-rules"},
            "task": {"prompt": "Mend $(HOME)."},
            "agent": {
                "image": "images.example/agent:v1", "command": ["/bin/agent"], "args": ["--yes"],
                "env": [{"name": "MODEL", "value": "m1"}],
            },
            "repositories": [
                {"name": "docs", "url": "https://forge.example/team/docs.git"},
                {"name": "code", "url": "https://forge.example/team/code", "ref": "main", "path": "src", "access": "ReadWrite"},
            ],
        },
    }))
    .unwrap();
    run.metadata.creation_timestamp = Some(Time(at(0)));
    run
}

pub fn policy() -> SandboxPolicy {
    serde_json::from_value(json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxPolicy",
        "metadata": {"name": "house-rules", "namespace": "tenant-a", "uid": "policy-uid", "generation": 3},
        "spec": {"limits": {
            "runtime": {"runtimeClassNames": ["gvisor"]},
            "images": {"mode": "AllowList", "allowed": ["images.example/**"]},
            "repositories": {"mode": "AllowList", "clone": [{"name": "forge", "url": "https://forge.example/**"}]},
            "egress": {"mode": "AllowList", "rules": [{"name": "model", "hosts": ["model.example"]}]},
        }},
    }))
    .unwrap()
}

fn namespace_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("cofferdam.dev/sandbox".to_owned(), "enabled".to_owned())])
}

/// A credential for `host` that every namespace may use.
pub fn defined(name: &str, host: &str) -> SandboxCredential {
    let spec = json!({
        "type": "Secret", "secretName": format!("of-{name}"), "hosts": [host],
        "inject": {"header": "x-api-key"}, "namespaceSelector": {},
        "placeholder": {"env": "ANTHROPIC_API_KEY"},
    });
    SandboxCredential::new(name, serde_json::from_value(spec).unwrap())
}

/// The same as the gateway gets it.
pub fn credential(name: &str) -> Credential {
    Credential::read(&defined(name, "model.example")).unwrap()
}

/// What gateways tell of a credential; nothing where there is no `reason`.
pub fn told(name: &str, reason: Option<HealthReason>) -> Told {
    let health = |reason: HealthReason| CredentialHealth {
        name: name.to_owned(),
        reason: reason.into(),
        message: "There is no Secret.".to_owned(),
        refused_in: Vec::new(),
    };
    reason
        .map(|reason| (name.to_owned(), health(reason)))
        .into_iter()
        .collect()
}

fn class(name: &str) -> RuntimeClassFact {
    RuntimeClassFact {
        name: name.to_owned(),
        user_namespaces: UserNamespaceSupport::Nowhere,
    }
}

pub fn facts() -> Facts {
    Facts {
        namespace_labels: namespace_labels(),
        policy: Some(policy()),
        cluster_policies: Ok(Vec::new()),
        runtime_classes: ["gvisor", "runc"].map(class).into(),
        reports: Some(Reports::new()),
        credentials: Vec::new(),
        credential_health: Arc::default(),
        gateway: Ok(GATEWAY.parse().unwrap()),
        guard_gap: None,
        fence_gap: None,
        space_gap: None,
        waiting_since: at(0),
        readings: Arc::default(),
    }
}

pub fn admitted(run: &AgentRun) -> Admitted {
    decide(&decide::Request {
        namespace_labels: &namespace_labels(),
        run,
        policy: Some(&policy()),
        cluster_policies: &[],
        runtime_classes: &["gvisor"].map(class),
        reports: &NONE,
        credentials: &[],
    })
    .unwrap()
}

pub fn config() -> SandboxConfig {
    SandboxConfig {
        runner_image: "images.example/runner:v2".to_owned(),
        image_pull_policy: PullPolicy::Never,
        api_server: "10.96.0.1:443".to_owned(),
        cluster_dns: vec!["10.96.0.10:53".parse().unwrap()],
        public_probes: vec!["198.51.100.1:443".parse().unwrap()],
        print_patches: false,
    }
}

pub fn workload(run: &AgentRun) -> Workload {
    workload_of(run, &admitted(run))
}

pub fn workload_of(run: &AgentRun, admitted: &Admitted) -> Workload {
    let input = Input {
        run,
        admitted,
        config: &config(),
        gateway: GATEWAY.parse().unwrap(),
        attempt: 1,
    };
    workload::build(&input, "operator-space").unwrap()
}

/// The Job of [`run`] as it comes back from the API server, created at second 0.
pub fn job() -> Job {
    let mut job = workload(&run()).job;
    job.metadata.uid = Some("job-uid".to_owned());
    job.metadata.creation_timestamp = Some(Time(at(0)));
    job
}

pub fn plan() -> Plan {
    Plan::of(&job()).unwrap()
}

/// The pod of [`job`] with this status, as it is kept.
pub fn pod(status: Value) -> RunPod {
    whole_pod(status).into()
}

/// The same as the API server has it.
pub fn whole_pod(status: Value) -> Pod {
    let template = job().spec.unwrap().template;
    let mut metadata = template.metadata.unwrap();
    metadata.name = Some("agr-mend-roof-0b7c9f3e-x1x1x".to_owned());
    metadata.uid = Some("pod-uid".to_owned());
    metadata.creation_timestamp = Some(Time(at(1)));
    metadata.owner_references = job().controller_owner_ref(&()).map(|owner| vec![owner]);
    Pod {
        metadata,
        spec: template.spec,
        status: Some(serde_json::from_value(status).unwrap()),
    }
}

pub fn finished_run(completed: Timestamp) -> AgentRun {
    let mut run = run();
    run.status = Some(status::refused(
        &run,
        &Verdict::new(Reason::PolicyDenied, "no"),
        completed,
    ));
    run
}

/// A run that is suspended or queued.
pub fn resting(stage: Stage) -> AgentRun {
    let run = run();
    let ceiling = Sourced::built_in(1);
    let status = if stage == Stage::Suspended {
        status::suspended(&run, at(1))
    } else {
        let waits_for = WaitsFor {
            namespace: "tenant-a",
            ceiling: &ceiling,
        };
        status::queued(&run, waits_for, at(1))
    };
    AgentRun {
        status: Some(status),
        ..run
    }
}

/// An API server that answers as it is told, and remembers what it was asked.
pub type Answerer = dyn Fn(&Method, &str, &Value) -> (u16, Value) + Send + Sync;

/// A client of an API server that answers with `answer`.
pub fn client(answer: Arc<Answerer>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            let (code, answer) = answer(&head.method, head.uri.path(), &body);
            let answer = Response::builder()
                .status(code)
                .body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    Client::new(service, "unused")
}

/// The namespace of the run, and nothing else.
pub fn namespaces() -> Store<Namespace> {
    let (store, mut writer) = reflector::store();
    let metadata =
        json!({"name": "tenant-a", "uid": NAMESPACE_UID, "creationTimestamp": at(-60).to_string()});
    let namespace = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    writer.apply_watcher_event(&Event::Apply(namespace));
    store
}

/// A sealer whose archive is not there.
pub fn sealer() -> Sealer {
    let nobody = client(Arc::new(|_, _, _| failure(404, "NotFound")));
    Sealer::new(
        Archive::new("http://archive.invalid", "/no-such-directory/token".into()),
        Signer::new("/no-such-directory/key".into()),
        origin(),
        kube::Api::namespaced(nobody, "operator-space"),
        namespaces(),
        ProcessId(7),
    )
}

/// A chain of 7 records that is sealed, complete and signed.
pub fn sealed() -> SealOutcome {
    SealOutcome::Sealed {
        seal: Box::new(seal()),
        unsigned: None,
    }
}

pub fn seal() -> Seal {
    serde_json::from_value(json!({
        "version": 1, "head": {"seq": 7, "sha256": "5".repeat(64)}, "sealedAt": at(70).to_string(),
        "cause": "RunEnded", "complete": true, "gaps": [], "requests": 3, "deniedRequests": 1,
        "patches": [{"name": "code", "digest": format!("sha256:{}", "6".repeat(64)), "bytes": 9}],
        "logs": "NotCollected", "signed": true,
    }))
    .unwrap()
}

pub fn origin() -> Origin {
    Origin {
        builder: "https://installation.example".to_owned(),
        runner_image: config().runner_image,
    }
}

/// What an API server says that does not do what it was asked.
pub fn failure(code: u16, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": message,
        "message": message, "code": code});
    (code, status)
}
