//! A Service of the cluster, as a model proxy is one: an agent reaches the one that a cluster policy grants, with a credential
//! of its own, and nothing beside it; it follows the Service when that is made anew, and ends with it.

use std::time::Duration;

use cofferdam_api::{Reason, SandboxPolicy, names};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{
    ATTACKER, Credential, Ordinary, Run, Space, default_limits, forget_ceiling, put_secret, restricted,
    sandboxed, until,
};

const LAYER: &str = "e2e-services";
const MODELS: &str = "e2e-services-models";
const PORT: u16 = 4000;

/// A proxy that says what it was asked for, and the digest of the key that came with it.
const PROXY: &str = r#"
import hashlib, http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        key = self.headers.get("Authorization", "")
        text = f"{self.path} {hashlib.sha256(key.encode()).hexdigest()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"#;

/// The namespace of the proxy, whose owner says yes to agents.
async fn models() -> Space {
    let mut labels = restricted();
    labels[names::LABEL_SERVICES] = json!(names::SERVICES_REACHABLE);
    Space::open_with("services-models", &labels).await
}

/// Starts the pod behind the Services and gives its address.
async fn proxy(models: &Space) -> String {
    let _running = Ordinary::start(models, "proxy", PROXY, &sandboxed()).await;
    let pods = models.api::<Pod>();
    let labelled = json!({"metadata": {"labels": {"app": "proxy"}}});
    pods.patch("proxy", &PatchParams::default(), &Patch::Merge(labelled))
        .await
        .unwrap();
    until("the proxy runs", Duration::from_mins(3), || async {
        let status = pods.get("proxy").await.unwrap().status.unwrap_or_default();
        match (status.phase.as_deref(), &status.pod_ip) {
            (Some("Running"), Some(address)) => Ok(address.clone()),
            _ => Err(status),
        }
    })
    .await
}

/// Makes a Service over the pod and gives its address.
async fn serve(models: &Space, name: &str) -> String {
    let service = json!({"metadata": {"name": name}, "spec": {
        "selector": {"app": "proxy"}, "ports": [{"port": PORT, "targetPort": 8080}]}});
    let made = models
        .api::<Service>()
        .create(&PostParams::default(), &serde_json::from_value(service).unwrap())
        .await
        .unwrap();
    made.spec.unwrap().cluster_ip.unwrap()
}

async fn delete(models: &Space, name: &str) {
    let deleted = models
        .api::<Service>()
        .delete(name, &DeleteParams::default())
        .await;
    deleted.map(drop).expect("the Service is the test's own");
}

/// Egress to one Service.
fn to(name: &str, more: &Value) -> Value {
    let mut rule = json!({"name": "proxy", "services": [{"namespace": MODELS, "name": name, "port": PORT}],
        "methods": ["GET"], "paths": ["/v1/**"]});
    for (field, value) in more.as_object().into_iter().flatten() {
        rule[field] = value.clone();
    }
    json!({"mode": "AllowList", "rules": [rule]})
}

fn own_limits(name: &str) -> Value {
    let mut limits = default_limits();
    limits["egress"] = to(name, &Value::Null);
    limits
}

/// Waits until the agent has printed the word.
async fn said(run: &Run, word: &str) {
    until(
        &format!("the agent says {word}"),
        Duration::from_mins(3),
        || async {
            let log = run.log("agent").await;
            if log.contains(word) { Ok(()) } else { Err(log) }
        },
    )
    .await;
}

#[tokio::test]
async fn an_agent_reaches_the_service_that_the_cluster_grants_and_nothing_beside_it() {
    let models = models().await;
    let pod = proxy(&models).await;
    let address = serve(&models, "proxy").await;
    serve(&models, "beside").await;
    let space = Space::open_bare("services").await;
    let host = format!("proxy.{MODELS}.svc");
    let key = json!({"hosts": [host], "inject": {"header": "Authorization", "scheme": "Bearer"}});
    let credential = Credential::apply(&space, "services", key).await;
    let value = format!("e2e-services-{}", Timestamp::now().as_nanosecond());
    put_secret(&space.client, &credential.name, &value).await;
    credential.is_ready("Ready").await;
    let keyed = json!({"credential": credential.name, "credentialInClearText": "Allow"});
    space.ceiling(LAYER, json!({"egress": to("proxy", &keyed)})).await;
    space.policy("default", own_limits("proxy")).await;

    let url = format!("http://{host}:{PORT}");
    let script = format!(
        r#"
ask() {{ echo "$1 $(curl -s -o /dev/null -m 20 -w '%{{http_code}}' "${{@:2}}") $(curl -s -m 20 "${{@:2}}" | grep -o 'cofferdam: [A-Za-z]*')" >> result; }}
curl -s {url}/v1/models > answer
curl -s -H 'Authorization: Bearer own' {url}/v1/models >> answer
ask short {url}/v1/models
ask long http://{host}.cluster.local:{PORT}/v1/models
ask tunnel -p {url}/v1/models
ask path {url}/admin
ask beside http://beside.{MODELS}.svc:{PORT}/v1/models
ask name http://proxy.{MODELS}:{PORT}/v1/models
ask pod http://{pod}:8080/v1/models
ask address http://{address}:{PORT}/v1/models
ask server http://kubernetes.default.svc:443/v1/models
curl -s --noproxy '*' -m 5 http://{pod}:8080/v1/models || echo "direct pod $?" >> result
curl -s --noproxy '*' -m 5 http://{address}:{PORT}/v1/models || echo "direct address $?" >> result
code() {{ curl -s -o /dev/null -m 20 -w '%{{http_code}}' {url}/v1/models; }}
echo asked
while [ "$(code)" = 200 ]; do sleep 0.2; done
ask deleted {url}/v1/models
echo gone
while [ "$(code)" != 200 ]; do sleep 0.2; done
ask anew {url}/v1/models
"#
    );
    let run = space.script("asks", ATTACKER, "bash", &script, json!({})).await;
    run.in_phase("Running").await;
    said(&run, "asked").await;
    delete(&models, "proxy").await;
    said(&run, "gone").await;
    // Another object of this name, which may well have another address.
    serve(&models, "proxy").await;
    run.ends(Reason::Completed).await;
    let sent = names::digest(format!("Bearer {value}").as_bytes());
    let sent = format!("/v1/models {}", sent.trim_start_matches("sha256:"));
    assert_eq!(run.added("answer").await, [sent.as_str(), sent.as_str()]);
    let expected = [
        "short 200 ",
        "long 200 ",
        "tunnel 200 ",
        "path 403 cofferdam: RequestNotAllowed",
        "beside 403 cofferdam: HostNotAllowed",
        "name 403 cofferdam: HostNotAllowed",
        "pod 403 cofferdam: HostInvalid",
        "address 403 cofferdam: HostInvalid",
        "server 403 cofferdam: HostNotAllowed",
        "direct pod 28",
        "direct address 28",
        "deleted 403 cofferdam: ServiceUnusable",
        "anew 200 ",
    ];
    assert_eq!(run.added("result").await, expected);
    assert!(!run.patch().await.contains(&value));

    // Whoever owns the namespace of the Service takes the word back.
    models.label(names::LABEL_SERVICES, None).await;
    let script = format!("curl -s -m 20 {url}/v1/models | grep -o 'ServiceUnusable' > result\n");
    let unlabelled = space
        .script("unlabelled", ATTACKER, "bash", &script, json!({}))
        .await;
    unlabelled.ends(Reason::Completed).await;
    assert_eq!(unlabelled.added("result").await, ["ServiceUnusable"]);

    // Without the cluster's word the namespace's own is a mistake.
    forget_ceiling(&space.client, LAYER).await;
    space.policy("default", own_limits("beside")).await;
    until("the policy says so", Duration::from_mins(1), || async {
        let policy = space.api::<SandboxPolicy>().get("default").await.unwrap();
        let conditions = policy.status.map(|status| status.conditions).unwrap_or_default();
        let ready = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready");
        match ready {
            Some(ready) if ready.reason == "RuleMatchesNothing" => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let alone = space.script("alone", ATTACKER, "bash", "true\n", json!({})).await;
    alone.ends(Reason::PolicyDenied).await;
    credential.forget().await;
    space.close().await;
    models.close().await;
}
