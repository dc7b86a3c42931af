use super::*;
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
