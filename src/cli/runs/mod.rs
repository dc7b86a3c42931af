//! Runs of a cluster, as the API server tells of them to whoever asks.

pub mod follow;
pub mod watch;
pub mod which;

use kube::Client;
use kube::api::{ListParams, Request as Ask};
use kube::core::ListMeta;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;
use cofferdam_api::AgentRun;

/// Runs of one answer: a namespace with thousands is read page by page.
const PAGE: u32 = 500;

/// Which runs of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of one namespace.
    Namespace(String),
    /// Of all.
    All,
}

impl Scope {
    /// Path of the collection.
    pub fn path(&self) -> String {
        match self {
            Self::Namespace(namespace) => {
                format!("/apis/cofferdam.dev/v1alpha1/namespaces/{namespace}/agentruns")
            }
            Self::All => "/apis/cofferdam.dev/v1alpha1/agentruns".to_owned(),
        }
    }

    /// As people read it.
    pub fn describe(&self) -> String {
        match self {
            Self::Namespace(namespace) => format!("the runs of namespace {namespace}"),
            Self::All => "the runs of all namespaces".to_owned(),
        }
    }
}

/// A run as it is stored, and as far as this program reads it.
#[derive(Clone, Debug)]
pub struct Run {
    /// As it is stored.
    pub value: Value,
    /// As this program reads it; absent: it is of another version.
    pub read: Option<AgentRun>,
}

impl From<Value> for Run {
    fn from(value: Value) -> Self {
        Self {
            read: AgentRun::deserialize(&value).ok(),
            value,
        }
    }
}

impl Run {
    /// A string of its metadata.
    pub fn metadata(&self, field: &str) -> &str {
        let value = self
            .value
            .get("metadata")
            .and_then(|metadata| metadata.get(field));
        value.and_then(Value::as_str).unwrap_or_default()
    }

    /// The run, if this program reads it.
    ///
    /// # Errors
    /// It is of another version.
    pub fn readable(self) -> Result<AgentRun, Failure> {
        let name = format!("{}/{}", self.metadata("namespace"), self.metadata("name"));
        self.read.ok_or_else(|| {
            Failure::Broken(format!(
                "AgentRun {name} cannot be read: it was written by another version; -o yaml shows it as it is"
            ))
        })
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    items: Vec<Value>,
}

/// Everything of a list, and the version at which it was read.
pub struct Listed {
    /// The runs.
    pub runs: Vec<Run>,
    /// From where a watch goes on.
    pub resource_version: String,
}

/// Lists runs, page by page.
///
/// # Errors
/// The API server says no, or nothing.
pub async fn list(
    client: &Client,
    scope: &Scope,
    labels: Option<&str>,
    fields: Option<&str>,
) -> Result<Listed, Failure> {
    let failed = |error: &kube::Error| Failure::api(scope.describe(), error);
    let ask = Ask::new(scope.path());
    let (mut runs, mut next) = (Vec::new(), None);
    loop {
        let params = ListParams {
            label_selector: labels.map(str::to_owned),
            field_selector: fields.map(str::to_owned),
            limit: Some(PAGE),
            continue_token: next.take(),
            ..ListParams::default()
        };
        let request = ask
            .list(&params)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let page: Page = client.request(request).await.map_err(|error| failed(&error))?;
        runs.extend(page.items.into_iter().map(Run::from));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => next = Some(token),
            None => {
                return Ok(Listed {
                    runs,
                    resource_version: page.metadata.resource_version.unwrap_or_default(),
                });
            }
        }
    }
}

/// As Kubernetes writes a value in a field selector.
pub fn field_value(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '\\' | ',' | '=') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// One run.
///
/// # Errors
/// There is none of this name, or it may not be read.
pub async fn get(client: &Client, namespace: &str, name: &str) -> Result<Run, Failure> {
    let scope = Scope::Namespace(namespace.to_owned());
    let request = Ask::new(scope.path())
        .get(name, &kube::api::GetParams::default())
        .map_err(|error| Failure::Usage(error.to_string()))?;
    match client.request::<Value>(request).await {
        Ok(value) => Ok(Run::from(value)),
        Err(kube::Error::Api(status)) if status.code == 404 && status.message.contains(name) => Err(
            Failure::Absent(format!("there is no AgentRun {namespace}/{name}")),
        ),
        Err(error) => Err(Failure::api(format!("AgentRun {namespace}/{name}"), &error)),
    }
}

/// The API server's name for whoever asks.
///
/// # Errors
/// It does not say.
pub async fn who_am_i(client: &Client) -> Result<String, Failure> {
    use k8s_openapi::api::authentication::v1::SelfSubjectReview;
    let api: kube::Api<SelfSubjectReview> = kube::Api::all(client.clone());
    let review = api
        .create(&kube::api::PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(|error| Failure::api("who you are", &error))?;
    let user = review.status.and_then(|status| status.user_info);
    user.and_then(|user| user.username)
        .ok_or_else(|| Failure::Broken("the API server does not say who you are".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use crate::testing::{failure, run, server};
    use serde_json::json;

    #[tokio::test]
    async fn a_list_is_read_page_by_page() {
        let (client, log) = server(|key| {
            let page = |name: &str, next: &str| json!({"metadata": {"continue": next, "resourceVersion": "7"}, "items": [run("team-a", name)]});
            (
                200,
                if key.contains("continue=next") {
                    page("b", "")
                } else {
                    page("a", "next")
                },
            )
        });
        let scope = Scope::Namespace("team-a".to_owned());
        let listed = list(&client, &scope, Some("team=x"), Some("status.phase=Queued"))
            .await
            .unwrap();
        let names: Vec<&str> = listed.runs.iter().map(|run| run.metadata("name")).collect();
        assert_eq!((names, listed.resource_version.as_str()), (vec!["a", "b"], "7"));
        for (key, _) in log.lock().iter() {
            assert!(
                key.contains("limit=500")
                    && key.contains("labelSelector=team%3Dx")
                    && key.contains("fieldSelector=status.phase%3DQueued"),
                "{key}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_from_what_may_not_be_read() {
        for (answer, exit) in [
            (
                failure(404, "NotFound", "agentruns.cofferdam.dev \"x\" not found"),
                Exit::NotFound,
            ),
            (failure(403, "Forbidden", "you may not"), Exit::CannotTell),
            (failure(503, "ServiceUnavailable", "later"), Exit::CannotTell),
            ((200, json!("no object")), Exit::CannotTell),
        ] {
            let (client, _) = server(move |_| answer.clone());
            let got = get(&client, "team-a", "x").await.and_then(Run::readable);
            assert_eq!(got.unwrap_err().exit(), exit);
        }
        let (client, _) = server(|_| (200, run("team-a", "x")));
        assert!(get(&client, "team-a", "x").await.unwrap().readable().is_ok());
    }
}
