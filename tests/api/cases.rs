//! One change to a good manifest each. The same tables go through kube's CEL here and through a real API server in the
//! end-to-end tests.

use serde_json::{Value, json};

use super::manifests::{prompt_digest, prompt_from, run, with, without};

/// Every run of [`refused_runs`] with what its refusal says.
pub fn refused_run_manifests() -> Vec<(Value, &'static str)> {
    let change = |(pointer, value, message): (&str, Value, &'static str)| {
        // The good run's request would be above some of these limits, and a second rule would speak.
        let good = if pointer.ends_with("/limits") {
            without(&run(), "/spec/resources/requests")
        } else {
            run()
        };
        (with(&good, pointer, value), message)
    };
    refused_runs().into_iter().map(change).collect()
}

/// A field of a run, a value that it must not have, and what the refusal says.
fn refused_runs() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/metadata/name",
            json!("fix.login"),
            "metadata.name must be a DNS label",
        ),
        (
            "/metadata/name",
            json!("a".repeat(64)),
            "metadata.name must be a DNS label of at most 63 characters",
        ),
        (
            "/spec/policyRef/name",
            json!("My.Policy"),
            "policyRef.name must be a DNS label",
        ),
        (
            "/spec/task",
            json!({}),
            "exactly one of prompt and promptFrom must be given",
        ),
        (
            "/spec/task",
            json!({"prompt": "x", "promptFrom": prompt_from("a", "b", &prompt_digest())["promptFrom"]}),
            "exactly one of prompt and promptFrom",
        ),
        (
            "/spec/task",
            prompt_from("A_b", "b", &prompt_digest()),
            "configMapKeyRef.name must be a DNS name",
        ),
        (
            "/spec/task",
            prompt_from("a", "a/b", &prompt_digest()),
            "configMapKeyRef.key must be a key of the ConfigMap",
        ),
        (
            "/spec/task",
            prompt_from("a", "b", &prompt_digest().replace('a', "A")),
            "configMapKeyRef.digest must be sha256:",
        ),
        (
            "/spec/task",
            prompt_from("a", "b", &prompt_digest().replace("256", "512")),
            "configMapKeyRef.digest must be sha256:",
        ),
        (
            "/spec/agent/image",
            json!("ghcr.io/Team/agent"),
            "image must be registry/repository:tag",
        ),
        (
            "/spec/agent/image",
            json!("ghcr.io/team/agent:"),
            "image must be registry/repository:tag",
        ),
        (
            "/spec/agent/image",
            json!("ghcr.io/team/agent@sha256:abc"),
            "image must be registry/repository:tag",
        ),
        (
            "/spec/agent/image",
            json!("ghcr.io/team/*"),
            "image must be registry/repository:tag",
        ),
        (
            "/spec/agent/image",
            json!("ghcr.io//agent"),
            "image must be registry/repository:tag",
        ),
        (
            "/spec/agent/env/0/name",
            json!("1A"),
            "name must consist of letters, digits and '_'",
        ),
        (
            "/spec/agent/env/0/name",
            json!("A-B"),
            "name must consist of letters, digits and '_'",
        ),
        (
            "/spec/agent/env/0/name",
            json!("A=B"),
            "name must consist of letters, digits and '_'",
        ),
        (
            "/spec/agent/env/0/name",
            json!("HOME"),
            "name is one that the sandbox sets itself",
        ),
        (
            "/spec/agent/env/0/name",
            json!("https_proxy"),
            "name is one that the sandbox sets itself",
        ),
        (
            "/spec/agent/env/0/name",
            json!("NO_PROXY"),
            "name is one that the sandbox sets itself",
        ),
        (
            "/spec/agent/env/0/name",
            json!("SSL_CERT_FILE"),
            "name is one that the sandbox sets itself",
        ),
        (
            "/spec/agent/env/0/name",
            json!("COFFERDAM_ANYTHING"),
            "name is one that the sandbox sets itself",
        ),
        (
            "/spec/repositories/0/name",
            json!("App"),
            "repositories[].name must be a DNS label",
        ),
        (
            "/spec/repositories/0/path",
            json!("../up"),
            "repositories[].path must be a DNS label",
        ),
        (
            "/spec/repositories/0/path",
            json!("a/b"),
            "repositories[].path must be a DNS label",
        ),
        (
            "/spec/repositories/0/path",
            json!("manual"),
            "each of repositories needs a directory of its own",
        ),
        (
            "/spec/repositories/1/path",
            json!("app"),
            "each of repositories needs a directory of its own",
        ),
        (
            "/spec/repositories/0/url",
            json!("git@github.com:team-a/app.git"),
            "url must start with https://",
        ),
        (
            "/spec/repositories/0/url",
            json!("http://github.com/team-a/app"),
            "url must start with https://",
        ),
        (
            "/spec/repositories/0/url",
            json!("https://user:word@github.com/team-a/app"),
            "url must not carry user information",
        ),
        (
            "/spec/repositories/0/url",
            json!("https://github.com"),
            "url must be https://host[:port]/path",
        ),
        (
            "/spec/repositories/0/url",
            json!("https://github.com/team%2fa"),
            "url must be https://host[:port]/path",
        ),
        (
            "/spec/repositories/0/url",
            json!("https://github.com/team?x"),
            "url must be https://host[:port]/path",
        ),
        (
            "/spec/repositories/0/url",
            json!("https://github.com:0/team"),
            "url must be https://host[:port]/path",
        ),
        (
            "/spec/repositories/0/ref",
            json!("--upload-pack=id"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a..b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("HEAD@{1}"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a:b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("-x"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a~1"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("v1^{}"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a*"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a[b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a\\b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a\nb"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a\u{202e}b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a\u{a0}b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a//b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("/a"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a/"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!(".a"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a/.b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a."),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a.lock"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a.lock/b"),
            "ref must be HEAD, a branch, a tag",
        ),
        (
            "/spec/repositories/0/ref",
            json!("a".repeat(64)),
            "ref must not be the id of a SHA-256 object",
        ),
        (
            "/spec/repositories/0/url",
            json!("https://github.com/team%5capp"),
            "url must be https://host[:port]/path",
        ),
        (
            "/spec/repositories/0/url",
            json!("https://github.com/team%252f"),
            "url must be https://host[:port]/path",
        ),
        (
            "/spec/repositories/0/url",
            json!("https://github.com/team%1"),
            "url must be https://host[:port]/path",
        ),
        (
            "/spec/repositories/0/exclude",
            json!({"mode": "Extend", "patterns": ["# no pattern"]}),
            "every item of patterns must be a pattern",
        ),
        (
            "/spec/repositories/0/exclude",
            json!({"mode": "Extend", "patterns": [" "]}),
            "every item of patterns must be a pattern",
        ),
        (
            "/spec/repositories/0/exclude",
            json!({"mode": "Replace", "patterns": ["a\nb"]}),
            "every item of patterns must be a pattern",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["/src"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["src/"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["a//b"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["."]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["../x"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["a/../b"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["a/*"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["!a"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["#a"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["a[b"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["a\\b"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["a\nb"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["a\u{202e}b"]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/repositories/1/clone",
            json!({"sparse": ["a "]}),
            "every item of sparse must be a directory",
        ),
        (
            "/spec/resources/limits",
            json!({"nvidia.com/gpu": "1"}),
            "only cpu, memory and ephemeral-storage",
        ),
        (
            "/spec/resources/requests",
            json!({"hugepages-2Mi": "1"}),
            "only cpu, memory and ephemeral-storage",
        ),
        (
            "/spec/resources/limits",
            json!({"cpu": "0"}),
            "every amount must be a quantity of more than zero",
        ),
        (
            "/spec/resources/limits",
            json!({"memory": "-1Gi"}),
            "every amount must be a quantity of more than zero",
        ),
        (
            "/spec/resources/limits",
            json!({"memory": "512m"}),
            "memory and ephemeral-storage must be at least 1Mi",
        ),
        (
            "/spec/resources/limits",
            json!({"ephemeral-storage": "512"}),
            "memory and ephemeral-storage must be at least 1Mi",
        ),
        (
            "/spec/resources/limits",
            json!({"memory": "much"}),
            "every amount must be a quantity of more than zero",
        ),
        (
            "/spec/resources/requests",
            json!({"cpu": "3"}),
            "requests must not be above limits",
        ),
        (
            "/spec/egress",
            json!({"mode": "AllowList"}),
            "mode AllowList needs at least one item in rules",
        ),
        (
            "/spec/egress",
            json!({"mode": "AllowList", "rules": []}),
            "mode AllowList needs at least one item in rules",
        ),
        (
            "/spec/egress",
            json!({"mode": "DenyAll", "rules": [{"name": "a", "hosts": ["a.b"]}]}),
            "mode DenyAll allows nothing, so rules must be left out",
        ),
        (
            "/spec/egress/rules/0/name",
            json!("A"),
            "name of a rule must be a DNS label",
        ),
        (
            "/spec/egress/rules/0/hosts/0",
            json!("API.example.com"),
            "every item of hosts must be a full host name in lower case",
        ),
        (
            "/spec/egress/rules/0/hosts/0",
            json!("203.0.113.7"),
            "hosts must not be IP addresses",
        ),
        (
            "/spec/egress/rules/0/hosts/0",
            json!("*.com"),
            "nor cover a whole top-level domain",
        ),
        (
            "/spec/schedulingProfileName",
            json!("Batch"),
            "schedulingProfileName must be a DNS label",
        ),
        (
            "/spec/onBehalfOf",
            json!("zoe\nroot"),
            "onBehalfOf must be one line without control characters or invisible ones",
        ),
        (
            "/spec/onBehalfOf",
            json!("zoe\u{1b}[31m"),
            "onBehalfOf must be one line",
        ),
        (
            "/spec/onBehalfOf",
            json!("zoe\u{85}root"),
            "onBehalfOf must be one line",
        ),
        (
            "/spec/onBehalfOf",
            json!("\u{202e}eoz"),
            "onBehalfOf must be one line",
        ),
        (
            "/spec/onBehalfOf",
            json!("zo\u{2067}e"),
            "onBehalfOf must be one line",
        ),
        (
            "/spec/onBehalfOf",
            json!("zo\u{200b}e"),
            "onBehalfOf must be one line",
        ),
        (
            "/spec/onBehalfOf",
            json!("zoe\u{2028}root"),
            "onBehalfOf must be one line",
        ),
    ]
}

/// A field of a run, and a value that it may have.
pub fn accepted_runs() -> Vec<(&'static str, Value)> {
    vec![
        ("/spec/task", prompt_from("a.b", "prompt.md", &prompt_digest())),
        ("/spec/agent/image", json!("agent")),
        ("/spec/agent/image", json!("localhost:5000/agent")),
        (
            "/spec/agent/image",
            json!(format!("ghcr.io/team/sub/agent__x:V1@sha256:{}", "a".repeat(64))),
        ),
        ("/spec/agent/env/0/name", json!("_HOME")),
        ("/spec/agent/env/0/name", json!("HOME_2")),
        ("/spec/repositories/0/ref", json!("refs/heads/feature/x+y@2")),
        (
            "/spec/repositories/0/ref",
            json!("0123456789abcdef0123456789abcdef01234567"),
        ),
        (
            "/spec/repositories/0/url",
            json!("https://git.example.com/a/b/c.git/"),
        ),
        (
            "/spec/resources/limits",
            json!({"cpu": "500m", "memory": "1.5Gi", "ephemeral-storage": "1e9"}),
        ),
        ("/spec/egress", json!({"mode": "DenyAll"})),
        ("/spec/egress/rules/0/hosts", json!(["*.a.example"])),
        ("/spec/schedulingProfileName", json!("default")),
        (
            "/spec/onBehalfOf",
            json!("Zoë Ng <zoe@example.com>, 佐藤 / नीना 👩"),
        ),
        ("/spec/suspend", json!(true)),
        ("/spec/cancel", json!("DiscardWork")),
    ]
}

/// A field of a policy of either kind, a value that it must not have, and what the refusal says.
pub fn refused_policies() -> Vec<(&'static str, Value, &'static str)> {
    let limits = vec![
        (
            "/metadata/name",
            json!("a.b"),
            "metadata.name must be a DNS label",
        ),
        (
            "/spec/limits/runtime/runtimeClassNames",
            json!(["gVisor"]),
            "every item of runtimeClassNames must be a DNS name",
        ),
        (
            "/spec/limits/images",
            json!({"mode": "AllowList"}),
            "mode AllowList needs at least one item in allowed",
        ),
        (
            "/spec/limits/images",
            json!({"mode": "AllowList", "allowed": []}),
            "mode AllowList needs at least one item in allowed",
        ),
        (
            "/spec/limits/images",
            json!({"mode": "DenyAll", "allowed": ["a.b/c"]}),
            "mode DenyAll allows nothing, so allowed must be left out",
        ),
        (
            "/spec/limits/images/allowed/0",
            json!("**"),
            "every item of allowed must be registry/repository",
        ),
        (
            "/spec/limits/images/allowed/0",
            json!("*/app"),
            "every item of allowed must be registry/repository",
        ),
        (
            "/spec/limits/images/allowed/0",
            json!("ghcr.io/team*"),
            "every item of allowed must be registry/repository",
        ),
        (
            "/spec/limits/images/allowed/0",
            json!("ghcr.io/**/app"),
            "every item of allowed must be registry/repository",
        ),
        (
            "/spec/limits/images/allowed/0",
            json!("ghcr.io"),
            "an item of allowed is a registry alone",
        ),
        (
            "/spec/limits/images/allowed/0",
            json!("registry.example.com:5000"),
            "an item of allowed is a registry alone",
        ),
        (
            "/spec/limits/images/allowed/0",
            json!("ghcr.io/Team/app"),
            "every item of allowed must be registry/repository",
        ),
        (
            "/spec/limits/repositories",
            json!({"mode": "AllowList"}),
            "mode AllowList needs at least one item in clone",
        ),
        (
            "/spec/limits/repositories",
            json!({"mode": "DenyAll", "clone": [{"name": "a", "url": "https://a.b/c"}]}),
            "mode DenyAll allows nothing, so clone must be left out",
        ),
        (
            "/spec/limits/repositories/clone/0/name",
            json!("A"),
            "name of a rule must be a DNS label",
        ),
        (
            "/spec/limits/repositories/clone/0/url",
            json!("https://*.example.com/a"),
            "url must be https://host[:port]/path with '*'",
        ),
        (
            "/spec/limits/repositories/clone/0/url",
            json!("https://github.com"),
            "url must be https://host[:port]/path with '*'",
        ),
        (
            "/spec/limits/repositories/clone/0/url",
            json!("https://github.com/a*"),
            "url must be https://host[:port]/path with '*'",
        ),
        (
            "/spec/limits/repositories/clone/0/url",
            json!("https://github.com/**/a"),
            "url must be https://host[:port]/path with '*'",
        ),
        (
            "/spec/limits/repositories/clone/0/url",
            json!("git@github.com:a/*"),
            "url must be https://host[:port]/path with '*'",
        ),
        (
            "/spec/limits/repositories/clone/1/addresses/0",
            json!("10.0.0.1"),
            "every item of addresses must be a CIDR",
        ),
        (
            "/spec/limits/repositories/clone/1/addresses/0",
            json!("10.0.0.0/33"),
            "every item of addresses must be a CIDR",
        ),
        (
            "/spec/limits/egress",
            json!({"mode": "AllowList"}),
            "mode AllowList needs at least one item in rules",
        ),
        (
            "/spec/limits/egress",
            json!({"mode": "DenyAll", "rules": [{"name": "a", "hosts": ["a.b"], "tls": "Tunnel"}]}),
            "mode DenyAll allows nothing, so rules must be left out",
        ),
        (
            "/spec/limits/egress/rules/0/name",
            json!("a b"),
            "name of a rule must be a DNS label",
        ),
        (
            "/spec/limits/egress/rules/0/hosts/0",
            json!("API.example.com"),
            "every item of hosts must be a full host name in lower case",
        ),
        (
            "/spec/limits/egress/rules/0/hosts/0",
            json!("localhost"),
            "every item of hosts must be a full host name in lower case",
        ),
        (
            "/spec/limits/egress/rules/0/hosts/0",
            json!("api.example.com."),
            "every item of hosts must be a full host name in lower case",
        ),
        (
            "/spec/limits/egress/rules/0/hosts/0",
            json!("https://api.example.com"),
            "every item of hosts must be a full host name in lower case",
        ),
        (
            "/spec/limits/egress/rules/0/hosts/0",
            json!("a.*.example.com"),
            "every item of hosts must be a full host name in lower case",
        ),
        (
            "/spec/limits/egress/rules/0/hosts/0",
            json!("203.0.113.7"),
            "hosts must not be IP addresses",
        ),
        (
            "/spec/limits/egress/rules/0/hosts/0",
            json!("a.0x7f"),
            "hosts must not be IP addresses",
        ),
        (
            "/spec/limits/egress/rules/0/hosts/0",
            json!("*.com"),
            "nor cover a whole top-level domain",
        ),
        (
            "/spec/limits/egress/rules/1/addresses/0",
            json!("private"),
            "every item of addresses must be a CIDR",
        ),
        (
            "/spec/limits/maxResources",
            json!({"gpu": "1"}),
            "only cpu, memory and ephemeral-storage",
        ),
        (
            "/spec/limits/maxResources",
            json!({"cpu": "0"}),
            "every amount must be a quantity of more than zero",
        ),
        (
            "/spec/limits/maxResources",
            json!({"memory": "8000m"}),
            "memory and ephemeral-storage must be at least 1Mi",
        ),
    ];
    [limits, refused_requests()].concat()
}

/// The same of what rules say of requests.
fn refused_requests() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/spec/limits/egress/rules/2/methods",
            json!(["get"]),
            "every item of methods must be a method in capitals",
        ),
        (
            "/spec/limits/egress/rules/2/methods",
            json!(["TRACE"]),
            "CONNECT, TRACE, TRACK and PRI are never served",
        ),
        (
            "/spec/limits/egress/rules/2/paths/0",
            json!("repos/**"),
            "every item of paths must be a path",
        ),
        (
            "/spec/limits/egress/rules/2/paths/0",
            json!("/a/../b"),
            "no '//', '.', '..'",
        ),
        (
            "/spec/limits/egress/rules/2/paths/0",
            json!("/a//b"),
            "no '//', '.', '..'",
        ),
        (
            "/spec/limits/egress/rules/2/paths/0",
            json!("/a;b"),
            "no '//', '.', '..', ';'",
        ),
        (
            "/spec/limits/egress/rules/2/paths/0",
            json!("/a%2Eb"),
            "none of them percent-encoded",
        ),
        (
            "/spec/limits/egress/rules/2/paths/0",
            json!("/a*"),
            "'*' for one, '**' at the end only",
        ),
        (
            "/spec/limits/egress/rules/2/paths/0",
            json!("/**/a"),
            "'*' for one, '**' at the end only",
        ),
        (
            "/spec/limits/egress/rules/0",
            json!({"name": "a"}),
            "a rule has either hosts or a preset",
        ),
        (
            "/spec/limits/egress/rules/3/hosts",
            json!(["registry.npmjs.org"]),
            "a rule has either hosts or a preset",
        ),
        (
            "/spec/limits/egress/rules/4/hosts",
            json!(["api.example.com"]),
            "a rule has either hosts or a preset",
        ),
        (
            "/spec/limits/egress/rules/4/ports",
            json!([4000]),
            "a Service has its port and its address",
        ),
        (
            "/spec/limits/egress/rules/4/addresses",
            json!(["10.0.0.0/8"]),
            "a Service has its port and its address",
        ),
        (
            "/spec/limits/egress/rules/4/tls",
            json!("Tunnel"),
            "tls: Tunnel passes bytes unread, so methods and paths cannot be told",
        ),
        (
            "/spec/limits/egress/rules/4",
            json!({"name": "a", "services": [{"namespace": "a", "name": "b", "port": 1}], "tls": "Tunnel"}),
            "requests to services are always read",
        ),
        (
            "/spec/limits/egress/rules/4",
            json!({"name": "a", "services": [{"namespace": "a", "name": "b", "port": 1}], "preset": "npm"}),
            "a rule with services can have the presets anthropic, gemini and openai",
        ),
        (
            "/spec/limits/egress/rules/4/services/0",
            json!({"namespace": "default", "name": "kubernetes", "port": 443}),
            "services must not name default/kubernetes",
        ),
        (
            "/spec/limits/egress/rules/4/services/0/name",
            json!("litellm.models"),
            "name of a Service must be a DNS label",
        ),
        (
            "/spec/limits/egress/rules/4/services/0/namespace",
            json!("*"),
            "namespace of a Service must be a DNS label",
        ),
        (
            "/spec/limits/egress/rules/4/paths",
            json!([]),
            "a rule with a credential must list methods and paths",
        ),
        (
            "/spec/limits/egress/rules/2/credentialInClearText",
            json!("Deny"),
            "credentialInClearText is for the credential of a rule with services",
        ),
        (
            "/spec/limits/egress/rules/3/methods",
            json!(["PUT"]),
            "a preset has ports, methods and paths of its own",
        ),
        (
            "/spec/limits/egress/rules/3/paths",
            json!(["/**"]),
            "a preset has ports, methods and paths of its own",
        ),
        (
            "/spec/limits/egress/rules/3/ports",
            json!([443, 8443]),
            "a preset has ports, methods and paths of its own",
        ),
        (
            "/spec/limits/egress/rules/3/tls",
            json!("Tunnel"),
            "a preset has ports, methods and paths of its own",
        ),
        (
            "/spec/limits/egress/rules/0/methods",
            json!(["GET"]),
            "tls: Tunnel passes bytes unread, so methods and paths cannot be told",
        ),
        (
            "/spec/limits/egress/rules/0/paths",
            json!(["/a"]),
            "tls: Tunnel passes bytes unread, so methods and paths cannot be told",
        ),
        (
            "/spec/limits/egress/rules/2/credential",
            json!("My.Key"),
            "credential must be a DNS label",
        ),
        (
            "/spec/limits/egress/rules/0/credential",
            json!("model"),
            "a rule with a credential must list methods and paths",
        ),
        (
            "/spec/limits/egress/rules/2",
            json!({"name": "wide", "hosts": ["*.example.com"], "methods": ["GET"], "paths": ["/a"], "credential": "model"}),
            "a rule with a credential must name its hosts in full",
        ),
    ]
}

/// A field of a policy of either kind, and a value that it may have.
pub fn accepted_policies() -> Vec<(&'static str, Value)> {
    vec![
        ("/spec/limits/images", json!({"mode": "DenyAll"})),
        ("/spec/limits/egress/rules/2/credential", json!("model")),
        ("/spec/limits/images", json!({"mode": "DenyAll", "allowed": []})),
        ("/spec/limits/images/allowed/0", json!("docker.io/**")),
        ("/spec/limits/images/allowed/0", json!("nginx")),
        ("/spec/limits/images/allowed/0", json!("localhost/app")),
        ("/spec/limits/maxResources", json!({"cpu": "1m", "memory": "1Mi"})),
        (
            "/spec/limits/images/allowed/0",
            json!(format!("ghcr.io/a/b@sha256:{}", "0".repeat(64))),
        ),
        ("/spec/limits/repositories", json!({"mode": "DenyAll"})),
        (
            "/spec/limits/repositories/clone/0/url",
            json!("https://github.com/**"),
        ),
        ("/spec/limits/egress", json!({"mode": "DenyAll"})),
        ("/spec/limits/egress/rules/0/hosts/0", json!("*.a.example")),
        (
            "/spec/limits/egress/rules/0/hosts/0",
            json!("xn--bcher-kva.example"),
        ),
        ("/spec/limits/egress/rules/0/tls", json!("Inspect")),
        (
            "/spec/limits/egress/rules/0",
            json!({"name": "model", "hosts": ["api.example.com"], "methods": ["GET"], "paths": ["/a"]}),
        ),
        ("/spec/limits/egress/rules/0/methods", json!([])),
        (
            "/spec/limits/egress/rules/2/methods",
            json!(["PROPFIND", "VERSION-CONTROL"]),
        ),
        (
            "/spec/limits/egress/rules/2/paths",
            json!([
                "/",
                "/**",
                "/a/",
                "/@scope%2Fname",
                "/a/*/c?x=/y&z",
                "/a?",
                "/~u/%C3%A4.tgz",
                "/v1/models:list",
                "/@scope%2F*",
                "/*%2f*%2F*/-/*"
            ]),
        ),
        ("/spec/limits/egress/rules/3/preset", json!("git")),
        (
            "/spec/limits/egress/rules/4",
            json!({"name": "a", "services": [{"namespace": "a", "name": "b", "port": 1}], "preset": "openai"}),
        ),
        (
            "/spec/limits/egress/rules/4/services",
            json!([{"namespace": "default", "name": "proxy", "port": 65535}, {"namespace": "models", "name": "kubernetes", "port": 1}]),
        ),
        ("/spec/limits/egress/rules/3/ports", json!([443])),
    ]
}

/// A field that only a `SandboxPolicy` has, a value that it must not have, and what the refusal says.
pub fn refused_own_fields() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/spec/schedulingProfiles/0/name",
            json!("Batch"),
            "schedulingProfiles[].name must be a DNS label",
        ),
        (
            "/spec/schedulingProfiles/0/priorityClassName",
            json!("Low"),
            "priorityClassName must be a DNS name",
        ),
        (
            "/spec/schedulingProfiles/0/queueName",
            json!("a.b"),
            "queueName must be a DNS label",
        ),
        (
            "/spec/agentProfiles/0/name",
            json!("Claude"),
            "agentProfiles[].name must be a DNS label",
        ),
        (
            "/spec/agentProfiles/0/image",
            json!("ghcr.io/team-a/agent:1"),
            "image of a profile must be named by its digest",
        ),
        (
            "/spec/agentProfiles/0/env/0/name",
            json!("HTTPS_PROXY"),
            "name is one that the sandbox sets itself",
        ),
        (
            "/spec/agentProfiles/0/egress/mode",
            json!("DenyAll"),
            "mode DenyAll allows nothing",
        ),
        (
            "/spec/agentProfiles/0/description",
            json!("two\nlines"),
            "description must be one line",
        ),
        (
            "/spec/imagePullSecrets/0/name",
            json!("a/b"),
            "imagePullSecrets[].name must be a DNS name",
        ),
        (
            "/spec/limits/egress/rules/4/credentialInClearText",
            json!("Allow"),
            "credentialInClearText: Allow counts from a ClusterSandboxPolicy alone",
        ),
        (
            "/spec/limits/tunnels",
            json!("Allow"),
            "limits.tunnels: Allow counts from a ClusterSandboxPolicy alone",
        ),
        (
            "/spec/limits/evidence/onSinkFailure",
            json!("Continue"),
            "limits.evidence.onSinkFailure: Continue counts from a ClusterSandboxPolicy alone",
        ),
    ]
}

/// A field that only a `SandboxPolicy` has, and a value that it may have.
pub fn accepted_own_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("/spec/schedulingProfiles", json!([])),
        ("/spec/schedulingProfiles", json!([{"name": "a"}])),
        (
            "/spec/schedulingProfiles/0/tolerations",
            json!([{"operator": "Exists"}]),
        ),
        ("/spec/schedulingProfiles/0/affinity", json!({})),
        (
            "/spec/schedulingProfiles/0/topologySpreadConstraints/0",
            json!({"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}),
        ),
        ("/spec/imagePullSecrets", json!([])),
        ("/spec/agentProfiles", json!([])),
        ("/spec/limits/tunnels", json!("Deny")),
        ("/spec/limits/evidence", json!({})),
        ("/spec/limits/evidence/onSinkFailure", json!("Stop")),
    ]
}
