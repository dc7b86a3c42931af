//! The examples are valid, and belong together: the run is admitted under the two policies.

use std::collections::BTreeMap;
use std::path::Path;

use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxCredential, SandboxPolicy, names};
use cofferdam_policy::decide::{Admitted, Refusal, Request, decide};
use cofferdam_policy::dimension::runtime::{RuntimeClassFact, UserNamespaceSupport};
use cofferdam_policy::dimension::vulnerabilities::NONE;
use cofferdam_policy::pattern::host::Host;
use serde_json::{Value, json};

use crate::schema::problems;

fn example(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).unwrap()
}

fn text(name: &str) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .join("examples")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

fn gvisor() -> RuntimeClassFact {
    RuntimeClassFact {
        name: "gvisor".to_owned(),
        user_namespaces: UserNamespaceSupport::Nowhere,
    }
}

#[test]
fn the_examples_are_valid() {
    for name in [
        "agentrun.yaml",
        "sandboxpolicy.yaml",
        "clustersandboxpolicy.yaml",
        "long-prompt/agentrun.yaml",
        "demo/agentrun.yaml",
        "demo/policy.yaml",
        "demo/private/agentrun.yaml",
        "demo/private/policy.yaml",
        "../deploy/default-policy.yaml",
        "../tests/fixtures/second-ceiling.yaml",
    ] {
        assert_eq!(problems(&example(name), None), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn the_long_prompt_is_the_one_that_its_run_names() {
    let run: AgentRun = serde_json::from_value(example("long-prompt/agentrun.yaml")).unwrap();
    let map = example("long-prompt/configmap.yaml");
    let named = run.spec.task.prompt_from.unwrap().config_map_key_ref;
    assert_eq!(map["metadata"]["name"], named.name);
    let prompt = map["data"][&named.key].as_str().unwrap();
    assert_eq!(named.digest, names::digest(prompt.as_bytes()));
}

#[test]
fn the_example_run_is_admitted_under_the_example_policies() {
    let admitted = decide_under(example("clustersandboxpolicy.yaml")).unwrap();
    assert_eq!(admitted.active_deadline_seconds, 1800);
}

#[test]
fn the_example_run_is_admitted_under_the_default_ceiling_once_that_consents_to_its_tunnel() {
    let default = "../deploy/default-policy.yaml";
    let refused = decide_under(example(default)).unwrap_err();
    assert_eq!(refused.rule.as_deref(), Some("limits.tunnels"));
    // As its comment says.
    let text = text(default).replace("# tunnels: Allow", "tunnels: Allow");
    let admitted = decide_under(serde_saphyr::from_str(&text).unwrap()).unwrap();
    assert_eq!(admitted.active_deadline_seconds, 1800);
}

/// What the example run gets under the example policy of its namespace and this one of its cluster.
fn decide_under(cluster_policy: Value) -> Result<Admitted, Refusal> {
    let run: AgentRun = serde_json::from_value(example("agentrun.yaml")).unwrap();
    let policy: SandboxPolicy = serde_json::from_value(example("sandboxpolicy.yaml")).unwrap();
    let cluster_policy: ClusterSandboxPolicy = serde_json::from_value(cluster_policy).unwrap();
    let namespace_labels = BTreeMap::from([("cofferdam.dev/sandbox".to_owned(), "enabled".to_owned())]);
    let admitted = decide(&Request {
        namespace_labels: &namespace_labels,
        run: &run,
        policy: Some(&policy),
        cluster_policies: &[cluster_policy],
        runtime_classes: &[gvisor()],
        reports: &NONE,
        credentials: &[],
    })?;
    assert_eq!(
        admitted.policies.len(),
        2,
        "the cluster policy's selector must match"
    );
    Ok(admitted)
}

/// Each profile of `deploy/profiles`, with a digest filled in, under a policy that does what its comment asks for.
#[test]
fn the_shipped_profiles_start_their_agents_once_policy_allows_them() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/profiles"));
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "aider.yaml",
            "claude-code.yaml",
            "codex.yaml",
            "gemini-cli.yaml",
            "opencode.yaml"
        ]
    );
    for name in names {
        let path = format!("../deploy/profiles/{name}");
        let offer = example(&path);
        assert_eq!(problems(&offer, None), Vec::<String>::new(), "{name}");
        let (text, profile) = (text(&path), name.trim_end_matches(".yaml"));
        let said = |before: &str, after: &str| {
            let (_, rest) = text
                .split_once(before)
                .unwrap_or_else(|| panic!("{name}: no {before}"));
            rest.split_once(after).unwrap().0.trim_end().to_owned()
        };
        let rules: Value = serde_saphyr::from_str(&said("#     rules: ", "\n")).unwrap();
        let inject: Value = serde_saphyr::from_str(&said("` has `inject: ", "` and")).unwrap();
        let placeholder: Value = serde_saphyr::from_str(&said("`placeholder: ", "`.\n")).unwrap();
        let (preset, key) = (
            rules[0]["preset"].as_str().unwrap(),
            rules[0]["credential"].as_str().unwrap(),
        );
        let host = match preset {
            "anthropic" => "api.anthropic.com",
            "openai" => "api.openai.com",
            _ => "generativelanguage.googleapis.com",
        };
        let credential = json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxCredential", "metadata": {"name": key}, "spec": {
            "type": "Secret", "secretName": key, "hosts": [host], "inject": inject, "placeholder": placeholder, "namespaceSelector": {}}});
        assert_eq!(problems(&credential, None), Vec::<String>::new(), "{name}");
        let policy = json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxPolicy", "metadata": {"name": "default", "namespace": "team-a"}, "spec": {
            "limits": {"runtime": {"runtimeClassNames": ["gvisor"]}, "images": {"mode": "AllowList", "allowed": ["registry.example.com/agents/*"]},
                "egress": {"mode": "AllowList", "rules": rules}}}});
        let run = json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": "fix", "namespace": "team-a"},
            "spec": {"agentProfile": profile, "task": {"prompt": "Fix it."}}});
        let labels = BTreeMap::from([
            ("cofferdam.dev/sandbox".to_owned(), "enabled".to_owned()),
            ("agents".to_owned(), "enabled".to_owned()),
        ]);
        let admitted = decide(&Request {
            namespace_labels: &labels,
            run: &serde_json::from_value(run).unwrap(),
            policy: Some(&serde_json::from_value(policy).unwrap()),
            cluster_policies: &[serde_json::from_value(offer).unwrap()],
            runtime_classes: &[gvisor()],
            reports: &NONE,
            credentials: &[serde_json::from_value(credential).unwrap()],
        })
        .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(admitted.profile.unwrap().profile.name, profile);
        assert!(
            admitted.agent.args.concat().contains("COFFERDAM_PROMPT_FILE"),
            "{name} reads the prompt"
        );
        let route = admitted.frozen.agent_route(&Host::parse(host).unwrap(), 443);
        assert!(route.is_allowed(), "{name} reaches {host}");
    }
}

#[test]
fn the_demo_reaches_its_model_and_nothing_else() {
    let run: AgentRun = serde_json::from_value(example("demo/agentrun.yaml")).unwrap();
    let policy: SandboxPolicy = serde_json::from_value(example("demo/policy.yaml")).unwrap();
    let namespace_labels = BTreeMap::from([("cofferdam.dev/sandbox".to_owned(), "enabled".to_owned())]);
    // Those of `make install`, under which `make demo` runs.
    let ceilings = [
        "../deploy/default-policy.yaml",
        "../tests/fixtures/second-ceiling.yaml",
    ];
    let ceilings: [ClusterSandboxPolicy; 2] =
        ceilings.map(|name| serde_json::from_value(example(name)).unwrap());
    let admitted = decide(&Request {
        namespace_labels: &namespace_labels,
        run: &run,
        policy: Some(&policy),
        cluster_policies: &ceilings,
        runtime_classes: &[gvisor()],
        reports: &NONE,
        credentials: &[],
    })
    .unwrap();
    assert_eq!(admitted.policies.len(), 3);
    for (host, port, allowed) in [
        ("model.internet.test", 443, true),
        ("model.internet.test", 80, false),
        ("denied.internet.test", 443, false),
        ("git.internet.test", 443, false),
    ] {
        let route = admitted.frozen.agent_route(&Host::parse(host).unwrap(), port);
        assert_eq!(route.is_allowed(), allowed, "{host}:{port}");
    }
    let forge = Host::parse("git.internet.test").unwrap();
    assert!(admitted.frozen.prepare_route(&forge, 443).is_allowed());
}

#[test]
fn the_private_demo_holds_no_key_and_gets_two() {
    let run: AgentRun = serde_json::from_value(example("demo/private/agentrun.yaml")).unwrap();
    let policy: SandboxPolicy = serde_json::from_value(example("demo/private/policy.yaml")).unwrap();
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/demo/private/credentials.yaml"
    ));
    let credentials: Vec<Value> = text
        .unwrap()
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect();
    for credential in &credentials {
        assert_eq!(problems(credential, None), Vec::<String>::new());
    }
    let credentials: Vec<SandboxCredential> = credentials
        .into_iter()
        .map(|credential| serde_json::from_value(credential).unwrap())
        .collect();
    let namespace_labels = BTreeMap::from([
        ("cofferdam.dev/sandbox".to_owned(), "enabled".to_owned()),
        ("kubernetes.io/metadata.name".to_owned(), "demo".to_owned()),
    ]);
    let admitted = decide(&Request {
        namespace_labels: &namespace_labels,
        run: &run,
        policy: Some(&policy),
        cluster_policies: &[],
        runtime_classes: &[gvisor()],
        reports: &NONE,
        credentials: &credentials,
    })
    .unwrap();
    let names: Vec<&str> = admitted
        .frozen
        .credentials()
        .iter()
        .map(|credential| credential.name.as_str())
        .collect();
    assert_eq!(names, ["demo-git", "demo-model"]);
    let forge = Host::parse("git.internet.test").unwrap();
    let route = admitted.frozen.prepare_route(&forge, 443).into_result().unwrap();
    assert_eq!(route.credentials(), ["demo-git"]);
}

/// The documents of a file of examples.
fn documents(name: &str) -> Vec<Value> {
    let text = text(name);
    let documents = text
        .split("\n---\n")
        .map(|one| serde_saphyr::from_str(one).unwrap());
    documents.collect()
}

#[test]
fn each_agent_gets_its_model_with_a_key_and_nothing_else() {
    let credentials: Vec<SandboxCredential> = documents("agents/credentials.yaml")
        .into_iter()
        .inspect(|one| assert_eq!(problems(one, None), Vec::<String>::new()))
        .map(|one| serde_json::from_value(one).unwrap())
        .collect();
    let namespace_labels = BTreeMap::from([
        ("cofferdam.dev/sandbox".to_owned(), "enabled".to_owned()),
        ("kubernetes.io/metadata.name".to_owned(), "agents".to_owned()),
    ]);
    let ceilings = [
        "../deploy/default-policy.yaml",
        "../tests/fixtures/second-ceiling.yaml",
    ];
    let ceilings: [ClusterSandboxPolicy; 2] =
        ceilings.map(|name| serde_json::from_value(example(name)).unwrap());
    for (agent, host) in [
        ("aider", "api.openai.com"),
        ("claude-code", "api.anthropic.com"),
        ("codex", "api.openai.com"),
        ("gemini-cli", "generativelanguage.googleapis.com"),
        ("mini-swe-agent", "api.openai.com"),
        ("opencode", "api.anthropic.com"),
        ("openhands", "api.anthropic.com"),
    ] {
        let documents = documents(&format!("agents/{agent}.yaml"));
        for document in &documents {
            assert_eq!(problems(document, None), Vec::<String>::new(), "{agent}");
        }
        let policy: SandboxPolicy = serde_json::from_value(documents[0].clone()).unwrap();
        let run: AgentRun = serde_json::from_value(documents[1].clone()).unwrap();
        let admitted = decide(&Request {
            namespace_labels: &namespace_labels,
            run: &run,
            policy: Some(&policy),
            cluster_policies: &ceilings,
            runtime_classes: &[gvisor()],
            reports: &NONE,
            credentials: &credentials,
        })
        .unwrap();
        assert_eq!(admitted.frozen.credentials().len(), 1, "{agent}");
        for known in [
            "api.anthropic.com",
            "api.openai.com",
            "generativelanguage.googleapis.com",
            "chatgpt.com",
        ] {
            let route = admitted.frozen.agent_route(&Host::parse(known).unwrap(), 443);
            assert_eq!(route.is_allowed(), known == host, "{agent}: {known}");
        }
    }
}
