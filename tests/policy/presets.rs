//! What presets let out of real clients' requests, and what of them stays closed.

use std::collections::BTreeSet;

use cofferdam_api::{Preset, SandboxPolicy, TlsMode};
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::pattern::path::Target;
use cofferdam_policy::preset::data::PRESETS;
use cofferdam_policy::preset::{entry, name, page};
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixtures::World;

/// A world whose one rule for egress is this preset.
fn of(preset: &str) -> World {
    World::admitting()
        .policy(
            "egress",
            json!({"mode": "AllowList", "rules": [{"name": "known", "preset": preset}]}),
        )
        .policy(
            "repositories",
            json!({"mode": "AllowList", "clone": [
                {"name": "app", "url": "https://github.com/team-a/app"},
                {"name": "tools", "url": "https://github.com/tools/**"},
                {"name": "inside", "url": "https://github.com/*/lib", "addresses": ["10.1.0.0/16"]},
            ]}),
        )
        .cluster("egress", Value::Null)
}

/// What becomes of `METHOD host[:port]/path`.
fn asked(world: &World, request: &str) -> bool {
    let (method, url) = request.split_once(' ').unwrap();
    let (authority, path) = url.split_at(url.find('/').unwrap());
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().unwrap()),
        None => (authority, 443),
    };
    let frozen = world.decide().unwrap().frozen;
    let Ok(route) = frozen.agent_route(&host.parse().unwrap(), port).into_result() else {
        return false;
    };
    assert_eq!(route.tls(), TlsMode::Inspect, "{request}");
    let request = Request {
        method: method.parse().unwrap(),
        target: Target::parse(path).unwrap(),
    };
    route.permit(request).is_allowed()
}

#[rstest]
#[case::anthropic("anthropic", &[
    "POST api.anthropic.com/v1/messages?beta=true",
    "POST api.anthropic.com/v1/messages/count_tokens?beta=true",
    "GET api.anthropic.com/v1/models?limit=20",
])]
#[case::crates("crates", &[
    "GET index.crates.io/config.json",
    "GET index.crates.io/1/a",
    "GET index.crates.io/3/s/syn",
    "GET index.crates.io/se/rd/serde",
    "GET static.crates.io/crates/serde/1.0.219/download",
])]
#[case::debian("debian", &[
    "GET deb.debian.org:80/debian/dists/bookworm/InRelease",
    "GET deb.debian.org/debian/pool/main/c/curl/curl_7.88.1-10%2bdeb12u5_amd64.deb",
    "GET security.debian.org:80/debian-security/dists/bookworm-security/InRelease",
])]
#[case::gemini("gemini", &[
    "POST generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    "POST generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:countTokens",
    "GET generativelanguage.googleapis.com/v1beta/models",
])]
#[case::git("git", &[
    "GET github.com/team-a/app/info/refs?service=git-upload-pack",
    "GET github.com/team-a/app.git/info/refs?service=git-upload-pack",
    "POST github.com/team-a/app.git/git-upload-pack",
    "GET github.com/tools/a/info/refs?service=git-upload-pack",
    "POST github.com/tools/a/b/c/d.git/git-upload-pack",
    "POST github.com/anyone/lib/git-upload-pack",
])]
#[case::github("github", &[
    "GET github.com/rust-lang/rust.git/info/refs?service=git-upload-pack",
    "POST github.com/rust-lang/rust.git/git-upload-pack",
    "GET github.com/o/r/releases/download/v1/tool-x86_64.tar.gz",
    "GET codeload.github.com/o/r/tar.gz/refs/heads/main",
    "GET raw.githubusercontent.com/o/r/main/README.md",
    "GET api.github.com/repos/o/r/releases/latest",
])]
#[case::gitlab("gitlab", &[
    "GET gitlab.com/g/p.git/info/refs?service=git-upload-pack",
    "POST gitlab.com/g/s/p.git/git-upload-pack",
    "GET gitlab.com/api/v4/projects/g%2Fp/repository/tree?ref=main",
    "GET gitlab.com/g/p/-/archive/main/p-main.tar.gz",
])]
#[case::go("go", &[
    "GET proxy.golang.org/github.com/!burnt!sushi/toml/@v/list",
    "GET proxy.golang.org/golang.org/x/net/@v/v0.30.0.zip",
    "GET sum.golang.org/lookup/golang.org/x/net@v0.30.0",
    "GET sum.golang.org/tile/8/0/x001/234",
])]
#[case::maven("maven", &[
    "GET repo.maven.apache.org/maven2/org/slf4j/slf4j-api/maven-metadata.xml",
    "HEAD repo1.maven.org/maven2/org/slf4j/slf4j-api/2.0.16/slf4j-api-2.0.16.jar",
])]
#[case::npm("npm", &[
    "GET registry.npmjs.org/left-pad",
    "GET registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz",
    "GET registry.npmjs.org/@babel%2fcore",
    "GET registry.npmjs.org/@babel%2Fcore",
    "GET registry.npmjs.org/@babel/core/-/core-7.26.0.tgz",
    "GET registry.npmjs.org/left-pad/latest",
    "GET registry.yarnpkg.com/left-pad",
])]
#[case::openai("openai", &[
    "POST api.openai.com/v1/responses",
    "POST api.openai.com/v1/chat/completions",
    "GET api.openai.com/v1/models",
])]
#[case::pypi("pypi", &[
    "GET pypi.org/simple/requests/",
    "GET pypi.org/simple/requests",
    "GET pypi.org/pypi/aider-chat/json",
    "GET files.pythonhosted.org/packages/ab/cd/0123/requests-2.32.0-py3-none-any.whl",
])]
fn what_clients_of_a_preset_read_gets_out(#[case] preset: &str, #[case] requests: &[&str]) {
    let world = of(preset);
    for request in requests {
        assert!(asked(&world, request), "{request}");
    }
}

#[rstest]
#[case::anthropic("anthropic", &[
    "GET api.anthropic.com/v1/messages",
    "POST api.anthropic.com/api/event_logging/v2/batch",
    "POST api.anthropic.com/v1/files",
    "POST api.anthropic.com/v1/messages/batches",
    "POST api.anthropic.com/v1/organizations/api_keys",
])]
#[case::crates("crates", &["PUT crates.io/api/v1/crates/new", "GET crates.io/api/v1/crates?q=secret", "PUT static.crates.io/crates/a/b"])]
#[case::debian("debian", &["GET deb.debian.org/ubuntu/dists", "PUT deb.debian.org/debian/a", "GET ftp.debian.org/debian/a"])]
#[case::gemini("gemini", &[
    "POST generativelanguage.googleapis.com/upload/v1beta/files",
    "POST generativelanguage.googleapis.com/v1beta/cachedContents",
    "DELETE generativelanguage.googleapis.com/v1beta/models/x",
])]
#[case::git("git", &[
    "GET github.com/team-a/app/info/refs?service=git-receive-pack",
    "GET github.com/team-a/app/info/refs?service=git-upload-pack&service=git-receive-pack",
    "GET github.com/team-a/app/info/refs",
    "POST github.com/team-a/app/git-receive-pack",
    "POST github.com/team-a/app.git/git-receive-pack",
    "POST github.com/tools/git-receive-pack",
    "POST github.com/tools/a/git-receive-pack",
    "GET github.com/team-a/other/info/refs?service=git-upload-pack",
    "POST github.com/team-a/other/git-upload-pack",
    "POST github.com/tools/a/b/c/d/e/git-upload-pack",
    "POST github.com/team-a/app.git/info/lfs/objects/batch",
    "GET api.github.com/repos/team-a/app",
])]
#[case::github("github", &[
    "GET github.com/o/r/info/refs?service=git-receive-pack",
    "POST github.com/o/r/git-receive-pack",
    "POST api.github.com/repos/o/r/issues",
    "PUT api.github.com/repos/o/r/contents/x",
    "POST api.github.com/gists",
    "GET api.github.com/search/code?q=secret",
    "POST api.github.com/graphql",
    "POST github.com/login/oauth/access_token",
    "POST uploads.github.com/repos/o/r/releases/1/assets",
])]
#[case::gitlab("gitlab", &[
    "POST gitlab.com/g/p.git/git-receive-pack",
    "POST gitlab.com/api/v4/projects/g%2Fp/issues",
    "POST gitlab.com/api/v4/snippets",
    "GET gitlab.com/api/v4/projects/1/variables",
    "POST gitlab.com/oauth/token",
])]
#[case::go("go", &["POST proxy.golang.org/a/@v/list", "GET golang.org/x/net?go-get=1", "GET sum.golang.org/anything"])]
#[case::maven("maven", &["PUT repo1.maven.org/maven2/a", "POST central.sonatype.com/api/v1/publisher/upload", "GET repo1.maven.org/other"])]
#[case::npm("npm", &[
    "PUT registry.npmjs.org/left-pad",
    "PUT registry.npmjs.org/@evil%2fpkg",
    "PUT registry.npmjs.org/-/user/org.couchdb.user:a",
    "POST registry.npmjs.org/-/v1/login",
    "POST registry.npmjs.org/-/npm/v1/security/audits/quick",
    "GET registry.npmjs.org/-/v1/search?text=secret",
    "GET registry.npmjs.org/-/npm/v1/tokens",
    "DELETE registry.npmjs.org/left-pad/-rev/1",
])]
#[case::openai("openai", &[
    "POST api.openai.com/v1/files",
    "POST api.openai.com/v1/batches",
    "GET api.openai.com/v1/responses/resp_1",
    "POST api.openai.com/v1/realtime/client_secrets",
    "GET api.openai.com/v1/responses",
])]
#[case::pypi("pypi", &[
    "POST upload.pypi.org/legacy/",
    "GET pypi.org/search/?q=secret",
    "POST pypi.org/account/login/",
    "POST pypi.org/simple/requests/",
])]
fn what_publishes_or_takes_free_text_stays_closed(#[case] preset: &str, #[case] requests: &[&str]) {
    let world = of(preset);
    for request in requests {
        assert!(!asked(&world, request), "{request}");
    }
}

#[test]
fn every_preset_has_one_entry_and_the_page_shows_them_all() {
    let names: Vec<String> = PRESETS.iter().map(|entry| name(entry.preset)).collect();
    let sorted: BTreeSet<&String> = names.iter().collect();
    assert!(names.iter().eq(sorted), "by name, and each once: {names:?}");
    assert_eq!(names.len(), 12);
    for entry_name in &names {
        let preset: Preset = serde_json::from_value(json!(entry_name)).unwrap();
        assert!(entry(preset).is_some(), "{entry_name}");
        // What cannot be read would refuse every run under it.
        of(entry_name).decide().unwrap();
    }
    let page = include_str!("../../docs/presets.md");
    assert!(
        page == page::markdown(),
        "docs/presets.md is not what src/policy/preset/data.rs says: run make crds"
    );
}

#[test]
fn records_name_the_rule_of_a_preset() {
    let frozen = of("pypi").decide().unwrap().frozen;
    let route = frozen
        .agent_route(&"pypi.org".parse().unwrap(), 443)
        .into_result()
        .unwrap();
    assert_eq!(route.rules(), ["SandboxPolicy/default/known"]);
}

#[test]
fn addresses_of_a_preset_are_those_of_its_rule_and_of_its_repositories() {
    let rule = json!({"name": "known", "preset": "git", "addresses": ["10.9.0.0/16"]});
    let world = of("git").policy("egress", json!({"mode": "AllowList", "rules": [rule]}));
    let frozen = world.decide().unwrap().frozen;
    let route = frozen
        .agent_route(&"github.com".parse().unwrap(), 443)
        .into_result()
        .unwrap();
    for (address, permitted) in [("10.9.0.1", true), ("10.1.0.1", true), ("10.8.0.1", false)] {
        assert_eq!(
            route.permits_address(address.parse().unwrap()),
            permitted,
            "{address}"
        );
    }
}

#[test]
fn a_cluster_policy_narrows_a_preset_and_lets_the_same_one_be() {
    let cluster = |rule: Value| of("npm").cluster("egress", json!({"mode": "AllowList", "rules": [rule]}));
    let same = cluster(json!({"name": "all", "preset": "npm"}));
    assert!(asked(&same, "GET registry.npmjs.org/left-pad"));
    let narrow = cluster(
        json!({"name": "one", "hosts": ["registry.npmjs.org"], "paths": ["/left-pad", "/left-pad/**"]}),
    );
    assert!(asked(&narrow, "GET registry.npmjs.org/left-pad"));
    assert!(!asked(&narrow, "GET registry.npmjs.org/other"));
    // Part of a preset that a ceiling leaves is no mistake; nothing of it is one.
    let none = cluster(json!({"name": "one", "hosts": ["pypi.org"]}));
    let refusal = none.decide().unwrap_err().message();
    assert!(
        refusal.contains("`known`") && refusal.contains("nothing is allowed by both"),
        "{refusal}"
    );
}

#[rstest]
#[case::no_repositories(json!({"name": "known", "preset": "git"}), Value::Null, "this one names none")]
#[case::none_allowed(json!({"name": "known", "preset": "git"}), json!({"mode": "DenyAll"}), "this one names none")]
#[case::beside_hosts(json!({"name": "known", "preset": "npm", "hosts": ["a.example.com"]}), Value::Null, "has hosts, ports, methods")]
#[case::beside_methods(json!({"name": "known", "preset": "npm", "methods": ["PUT"]}), Value::Null, "has hosts, ports, methods")]
#[case::beside_paths(json!({"name": "known", "preset": "npm", "paths": ["/**"]}), Value::Null, "has hosts, ports, methods")]
#[case::beside_ports(json!({"name": "known", "preset": "npm", "ports": [8443]}), Value::Null, "has hosts, ports, methods")]
#[case::as_a_tunnel(json!({"name": "known", "preset": "npm", "tls": "Tunnel"}), Value::Null, "has hosts, ports, methods")]
#[case::nothing(json!({"name": "known"}), Value::Null, "either hosts or a preset")]
fn a_preset_that_means_nothing_or_too_much_refuses_every_run(
    #[case] rule: Value,
    #[case] repositories: Value,
    #[case] why: &str,
) {
    let world = World::admitting()
        .run("repositories", Value::Null)
        .policy("repositories", repositories)
        .policy("egress", json!({"mode": "AllowList", "rules": [rule]}))
        .cluster("egress", Value::Null);
    let refusal = world.decide().unwrap_err().message();
    assert!(
        refusal.contains(why) && refusal.contains("limits.egress.rules[known]"),
        "{refusal}"
    );
}

#[test]
fn a_preset_that_nobody_knows_is_refused_with_those_that_are() {
    let policy = json!({
        "metadata": {"name": "default"},
        "spec": {"limits": {"egress": {"mode": "AllowList", "rules": [{"name": "known", "preset": "npmm"}]}}},
    });
    let refused = serde_json::from_value::<SandboxPolicy>(policy)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("unknown variant `npmm`") && refused.contains("`pypi`"),
        "{refused}"
    );
}
