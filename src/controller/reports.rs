//! `VulnerabilityReport`s of a scanner (trivy-operator), where the cluster has one and a policy asks for them. Of each only
//! the digest and the counts are kept: a report lists every finding, and a cluster has thousands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::{Deserialize, Deserializer};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::api_server::Guarded;
use cofferdam_policy::dimension::vulnerabilities::{Counts, Reports};
use cofferdam_policy::pattern::image::ImageReference;

const GROUP: &str = "aquasecurity.github.io";
const VERSION: &str = "v1alpha1";
const PLURAL: &str = "vulnerabilityreports";
/// How often a cluster without a scanner is asked whether it has one now.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Reports of one page of a list: one can have a megabyte.
const PAGE: u32 = 20;

/// As much of a report as the decision needs.
#[derive(Deserialize, Clone, Debug)]
pub struct VulnerabilityReport {
    #[serde(deserialize_with = "trimmed")]
    metadata: ObjectMeta,
    report: Report,
}

#[derive(Deserialize, Clone, Debug)]
struct Report {
    artifact: Artifact,
    summary: Summary,
}

/// The scanner writes the digest by which a workload names its image. Of an image that is named by a tag it writes the
/// image's id here, which is the digest of something else and so never matches.
#[derive(Deserialize, Clone, Debug)]
struct Artifact {
    digest: Option<String>,
}

#[derive(Deserialize, Clone, Copy, Debug)]
struct Summary {
    #[serde(rename = "criticalCount")]
    critical: u64,
    #[serde(rename = "highCount")]
    high: u64,
    #[serde(rename = "mediumCount")]
    medium: u64,
    #[serde(rename = "lowCount")]
    low: u64,
    #[serde(rename = "unknownCount")]
    unknown: u64,
}

impl From<Summary> for Counts {
    fn from(summary: Summary) -> Self {
        Self {
            critical: summary.critical,
            high: summary.high,
            medium: summary.medium,
            low: summary.low,
            unknown: summary.unknown,
        }
    }
}

/// What the cache needs to tell objects apart.
fn trimmed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let metadata = ObjectMeta::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        ..ObjectMeta::default()
    })
}

impl Resource for VulnerabilityReport {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "VulnerabilityReport".into()
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// How far the controller is with the reports of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nobody asked yet, or they are being read.
    NotYet,
    /// The cluster has no such resource.
    Absent,
    /// All of them.
    All,
}

/// The reports of the cluster. One that cannot be read is none.
pub struct Scanner {
    store: Store<Guarded<VulnerabilityReport>>,
    known: watch::Receiver<Known>,
    wanted: Arc<Notify>,
}

impl Scanner {
    /// Reads reports from the first time on that they are asked for; `changed` is called when runs that wait for them
    /// can be decided about.
    pub fn start(
        client: Client,
        stop: CancellationToken,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let (store, writer) = reflector::store();
        let (tell, known) = watch::channel(Known::NotYet);
        let wanted = Arc::new(Notify::new());
        let asked = Arc::clone(&wanted);
        tokio::spawn(async move {
            let work = async {
                asked.notified().await;
                let told = |news| {
                    if tell.send_replace(news) != news {
                        changed();
                    }
                };
                until_served(&client, &told).await;
                follow(client, writer, &told).await;
            };
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
        Self { store, known, wanted }
    }

    /// The reports on those of the images that are named by a digest; `None`: they are not known yet. A cluster without
    /// the resource has no report.
    pub fn on(&self, images: &[&str]) -> Option<Reports> {
        match *self.known.borrow() {
            Known::NotYet => {
                self.wanted.notify_one();
                None
            }
            Known::Absent => Some(Reports::new()),
            Known::All => {
                let kept = self.store.state();
                let readable = kept.iter().filter_map(|report| report.0.as_ref().ok());
                Some(collect(readable, &digests(images)))
            }
        }
    }
}

/// Returns when the API server serves reports: a scanner may be installed later than we are.
async fn until_served(client: &Client, told: &impl Fn(Known)) {
    loop {
        match served(client).await {
            Ok(true) => break,
            Ok(false) => told(Known::Absent),
            // What is there is not known, and stays so.
            Err(error) => tracing::warn!(%error, "cannot tell whether there are VulnerabilityReports"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    told(Known::NotYet);
}

async fn served(client: &Client) -> Result<bool, kube::Error> {
    let group_version = format!("{GROUP}/{VERSION}");
    match client.list_api_group_resources(&group_version).await {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.name == PLURAL)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

async fn follow(client: Client, writer: Writer<Guarded<VulnerabilityReport>>, told: &impl Fn(Known)) {
    let config = watcher::Config::default().page_size(PAGE);
    let stream = watcher::watcher(Api::<Guarded<VulnerabilityReport>>::all(client), config)
        .default_backoff()
        .reflect(writer);
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::InitDone) => told(Known::All),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the watch of VulnerabilityReports is interrupted"),
        }
    }
}

/// An image that cannot be read is refused before reports are asked.
fn digests(images: &[&str]) -> BTreeSet<String> {
    images
        .iter()
        .filter_map(|image| Some(ImageReference::parse(image).ok()?.digest()?.to_owned()))
        .collect()
}

/// An image that runs in several places has several reports; the worst of them counts.
fn collect<'a>(kept: impl Iterator<Item = &'a VulnerabilityReport>, digests: &BTreeSet<String>) -> Reports {
    let mut reports = Reports::new();
    for VulnerabilityReport { report, .. } in kept {
        let Some(digest) = report
            .artifact
            .digest
            .as_deref()
            .filter(|digest| digests.contains(*digest))
        else {
            continue;
        };
        let counts = reports.entry(digest.to_owned()).or_default();
        *counts = counts.or_worse(report.summary.into());
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use serde_json::{Value, json};

    fn report(namespace: &str, digest: &Value, critical: u64, low: u64) -> VulnerabilityReport {
        serde_json::from_value(json!({
            "apiVersion": "aquasecurity.github.io/v1alpha1",
            "kind": "VulnerabilityReport",
            "metadata": {
                "name": "job-agr-mend-roof-agent", "namespace": namespace, "uid": "uid-1", "resourceVersion": "7",
                "labels": {"trivy-operator.container.name": "agent"},
            },
            "report": {
                "artifact": {"repository": "team/agent", "digest": digest},
                "registry": {"server": "images.example"},
                "scanner": {"name": "Trivy", "vendor": "Aqua Security", "version": "0.74.0"},
                "os": {"family": "debian", "name": "12"},
                "summary": {
                    "criticalCount": critical, "highCount": 0, "mediumCount": 0, "lowCount": low,
                    "noneCount": 0, "unknownCount": 2,
                },
                "updateTimestamp": "2026-11-24T06:00:00Z",
                "vulnerabilities": [{"vulnerabilityID": "CVE-2026-1", "severity": "CRITICAL"}],
            },
        }))
        .unwrap()
    }

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[test]
    fn reports_are_found_by_the_digest_of_an_image() {
        let (wanted, other) = (digest("a"), digest("b"));
        let kept = [
            report("team", &json!(wanted), 1, 0),
            report("team", &json!(other), 9, 9),
            report("team", &Value::Null, 8, 8),
        ];
        let images = [
            format!("images.example/agent:v1@{wanted}"),
            "images.example/runner:v2".to_owned(),
        ];
        let images = images.each_ref().map(String::as_str);
        let found = collect(kept.iter(), &digests(&images));
        let counts = Counts {
            critical: 1,
            unknown: 2,
            ..Counts::default()
        };
        assert_eq!(found, Reports::from([(wanted, counts)]));
    }

    #[test]
    fn of_several_reports_on_one_image_the_worst_counts() {
        let wanted = digest("a");
        let kept = [
            report("team", &json!(wanted), 3, 0),
            report("forged", &json!(wanted), 0, 5),
        ];
        let image = format!("images.example/agent@{wanted}");
        let found = collect(kept.iter(), &digests(&[&image]));
        assert_eq!((found[&wanted].critical, found[&wanted].low), (3, 5));
    }

    #[test]
    fn what_is_not_known_yet_is_asked_for_and_not_taken_to_be_missing() {
        let (store, mut writer) = reflector::store();
        let (tell, known) = watch::channel(Known::NotYet);
        let wanted = Arc::new(Notify::new());
        let scanner = Scanner {
            store,
            known,
            wanted: Arc::clone(&wanted),
        };
        let image = format!("images.example/agent@{}", digest("a"));
        assert_eq!(scanner.on(&[&image]), None);
        assert!(wanted.notified().now_or_never().is_some(), "somebody was told");
        tell.send_replace(Known::Absent);
        assert_eq!(scanner.on(&[&image]), Some(Reports::new()));
        let there = report("team", &json!(digest("a")), 1, 0);
        writer.apply_watcher_event(&Event::Apply(kube::core::DeserializeGuard(Ok(there))));
        tell.send_replace(Known::All);
        assert_eq!(scanner.on(&[&image]).unwrap()[&digest("a")].critical, 1);
    }

    #[test]
    fn of_a_report_little_is_kept() {
        let kept = report("team", &json!(digest("a")), 1, 0);
        assert_eq!(kept.metadata.labels, None);
        assert_eq!(kept.metadata.name.as_deref(), Some("job-agr-mend-roof-agent"));
    }
}
