//! Users by impersonation, whatever characters their names have.

use http::request::Builder;
use http::{HeaderValue, Method, Request};
use kube::Client;
use serde_json::Value;

/// A user as an authenticator would name them.
#[derive(Clone, Debug, Default)]
pub struct User {
    pub name: String,
    pub uid: Option<String>,
    pub groups: Vec<String>,
    pub credential: Option<String>,
}

impl User {
    /// A user of this name and these groups.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Makes a request as this user; gives the API server's message where it fails.
    pub async fn send(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", kind);
        let request = self
            .headers(request)
            .body(body.to_string().into_bytes())
            .expect("a request");
        match client.request::<Value>(request).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(other) => Err(other.to_string()),
        }
    }

    /// Names travel as the bytes of their UTF-8: the client's own configuration would take ASCII only.
    fn headers(&self, request: Builder) -> Builder {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).expect("no control characters");
        let mut request = request.header("Impersonate-User", value(&self.name));
        for group in &self.groups {
            request = request.header("Impersonate-Group", value(group));
        }
        if let Some(uid) = &self.uid {
            request = request.header("Impersonate-Uid", value(uid));
        }
        if let Some(credential) = &self.credential {
            let key = "Impersonate-Extra-authentication.kubernetes.io%2Fcredential-id";
            request = request.header(key, value(credential));
        }
        request
    }
}
