//! Rules with services: one rule for each Service, and with a preset for each part of it.

use super::{lists_what_gets_a_credential, read_all, unreadable};
use crate::dimension::egress::{EgressRule, ServiceUse};
use crate::pattern::host::{Host, HostPattern};
use crate::pattern::method::Method;
use crate::pattern::path::PathPattern;
use crate::pattern::service::host_of;
use crate::pattern::{read_port, sorted};
use crate::preset;
use crate::refusal::{Layer, LayerKind, Refusal};
use cofferdam_api::names::API_SERVER;
use cofferdam_api::{ClearText, EgressRule as Written, Preset, ServicePort, TlsMode};

/// Why a rule with services says no more of where it leads.
const SAID: &str = "a Service has its port and its address, and requests to it are read: leave hosts, addresses, ports and tls out";
/// Why a preset is not for Services.
const ELSEWHERE: &str =
    "of Services the presets anthropic, gemini and openai alone are known: list methods and paths";
/// Why a rule does not lead to the API server.
const NO_API_SERVER: &str = "no agent reaches the API server";
/// Why nothing is sent in clear text.
const NO_CREDENTIAL: &str = "the rule has no credential";

/// What the rule says.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(layer: &Layer, rule: &Written) -> Result<Vec<EgressRule>, Refusal> {
    let field = |name: &str| format!("limits.egress.rules[{}].{name}", rule.name);
    let is_alone = rule.hosts.is_empty()
        && rule.addresses.is_empty()
        && rule.ports == [443]
        && rule.tls == TlsMode::Inspect;
    if !is_alone {
        return Err(unreadable(layer, &field("services"), "", &SAID));
    }
    lists_what_gets_a_credential(layer, rule)?;
    let service = ServiceUse {
        clear_text: clear_text(layer, rule)?,
    };
    let asked = requests(layer, rule)?;
    let mut rules = Vec::new();
    for listed in &rule.services {
        let (host, port) = read_service(layer, &field("services"), listed)?;
        rules.extend(asked.iter().map(|(methods, paths)| EgressRule {
            name: rule.name.clone(),
            hosts: vec![HostPattern::Exact(host.clone())],
            addresses: Vec::new(),
            ports: vec![port],
            tls: TlsMode::Inspect,
            methods: methods.clone(),
            paths: paths.clone(),
            credential: rule.credential.clone(),
            service: Some(service),
        }));
    }
    Ok(rules)
}

/// Methods, with the paths that they may have.
type Asked = (Vec<Method>, Vec<PathPattern>);

/// What may be asked of each Service.
fn requests(layer: &Layer, rule: &Written) -> Result<Vec<Asked>, Refusal> {
    let field = |name: &str| format!("limits.egress.rules[{}].{name}", rule.name);
    let methods = sorted(read_all(layer, &field("methods"), &rule.methods, Method::parse)?);
    let paths = sorted(read_all(layer, &field("paths"), &rule.paths, PathPattern::parse)?);
    let Some(preset) = rule.preset else {
        return Ok(vec![(methods, paths)]);
    };
    let name = preset::name(preset);
    let refused = |why: &str| unreadable(layer, &field("preset"), &name, &why);
    if !methods.is_empty() || !paths.is_empty() {
        return Err(refused(super::SAID));
    }
    match preset {
        Preset::Anthropic | Preset::Gemini | Preset::Openai => {}
        Preset::Crates
        | Preset::Debian
        | Preset::Git
        | Preset::Github
        | Preset::Gitlab
        | Preset::Go
        | Preset::Maven
        | Preset::Npm
        | Preset::Pypi => return Err(refused(ELSEWHERE)),
    }
    let expanded =
        preset::expand(preset, &rule.name, &[], &[]).map_err(|error| refused(&error.to_string()))?;
    Ok(expanded
        .into_iter()
        .map(|rule| (rule.methods, rule.paths))
        .collect())
}

fn read_service(layer: &Layer, field: &str, listed: &ServicePort) -> Result<(Host, u16), Refusal> {
    let ServicePort {
        namespace,
        name,
        port,
    } = listed;
    let refused = |why: &str| unreadable(layer, field, &format!("{namespace}/{name}:{port}"), &why);
    if (namespace.as_str(), name.as_str()) == API_SERVER {
        return Err(refused(NO_API_SERVER));
    }
    let host = host_of(namespace, name).map_err(|error| refused(&error.to_string()))?;
    let port = read_port(*port).ok_or_else(|| refused("ports go from 1 to 65535"))?;
    Ok((host, port))
}

/// Whether the rule lets its credential go out in clear text: one of a cluster policy says so, one of a namespace's policy
/// does not say otherwise.
fn clear_text(layer: &Layer, rule: &Written) -> Result<bool, Refusal> {
    if rule.credential.is_none() {
        if rule.credential_in_clear_text.is_some() {
            let field = format!("limits.egress.rules[{}].credentialInClearText", rule.name);
            return Err(unreadable(layer, &field, "", &NO_CREDENTIAL));
        }
        return Ok(false);
    }
    Ok(match (layer.kind, rule.credential_in_clear_text) {
        (_, Some(ClearText::Deny)) | (LayerKind::ClusterSandboxPolicy, None) => false,
        (_, Some(ClearText::Allow)) | (LayerKind::SandboxPolicy, None) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn read_as(kind: LayerKind, changes: &Value) -> Result<Vec<EgressRule>, String> {
        let mut rule =
            json!({"name": "models", "services": [{"namespace": "models", "name": "litellm", "port": 4000}]});
        for (field, value) in changes.as_object().unwrap() {
            rule[field] = value.clone();
        }
        let layer = Layer {
            kind,
            name: "base".to_owned(),
        };
        let rule: Written = serde_json::from_value(rule).unwrap();
        super::super::read_rule(&layer, &rule, &[]).map_err(|refusal| refusal.message())
    }

    fn read_above(changes: &Value) -> Result<Vec<EgressRule>, String> {
        read_as(LayerKind::ClusterSandboxPolicy, changes)
    }

    #[test]
    fn each_service_is_a_rule_of_its_own() {
        let two = json!({"services": [
            {"namespace": "models", "name": "litellm", "port": 4000}, {"namespace": "mirrors", "name": "pypi", "port": 80},
        ], "methods": ["GET"]});
        let rules = read_above(&two).unwrap();
        let told = rules
            .iter()
            .map(|rule| format!("{}:{} {}", rule.hosts[0], rule.ports[0], rule.requests()));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "litellm.models.svc:4000 GET any path",
                "pypi.mirrors.svc:80 GET any path"
            ]
        );
        assert!(
            rules
                .iter()
                .all(|rule| rule.service == Some(ServiceUse { clear_text: false }))
        );
    }

    #[test]
    fn a_model_preset_is_what_is_asked_of_the_service() {
        let rules = read_above(&json!({"preset": "anthropic", "credential": "litellm"})).unwrap();
        let told = rules
            .iter()
            .map(|rule| format!("{}:{} {}", rule.hosts[0], rule.ports[0], rule.requests()));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "litellm.models.svc:4000 POST /v1/messages,/v1/messages/count_tokens",
                "litellm.models.svc:4000 GET,HEAD /v1/models,/v1/models/*",
            ]
        );
        assert!(
            rules
                .iter()
                .all(|rule| rule.credential.as_deref() == Some("litellm"))
        );
    }

    #[rstest]
    #[case::hosts(json!({"hosts": ["a.test"]}), "a Service has its port and its address")]
    #[case::ports(json!({"ports": [80]}), "a Service has its port and its address")]
    #[case::addresses(json!({"addresses": ["10.0.0.0/8"]}), "a Service has its port and its address")]
    #[case::tunnel(json!({"tls": "Tunnel"}), "requests to it are read")]
    #[case::api_server(json!({"services": [{"namespace": "default", "name": "kubernetes", "port": 443}]}), "no agent reaches the API server")]
    #[case::odd_name(json!({"services": [{"namespace": "models.svc", "name": "a", "port": 443}]}), "label")]
    #[case::odd_port(json!({"services": [{"namespace": "models", "name": "a", "port": 0}]}), "ports go from 1 to 65535")]
    #[case::preset_of_hosts(json!({"preset": "npm"}), "anthropic, gemini and openai alone")]
    #[case::preset_of_repositories(json!({"preset": "git"}), "anthropic, gemini and openai alone")]
    #[case::preset_and_more(json!({"preset": "openai", "methods": ["GET"]}), "a preset has hosts, ports, methods and paths")]
    #[case::credential_for_all(json!({"credential": "litellm"}), "must list methods and paths")]
    #[case::clear_text_of_nothing(json!({"credentialInClearText": "Allow"}), "the rule has no credential")]
    fn what_cannot_be_read(#[case] changes: Value, #[case] why: &str) {
        let refused = read_above(&changes).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }

    #[rstest]
    #[case::of_the_cluster(LayerKind::ClusterSandboxPolicy, json!("Allow"), true)]
    #[case::of_the_cluster(LayerKind::ClusterSandboxPolicy, json!("Deny"), false)]
    #[case::of_the_cluster(LayerKind::ClusterSandboxPolicy, Value::Null, false)]
    // What the cluster allows a namespace can only take away.
    #[case::of_a_namespace(LayerKind::SandboxPolicy, json!("Allow"), true)]
    #[case::of_a_namespace(LayerKind::SandboxPolicy, json!("Deny"), false)]
    #[case::of_a_namespace(LayerKind::SandboxPolicy, Value::Null, true)]
    fn words_on_clear_text(#[case] kind: LayerKind, #[case] word: Value, #[case] expected: bool) {
        let said = json!({"credential": "litellm", "methods": ["GET"], "paths": ["/**"], "credentialInClearText": word});
        let rules = read_as(kind, &said).unwrap();
        assert_eq!(rules[0].service.unwrap().clear_text, expected);
    }

    #[test]
    fn to_hosts_nothing_goes_in_clear_text() {
        let of_hosts = json!({"services": [], "hosts": ["a.test"], "credential": "litellm", "methods": ["GET"],
            "paths": ["/**"], "credentialInClearText": "Allow"});
        let refused = read_above(&of_hosts).unwrap_err();
        assert!(refused.contains("it is for rules with services"), "{refused}");
    }
}
