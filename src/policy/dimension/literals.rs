//! What a run says in clear text: nothing that looks like a real key.

use std::collections::HashSet;
use std::fmt;

use cofferdam_api::{AgentRunSpec, Reason};

use crate::refusal::Refusal;

/// How a provider's keys begin, how many characters follow at least, and whose they are.
const KEYS: &[(&str, usize, &str)] = &[
    ("sk-ant-", 40, "Anthropic"),
    ("sk-proj-", 40, "OpenAI"),
    ("sk-svcacct-", 40, "OpenAI"),
    ("sk-or-v1-", 40, "OpenRouter"),
    ("AIza", 35, "Google"),
    ("ghp_", 36, "GitHub"),
    ("gho_", 36, "GitHub"),
    ("ghu_", 36, "GitHub"),
    ("ghs_", 36, "GitHub"),
    ("ghr_", 36, "GitHub"),
    ("github_pat_", 50, "GitHub"),
    ("glpat-", 20, "GitLab"),
    ("gldt-", 20, "GitLab"),
    ("glrt-", 20, "GitLab"),
    ("AKIA", 16, "AWS"),
    ("ASIA", 16, "AWS"),
    ("xoxb-", 30, "Slack"),
    ("xoxp-", 30, "Slack"),
    ("npm_", 36, "npm"),
    ("pypi-AgEI", 40, "PyPI"),
    ("hf_", 34, "Hugging Face"),
    ("dckr_pat_", 20, "Docker"),
];

/// Different characters that a key has at least; what people write in the place of one has fewer.
const VARIETY: usize = 9;

/// Whose key stands in the text, if one does.
fn key_in(text: &str) -> Option<&'static str> {
    if text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    KEYS.iter()
        .find(|(prefix, least, _)| {
            let mut places = text.match_indices(prefix);
            places.any(|(at, _)| {
                let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
                let begins = !text.get(..at).is_some_and(|before| before.ends_with(is_word));
                let rest = text.get(at + prefix.len()..).unwrap_or_default();
                let key = || rest.chars().take_while(|char| is_word(*char));
                let kinds: HashSet<char> = key().collect();
                begins && key().count() >= *least && kinds.len() >= VARIETY
            })
        })
        .map(|(.., whose)| *whose)
}

/// Where a text stands.
enum Place<'a> {
    Env(&'a str),
    Item(&'static str, usize),
    Prompt,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "spec.agent.env[{name}]"),
            Self::Item(field, index) => write!(f, "spec.agent.{field}[{index}]"),
            Self::Prompt => f.write_str("spec.task.prompt"),
        }
    }
}

/// Refuses a run that carries a key in clear text.
///
/// # Errors
/// `PolicyDenied`, with the place and never the value.
pub(crate) fn decide<'a>(spec: &'a AgentRunSpec) -> Result<(), Refusal> {
    let agent = &spec.agent;
    let env = agent
        .env
        .iter()
        .map(|variable| (Place::Env(&variable.name), &variable.value));
    let listed = |field: &'static str, items: &'a [String]| {
        let each = items.iter().enumerate();
        each.map(move |(index, item)| (Place::Item(field, index), item))
    };
    let prompt = spec.task.prompt.iter().map(|prompt| (Place::Prompt, prompt));
    let texts = env
        .chain(listed("command", &agent.command))
        .chain(listed("args", &agent.args))
        .chain(prompt);
    for (place, text) in texts {
        if let Some(whose) = key_in(text) {
            return Err(Refusal {
                reason: Reason::PolicyDenied,
                layer: None,
                field: place.to_string(),
                rule: None,
                offered: String::new(),
                allowed: Vec::new(),
                why: format!(
                    "it holds what looks like a key ({whose}), and everyone who can read the run, and its agent, can read it"
                ),
                help: "revoke the key if it is a real one, leave it out, and have a SandboxCredential sent by the gateway \
                       (docs/credentials.md)"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const REST: &str = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6";

    #[test]
    fn keys_of_every_provider_are_known_by_their_shape() {
        for (prefix, least, whose) in KEYS {
            let key = format!("{prefix}{}", &REST[..*least]);
            for text in [key.clone(), format!("TOKEN={key};"), format!("Bearer {key}")] {
                assert_eq!(key_in(&text), Some(*whose), "{text}");
            }
            assert_eq!(key_in(&format!("{prefix}{}", &REST[..least - 1])), None);
            assert_eq!(key_in(&format!("x{key}")), None, "inside another word");
            assert_eq!(
                key_in(&format!("{prefix}{}", "x".repeat(60))),
                None,
                "a placeholder"
            );
        }
        assert_eq!(
            key_in("-----BEGIN RSA PRIVATE KEY-----\nMII"),
            Some("a private key")
        );
    }

    #[rstest]
    #[case(json!({"env": [{"name": "API_KEY", "value": format!("ghp_{}", &REST[..36])}]}), "spec.agent.env[API_KEY]")]
    #[case(json!({"args": ["-k", format!("glpat-{}", &REST[..20])]}), "spec.agent.args[1]")]
    #[case(json!({"command": [format!("AKIA{}", &REST[..16])]}), "spec.agent.command[0]")]
    fn the_refusal_names_the_place_and_never_the_value(
        #[case] agent: serde_json::Value,
        #[case] field: &str,
    ) {
        let mut spec = json!({"agent": agent, "task": {"prompt": "Mend the roof."}});
        spec["agent"]["image"] = json!("a.example/x");
        let refusal = decide(&serde_json::from_value(spec).unwrap()).unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.field.as_str()),
            (Reason::PolicyDenied, field)
        );
        assert!(
            !format!("{refusal:?}{refusal}").contains(&REST[..16]),
            "{refusal}"
        );
    }

    #[test]
    fn a_prompt_is_read_too_and_ordinary_text_passes() {
        let of = |prompt: &str| {
            let spec = json!({"agent": {"image": "a.example/x", "env": [{"name": "MODEL", "value": "sk-ant-none"}]}, "task": {"prompt": prompt}});
            decide(&serde_json::from_value(spec).unwrap())
        };
        assert!(of(&format!("Push with github_pat_{}.", &REST[..50])).is_err());
        assert_eq!(
            of("Mend the roof; keys such as ghp_… stand in no manifest."),
            Ok(())
        );
    }
}
