//! Who tries what, how, and what it meets.

use std::time::Duration;

use cofferdam_api::names;
use http::{Method, Request};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::harness::{OPERATOR_NAMESPACE, client};

/// Longest time that a request may take.
const ANSWER: Duration = Duration::from_secs(20);

/// As whom a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user bound to `edit` in the namespace.
    Edit,
    /// The cluster's admin, whom RBAC stops from nothing.
    Admin,
    /// Cofferdam's controller.
    Controller,
    /// A role of Cofferdam's, by the name of its ServiceAccount.
    Ours(&'static str),
    /// The account of the sandboxes of this namespace.
    Sandbox(&'static str),
    /// One of Kubernetes' controllers, by the name of its ServiceAccount.
    Kubernetes(&'static str),
    /// The queue that `make install` names in `guard.queueControllers`.
    Queue,
    /// The scheduler.
    Scheduler,
    /// The kubelet of another node.
    Node,
}

impl Who {
    /// Name and groups, as an authenticator would give them; none for the admin, whom nobody plays.
    pub fn user(self) -> Option<(String, Vec<String>)> {
        let account = |namespace: &str, name: &str| {
            let groups = vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ];
            (format!("system:serviceaccount:{namespace}:{name}"), groups)
        };
        match self {
            Self::Admin => None,
            Self::Edit => Some(("guard-edit".to_owned(), vec!["system:authenticated".to_owned()])),
            Self::Controller => Some(account(OPERATOR_NAMESPACE, "controller")),
            Self::Ours(name) => Some(account(OPERATOR_NAMESPACE, name)),
            Self::Sandbox(namespace) => Some(account(namespace, names::SANDBOX_SERVICE_ACCOUNT)),
            Self::Kubernetes(name) => Some(account("kube-system", name)),
            Self::Queue => Some((
                "system:serviceaccount:kueue-system:kueue-controller-manager".to_owned(),
                // Its own rights are not what is tried.
                vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            )),
            Self::Scheduler => Some((
                "system:kube-scheduler".to_owned(),
                vec!["system:authenticated".to_owned()],
            )),
            Self::Node => Some((
                "system:node:node-z".to_owned(),
                vec!["system:nodes".to_owned(), "system:authenticated".to_owned()],
            )),
        }
    }

    /// A client that is this user, by impersonation.
    pub async fn client(self) -> Client {
        let Some((user, groups)) = self.user() else {
            return client().await;
        };
        let mut config = Config::infer().await.expect("a kubeconfig");
        config.auth_info.impersonate = Some(user);
        config.auth_info.impersonate_groups = Some(groups);
        Client::try_from(config).expect("a client")
    }
}

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    /// It is refused by this guard.
    Guard(&'static str),
    /// It is refused by either of these guards: which of two the API server names first is its own affair.
    EitherGuard(&'static str, &'static str),
    /// It succeeds.
    Nothing,
    /// No guard; it fails for a reason of its own, such as a pod without a node.
    NoGuard,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    body: Value,
}

impl Call {
    /// POST: creates an object, or connects. Dry: nothing is persisted where it succeeds.
    pub fn create(path: &str, body: Value) -> Self {
        Self {
            method: Method::POST,
            path: format!("{path}?dryRun=All"),
            body,
        }
    }

    /// POST for real, with a query.
    pub fn post(path_and_query: &str, body: Value) -> Self {
        Self {
            method: Method::POST,
            path: path_and_query.to_owned(),
            body,
        }
    }

    /// PUT, dry.
    pub fn put(path: &str, body: Value) -> Self {
        Self {
            method: Method::PUT,
            path: format!("{path}?dryRun=All"),
            body,
        }
    }

    /// PATCH, dry: by merge, or by the operations of a list.
    pub fn patch(path: &str, body: Value) -> Self {
        Self {
            method: Method::PATCH,
            path: format!("{path}?dryRun=All"),
            body,
        }
    }

    /// Server-side apply for real, by this field manager.
    pub fn apply(path: &str, manager: &str, body: Value) -> Self {
        Self {
            method: Method::PATCH,
            path: format!("{path}?fieldManager={manager}"),
            body,
        }
    }

    /// DELETE, dry.
    pub fn delete(path: &str) -> Self {
        Self {
            method: Method::DELETE,
            path: path.to_owned(),
            // The query does not count where a DELETE has a body.
            body: json!({"dryRun": ["All"]}),
        }
    }

    /// DELETE with these options, dry.
    pub fn delete_with(path: &str, options: &Value) -> Self {
        let mut call = Self::delete(path);
        json_patch::merge(&mut call.body, options);
        call
    }

    /// Makes the request; gives the API server's message where it fails.
    pub async fn send(&self, client: &Client) -> Result<(), String> {
        let kind = match (&self.method, &self.body) {
            (&Method::PATCH, Value::Array(_)) => "application/json-patch+json",
            (&Method::PATCH, _) if self.path.contains("?fieldManager=") => "application/apply-patch+yaml",
            (&Method::PATCH, _) => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header("Content-Type", kind)
            .body(self.body.to_string().into_bytes())
            .expect("a request");
        // A 503, such as of a Service without endpoints, is asked for again by the client, without end.
        match tokio::time::timeout(ANSWER, client.request_text(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
            Ok(Err(other)) => Err(other.to_string()),
            Err(_) => Err(format!("no answer in {} s", ANSWER.as_secs())),
        }
    }
}

/// One line of a table.
pub struct Case(pub &'static str, pub Who, pub Call, pub Meets);

/// Sends every case's request, and fails with the list of those that met something else.
pub async fn check(cases: Vec<Case>) {
    let count = cases.len();
    let wrong = wrong(cases).await;
    assert!(
        wrong.is_empty(),
        "{} of {count} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What the API server answers. Its authorizer knows a right that was given just now a moment later, so what must be let
/// through is asked for again for a while.
async fn answer(who: Who, call: &Call, meets: &Meets) -> Result<(), String> {
    let client = who.client().await;
    let begun = std::time::Instant::now();
    loop {
        let answer = call.send(&client).await;
        let is_late = begun.elapsed() > Duration::from_secs(10);
        if answer.is_ok() || !matches!(meets, Meets::Nothing) || is_late {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The cases that met something else.
pub async fn wrong(cases: Vec<Case>) -> Vec<String> {
    let mut wrong = Vec::new();
    for Case(what, who, call, meets) in cases {
        let answer = answer(who, &call, &meets).await;
        let refused_by = |guard: &str| {
            let policy = format!("ValidatingAdmissionPolicy 'cofferdam-guard-{guard}");
            answer.as_ref().is_err_and(|message| message.contains(&policy))
        };
        let right = match meets {
            Meets::Guard(name) => refused_by(&format!("{name}'")),
            Meets::EitherGuard(one, other) => [one, other].iter().any(|name| refused_by(&format!("{name}'"))),
            Meets::Nothing => answer.is_ok(),
            Meets::NoGuard => answer.is_err() && !refused_by(""),
        };
        if !right {
            wrong.push(format!("{who:?}: {what}: wanted {meets:?}, got {answer:?}"));
        }
    }
    wrong
}
