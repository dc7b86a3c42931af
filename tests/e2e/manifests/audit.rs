//! What the controller wrote, from the API server's own audit log.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cofferdam_api::names::{FENCE, SANDBOX_SERVICE_ACCOUNT};
use serde::Deserialize;

use super::sent::CEILING;

/// How the controller calls itself.
const AGENT: &str = "cofferdam-controller/";

/// A request that was to change something, whether it did or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Write {
    verb: String,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI")]
    uri: String,
    #[serde(default)]
    object_ref: Object,
    request_received_timestamp: jiff::Timestamp,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

impl Write {
    /// Whether it is one that these tests may cause.
    pub fn is_lawful(&self) -> bool {
        let Object {
            resource,
            subresource,
            name,
            ..
        } = &self.object_ref;
        match (resource.as_str(), subresource.as_str(), self.verb.as_str()) {
            (
                "agentruns" | "sandboxpolicies" | "clustersandboxpolicies" | "sandboxcredentials",
                "status",
                "update" | "patch",
            )
            | ("events", "", "create")
            // Time to live.
            | ("agentruns", "", "delete") => true,
            ("networkpolicies", "", _) => name == FENCE,
            ("serviceaccounts", "", _) => name == SANDBOX_SERVICE_ACCOUNT,
            _ => false,
        }
    }

    fn concerns(&self, namespaces: &[&str]) -> bool {
        let Object {
            resource,
            namespace,
            name,
            ..
        } = &self.object_ref;
        namespaces.contains(&namespace.as_str())
            || (resource == "clustersandboxpolicies" && name.starts_with(CEILING))
    }
}

/// What the controller wrote since `begin` in these namespaces, and about the cluster policies of these tests, in order.
pub fn writes(begin: jiff::Timestamp, namespaces: &[&str]) -> Vec<Write> {
    let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
    let logs = PathBuf::from(state).join("logs");
    let files = std::fs::read_dir(&logs).expect("the cluster's logs");
    let mut all = Vec::new();
    for file in files {
        let file = file.expect("a log").path();
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("audit") {
            let text = std::fs::read_to_string(&file).expect("the audit log");
            let ours = text.lines().filter(|line| line.contains(AGENT));
            // The last line may be half written.
            all.extend(ours.filter_map(|line| serde_json::from_str::<Write>(line).ok()));
        }
    }
    all.retain(|write| {
        write.user_agent.starts_with(AGENT)
            && write.request_received_timestamp >= begin
            && !write.uri.contains("dryRun=All")
            && write.concerns(namespaces)
    });
    all.sort_by_key(|write| write.request_received_timestamp);
    all
}

/// Those of a status.
pub fn statuses(writes: &[Write]) -> Vec<&Write> {
    let of_status = |write: &&Write| write.object_ref.subresource == "status";
    writes.iter().filter(of_status).collect()
}

/// Of each run, how often its status was written.
pub fn of_each_run(writes: &[Write]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for write in statuses(writes) {
        let object = &write.object_ref;
        if object.resource == "agentruns" {
            *counts
                .entry(format!("{}/{}", object.namespace, object.name))
                .or_insert(0) += 1;
        }
    }
    counts
}
