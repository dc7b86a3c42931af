//! Credentials that tests change in one place: what is refused, and what is let through.

use serde_json::{Value, json};

/// A credential that uses every field but `basic`, which stands instead of `inject`.
pub fn credential() -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1",
        "kind": "SandboxCredential",
        "metadata": {"name": "model"},
        "spec": {
            "type": "Secret",
            "secretName": "anthropic",
            "secretKey": "api-key",
            "hosts": ["api.example.com", "eu.api.example.com"],
            "inject": {"header": "Authorization", "scheme": "Bearer"},
            "placeholder": {"env": "API_KEY", "prefix": "sk-ant-api03-"},
            "namespaceSelector": {
                "matchLabels": {"tier": "agents"},
                "matchExpressions": [{"key": "stage", "operator": "In", "values": ["test"]}],
            },
        },
    })
}

/// A field, a value that it must not have, and what the refusal says.
pub fn refused_credentials() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/metadata/name",
            json!("my.key"),
            "metadata.name must be a DNS label",
        ),
        (
            "/spec/type",
            json!("GitHubApp"),
            "gitHubApp must be given with type: GitHubApp",
        ),
        (
            "/spec/gitHubApp",
            json!({"appID": 7}),
            "gitHubApp must be given with type: GitHubApp",
        ),
        ("/spec/type", json!("Vault"), "upported"),
        (
            "/spec/secretName",
            json!("My_Secret"),
            "secretName must be a DNS name",
        ),
        (
            "/spec/secretKey",
            json!("a/b"),
            "secretKey must be a key of the Secret",
        ),
        (
            "/spec/hosts/0",
            json!("*.example.com"),
            "every item of hosts must be a full host name",
        ),
        (
            "/spec/hosts/0",
            json!("api.example.com:443"),
            "every item of hosts must be a full host name",
        ),
        (
            "/spec/hosts/0",
            json!("10.0.0.1"),
            "hosts must not be IP addresses",
        ),
        (
            "/spec/basic",
            json!({"username": "oauth2"}),
            "exactly one of inject and basic must be given",
        ),
        (
            "/spec/inject/header",
            json!("x_key"),
            "header must be the name of an HTTP header",
        ),
        (
            "/spec/inject/header",
            json!("x-key:"),
            "header must be the name of an HTTP header",
        ),
        (
            "/spec/inject/header",
            json!("Host"),
            "header is one that the gateway or the server uses",
        ),
        (
            "/spec/inject/header",
            json!("Transfer-Encoding"),
            "header is one that the gateway or the server uses",
        ),
        (
            "/spec/inject/header",
            json!("Proxy-Authorization"),
            "header is one that the gateway or the server uses",
        ),
        ("/spec/inject/scheme", json!("Bearer x"), "scheme must be a word"),
        (
            "/spec/placeholder/env",
            json!("1A"),
            "name must consist of letters, digits and '_'",
        ),
        (
            "/spec/placeholder/env",
            json!("HTTPS_PROXY"),
            "name is one that the sandbox sets itself",
        ),
        (
            "/spec/placeholder/prefix",
            json!("sk ant"),
            "prefix must consist of letters",
        ),
        (
            "/spec/namespaceSelector",
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            "matchExpressions with operator In or NotIn need values",
        ),
    ]
}

/// A field, and a value that it may have.
pub fn accepted_credentials() -> Vec<(&'static str, Value)> {
    vec![
        ("/spec/inject", json!({"header": "x-api-key"})),
        ("/spec/inject/header", json!("PRIVATE-TOKEN")),
        ("/spec/inject/scheme", json!("token")),
        ("/spec/placeholder", json!({"env": "GITHUB_TOKEN"})),
        ("/spec/namespaceSelector", json!({})),
        ("/spec/secretName", json!("team.anthropic")),
    ]
}
