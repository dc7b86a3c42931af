//! Where each manifest goes, and what came back.

use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use crate::api::made::Made;

/// Prefix of the names of cluster policies that are stored.
pub const CEILING: &str = "e2e-manifests-";
/// An API server that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of so many cluster policies one is stored: each has everything in the cluster judged anew.
const CEILINGS: usize = 4;
/// What policy refuses these runs with.
const REFUSALS: [&str; 3] = ["ImageDenied", "PolicyDenied", "PolicyMissing"];

/// Namespaces.
pub struct Places<'a> {
    /// Where policy allows none of the runs.
    pub refused: &'a str,
    /// Where runs are suspended.
    pub suspended: &'a str,
    /// Where no run is.
    pub policies: &'a str,
}

/// What is to be sent.
pub struct Post {
    made: Made,
    path: String,
    stored: bool,
}

/// A manifest that was sent.
pub struct Sent {
    made: Made,
    path: String,
    stored: bool,
    /// The object, or code and message of the refusal; code 0 is no answer.
    pub answer: Result<Value, (u16, String)>,
}

/// Gives a manifest a place and a name of its own, unless its name is what is tried: such are not stored.
pub fn post_of(index: usize, mut made: Made, places: &Places<'_>) -> Post {
    let kept = made.changed.iter().any(|pointer| pointer == "/metadata/name");
    let (namespace, plural, stored) = match made.kind() {
        "AgentRun" if index.is_multiple_of(2) => {
            set(&mut made, "suspend", json!(true));
            (Some(places.suspended), "agentruns", true)
        }
        "AgentRun" => (Some(places.refused), "agentruns", true),
        "SandboxPolicy" => (Some(places.policies), "sandboxpolicies", true),
        _ => (None, "clustersandboxpolicies", binds(index, &mut made, places)),
    };
    let stored = stored && !kept;
    if !kept {
        made.manifest["metadata"]["name"] = json!(format!("{CEILING}{index}"));
    }
    let mut scope = String::new();
    if let Some(namespace) = namespace {
        made.manifest["metadata"]["namespace"] = json!(namespace);
        scope = format!("namespaces/{namespace}/");
    }
    let dry = if stored { "" } else { "&dryRun=All" };
    let path = format!("/apis/cofferdam.dev/v1alpha1/{scope}{plural}?fieldValidation=Strict{dry}");
    Post { made, path, stored }
}

/// Whether a cluster policy is stored; then it stands over a namespace without runs alone, whatever else it says.
fn binds(index: usize, made: &mut Made, places: &Places<'_>) -> bool {
    let selects = |pointer: &String| pointer.starts_with("/spec/namespaceSelector");
    let stored = index.is_multiple_of(CEILINGS) && !made.changed.iter().any(selects);
    if stored {
        let over = json!({"matchLabels": {"kubernetes.io/metadata.name": places.policies}});
        set(made, "namespaceSelector", over);
    }
    stored
}

fn set(made: &mut Made, field: &str, value: Value) {
    if let Some(spec) = made.manifest.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert(field.to_owned(), value);
    }
}

impl Sent {
    /// Sends it.
    pub async fn send(client: &Client, post: Post) -> Self {
        let Post { made, path, stored } = post;
        let request = http::Request::post(&path)
            .header("content-type", "application/json")
            .body(made.manifest.to_string().into_bytes())
            .expect("a request");
        let asked = client.request::<Value>(request);
        let answer = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(kube::Error::Api(status))) => Err((status.code, status.message.clone())),
            Ok(Err(other)) => Err((0, other.to_string())),
            Err(_) => Err((0, format!("no answer within {PATIENCE:?}"))),
        };
        Self {
            made,
            path,
            stored,
            answer,
        }
    }

    /// Whether it is in the cluster now, and of this kind.
    pub fn is_stored(&self, kind: &str) -> bool {
        self.stored && self.answer.is_ok() && self.made.kind() == kind
    }

    /// Whether it was sent to this namespace.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.path.contains(&format!("/namespaces/{namespace}/"))
    }

    /// What is wrong with the answer: it is none, or it names nothing of what was wrong.
    pub fn is_wrong(&self) -> Option<String> {
        let Err((code, message)) = &self.answer else {
            return None;
        };
        // What is too large as a whole has no field to name.
        let clear = *code == 413 || ((400..500).contains(code) && self.made.is_named_in(message));
        (!clear).then(|| format!("{} ({}): {code} {message}", self.made.what, self.path))
    }
}

/// Whether the controller has said all that it has to say of this run.
pub fn is_at_rest(run: &Value) -> bool {
    let (spec, status) = (&run["spec"], &run["status"]);
    let reason = status["reason"].as_str().unwrap_or_default();
    let ended = status["completionTime"].is_string();
    if spec["cancel"].is_string() {
        ended && reason == "Cancelled"
    } else if spec["suspend"] == true {
        !ended && status["phase"] == "Suspended"
    } else {
        ended && REFUSALS.contains(&reason)
    }
}
