use super::*;
use crate::layer::parsed::Written;
use crate::pattern::host::Host;
use crate::refusal::{Layer, LayerKind};
use rstest::rstest;
use serde_json::{Value, json};

const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";

fn definition(name: &str, changes: &Value) -> SandboxCredential {
    let mut spec = json!({
        "type": "Secret", "secretName": "of-anthropic", "hosts": ["b.example.com", "a.example.com"],
        "inject": {"header": "X-Api-Key"}, "namespaceSelector": {},
    });
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    SandboxCredential::new(name, serde_json::from_value(spec).unwrap())
}

#[test]
fn a_definition_reads_into_one_spelling() {
    let read = Credential::read(&definition("model", &json!({}))).unwrap();
    let hosts: Vec<&str> = read.hosts.iter().map(Host::as_str).collect();
    assert_eq!(hosts, ["a.example.com", "b.example.com"]);
    assert_eq!(
        (read.secret.name.as_str(), read.secret.key.as_str()),
        ("of-anthropic", "token")
    );
    let header = "x-api-key".to_owned();
    assert_eq!(read.inject, Injection::Header { header, scheme: None });
    assert_eq!(read.placeholder(UID), None);
}

#[rstest]
#[case(json!({"basic": {"username": "u"}}), CredentialError::Injection)]
#[case(json!({"inject": null}), CredentialError::Injection)]
#[case(json!({"hosts": ["10.0.0.1"]}), CredentialError::Host("10.0.0.1".to_owned()))]
#[case(json!({"hosts": ["*.example.com"]}), CredentialError::Host("*.example.com".to_owned()))]
fn what_no_credential_can_be_is_refused(#[case] changes: Value, #[case] error: CredentialError) {
    assert_eq!(Credential::read(&definition("model", &changes)), Err(error));
}

#[rstest]
#[case("ANTHROPIC_API_KEY", None, "sk-ant-api03-", 65)]
#[case("GEMINI_API_KEY", None, "AIzaSy", 39)]
#[case("GITHUB_TOKEN", None, "ghp_", 40)]
#[case("GITHUB_TOKEN", Some("ghs_"), "ghs_", 56)]
#[case("HOUSE_KEY", None, "", 52)]
#[case("HOUSE_KEY", Some("house-"), "house-", 58)]
fn a_placeholder_is_shaped_like_a_key_and_is_of_one_run(
    #[case] env: &str,
    #[case] prefix: Option<&str>,
    #[case] begins: &str,
    #[case] length: usize,
) {
    let read = |name| {
        let placeholder = json!({"placeholder": {"env": env, "prefix": prefix}});
        Credential::read(&definition(name, &placeholder)).unwrap()
    };
    let (variable, value) = {
        let credential = read("model");
        let (variable, value) = credential.placeholder(UID).unwrap();
        (variable.to_owned(), value)
    };
    assert_eq!((variable.as_str(), value.len()), (env, length));
    assert!(value.starts_with(begins), "{value}");
    let other = |credential: Credential, uid| credential.placeholder(uid).map(|(_, value)| value);
    assert_eq!(other(read("model"), UID), Some(value.clone()), "always the same");
    assert_ne!(other(read("model"), "another-run"), Some(value.clone()));
    assert_ne!(other(read("another"), UID), Some(value));
}

fn parsed(kind: LayerKind, limits: &Value) -> Arc<ParsedPolicy> {
    let layer = Layer {
        kind,
        name: "default".to_owned(),
    };
    let limits = serde_json::from_value(limits.clone()).unwrap();
    let written = Written {
        limits: &limits,
        profiles: &[],
    };
    Arc::new(ParsedPolicy::read(layer, written).unwrap())
}

#[test]
fn a_rule_with_a_preset_names_the_hosts_of_the_preset() {
    let own = json!({
        "repositories": {"mode": "AllowList", "clone": [
            {"name": "ours", "url": "https://forge.example/team/*", "credential": "forge"},
            {"name": "open", "url": "https://open.example/**"},
        ]},
        "egress": {"mode": "AllowList", "rules": [
            {"name": "model", "preset": "anthropic", "credential": "model"},
            {"name": "fetch", "preset": "git", "credential": "forge"},
            {"name": "plain", "hosts": ["plain.example"]},
        ]},
    });
    let over = json!({"egress": {"mode": "AllowList", "rules": [
        {"name": "model", "hosts": ["model.example"], "methods": ["GET"], "paths": ["/"], "credential": "model"},
    ]}});
    let layers = [
        parsed(LayerKind::ClusterSandboxPolicy, &over),
        parsed(LayerKind::SandboxPolicy, &own),
    ];
    let named: Vec<(&str, Vec<String>)> = hosts_named(&layers)
        .into_iter()
        .map(|(name, hosts)| (name, hosts.iter().map(ToString::to_string).collect()))
        .collect();
    let hosts = |hosts: &[&str]| -> Vec<String> { hosts.iter().map(ToString::to_string).collect() };
    assert_eq!(
        named,
        [
            ("forge", hosts(&["forge.example", "open.example"])),
            ("model", hosts(&["api.anthropic.com", "model.example"])),
        ]
    );
}

#[test]
fn an_app_is_read_with_its_type_and_with_no_other() {
    let app = json!({"type": "GitHubApp", "gitHubApp": {"appID": 7, "permissions": {"issues": "Write"}}});
    let read = Credential::read(&definition("github", &app)).unwrap();
    let app = read.app.unwrap();
    assert_eq!(
        (app.id, app.permissions_shown()),
        (7, vec!["issues: write".to_owned()])
    );
    for odd in [json!({"type": "GitHubApp"}), json!({"gitHubApp": {"appID": 7}})] {
        let read = Credential::read(&definition("github", &odd));
        assert!(matches!(read, Err(CredentialError::App(_))), "{odd}");
    }
}
