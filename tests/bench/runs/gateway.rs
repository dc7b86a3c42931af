//! Plays the gateway towards the real archive: the records of a run and its one upload, as a gateway sends them.

use std::time::Duration;

use cofferdam_api::Snapshot;
use cofferdam_api::names::{ARCHIVE_PORT, ARCHIVE_SERVICE, AUDIENCE_ARCHIVE, digest};
use cofferdam_service::client::{Call, Client as Http};
use cofferdam_wire::archive::{RUN_HEADER, STREAM_HEADER, output_path, records_path};
use cofferdam_wire::output::{OutputManifest, PatchManifest, VERSION};
use cofferdam_wire::record::{CloseCause, ProcessId, RECORD_VERSION, Record, RecordEvent, RequestId};
use http::Method;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::Result;
use super::place::OPERATOR_NAMESPACE;

const PATCH: &str = "diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-one\n+two\n";
/// Repository of every measured run, as its spec and KWOK's stages name it.
pub const REPOSITORY: &str = "demo";

/// A client of the archive with the gateway's identity.
#[derive(Clone)]
pub struct Gateway {
    http: Http,
    base: String,
    token: String,
}

impl Gateway {
    /// Takes a token of a gateway's pod, good for the archive alone.
    pub async fn new(client: &Client) -> Result<Self> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
        let ours = ListParams::default().labels("app.kubernetes.io/component=gateway");
        let pod = pods.list(&ours).await?.items.into_iter().next();
        let pod = pod.ok_or("there is no pod of the gateway")?.metadata;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
        let wanted: TokenRequest = serde_json::from_value(json!({
            "metadata": {}, "spec": {
                "audiences": [AUDIENCE_ARCHIVE], "expirationSeconds": 7200,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid},
            },
        }))?;
        let token = accounts
            .create_token_request("gateway", &PostParams::default(), &wanted)
            .await?
            .status
            .and_then(|status| status.token)
            .ok_or("the API server gave no token")?;
        let services: Api<Service> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
        let address = services
            .get(ARCHIVE_SERVICE)
            .await?
            .spec
            .and_then(|spec| spec.cluster_ip)
            .ok_or("the archive's Service has no address")?;
        Ok(Self {
            http: Http::new(),
            base: format!("http://{address}:{ARCHIVE_PORT}"),
            token,
        })
    }

    /// Stores the records of the run's clone, then its output with one patch.
    pub async fn store(&self, namespace: &str, name: &str, uid: &str) -> Result<()> {
        let call = Call::new(Method::POST, &format!("{}{}", self.base, records_path(uid)))?
            .bearer(&self.token)?
            .header(STREAM_HEADER, "bench-1")?
            .body(records()?);
        self.send(call, 204).await?;
        self.upload(namespace, name, uid, PATCH.to_owned()).await
    }

    /// Stores the output of a run with this patch.
    pub async fn upload(&self, namespace: &str, name: &str, uid: &str, patch: String) -> Result<()> {
        let mut upload = serde_json::to_vec(&manifest(&patch))?;
        upload.extend_from_slice(b"\n");
        upload.extend_from_slice(patch.as_bytes());
        let call = Call::new(Method::PUT, &format!("{}{}", self.base, output_path(uid)))?
            .bearer(&self.token)?
            .header(RUN_HEADER, &format!("{namespace}/{name}"))?
            .timeout(Duration::from_mins(1))
            .body(upload);
        self.send(call, 201).await
    }

    async fn send(&self, call: Call, wanted: u16) -> Result<()> {
        let answer = self.http.send(call).await?;
        let status = answer.status().as_u16();
        if status == wanted {
            return Ok(());
        }
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Err(format!("the archive answers {status}: {text}").into())
    }
}

/// One request that was let through, and its end.
fn records() -> Result<String> {
    let host = "git.internet.test:443".to_owned();
    let events = [
        RecordEvent::Allowed {
            host: host.clone(),
            method: "CONNECT".to_owned(),
            path: None,
            address: "203.0.113.10:443".to_owned(),
            rules: vec!["SandboxPolicy/default/all".to_owned()],
            credential: None,
            by: "prepare".to_owned(),
        },
        RecordEvent::Closed {
            host,
            sent: 2000,
            received: 20_000,
            cause: CloseCause::Ended.into(),
        },
    ];
    let mut lines = String::new();
    for (number, event) in (1..).zip(events) {
        let record = Record {
            version: RECORD_VERSION,
            source_seq: number,
            request: Some(RequestId::new(ProcessId(1), 1, 1)),
            time: jiff::Timestamp::now().to_string(),
            event,
        };
        lines += &serde_json::to_string(&record)?;
        lines.push('\n');
    }
    Ok(lines)
}

fn manifest(patch: &str) -> OutputManifest {
    OutputManifest {
        version: VERSION,
        patches: vec![PatchManifest {
            repository: REPOSITORY.to_owned(),
            submodule: None,
            base_commit: "dc3a4833a60b14b0351a2b1a9fa3fb23fec06cbe".to_owned(),
            bytes: patch.len() as u64,
            digest: digest(patch.as_bytes()),
            files: 1,
            insertions: 1,
            deletions: 1,
            snapshot: Snapshot::Final,
            completeness: cofferdam_api::Completeness::Complete,
            lfs_files: 0,
            left_out: None,
        }],
        stopped: None,
        refused: Vec::new(),
    }
}
