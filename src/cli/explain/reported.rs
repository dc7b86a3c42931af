//! Manifests that made other tools, or this one, answer otherwise than kubectl and the API server do: each kind out of public
//! bug reports, with more of its kind. A fault of the run is a refusal, one of the policy that cannot be read tells nothing.

use super::document::Answer::{self, Allowed, CannotTell, Refused};
use super::*;
use crate::print::paint::Paint;

const POLICY: &str = "apiVersion: cofferdam.dev/v1alpha1
kind: SandboxPolicy
metadata:
  name: default
  namespace: team-a
spec:
  limits:
    runtime:
      runtimeClassNames: [gvisor]
    images:
      mode: AllowList
      allowed:
        - registry.example.com/**
    repositories:
      mode: AllowList
      clone:
        - name: forge
          url: https://git.example.com/**
    egress:
      mode: AllowList
      rules:
        - name: model
          hosts: [api.example.com]
";

const RUN: &str = "apiVersion: cofferdam.dev/v1alpha1
kind: AgentRun
metadata:
  name: tidy
  namespace: team-a
spec:
  task:
    prompt: Tidy the imports.
  agent:
    image: registry.example.com/agents/tidy:1.0
  repositories:
    - name: shop
      url: https://git.example.com/team/shop
      access: ReadWrite
";

const IMAGE: &str = "image: registry.example.com/agents/tidy:1.0";

fn edit(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// The answer, and all that is said.
fn explained(run: &str, policies: &str) -> (Answer, String) {
    let read =
        files::run("run.yaml", run).and_then(|run| Ok((run, files::policies("policy.yaml", policies)?)));
    let explanation = match read {
        Ok((run, policies)) => judged_on_files(&run, &policies, &Given::default()),
        Err(stop) => stopped(None, FactsFrom::Files, stop),
    };
    (explanation.verdict, text::render(&explanation, Paint::Plain))
}

/// Each of `cases` gets its answer in its words; `spell` makes run and policies of it.
fn check(cases: &[(&str, Answer, &str)], spell: impl Fn(&str) -> (String, String)) {
    let mut wrong = Vec::new();
    for (spelt, answer, words) in cases {
        let (run, policies) = spell(spelt);
        let (seen, said) = explained(&run, &policies);
        if seen != *answer || !said.contains(words) {
            wrong.push(format!("{spelt}: {answer:?} ({words}) was wanted\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

fn run_with(from: &'static str, to: &'static str) -> impl Fn(&str) -> (String, String) {
    move |spelt| (edit(RUN, from, &to.replace('@', spelt)), POLICY.to_owned())
}

fn policy_with(from: &'static str, to: &'static str) -> impl Fn(&str) -> (String, String) {
    move |spelt| (RUN.to_owned(), edit(POLICY, from, &to.replace('@', spelt)))
}

#[test]
fn the_manifests_by_themselves_are_allowed() {
    assert_eq!(explained(RUN, POLICY).0, Allowed);
}

/// A name of digits, and what else is a number, a date or a truth value to kubectl; what no branch is called.
#[test]
fn references() {
    let sha256 = "ab".repeat(32);
    let not_checked = "the schema's rules (CEL), the right to use the policy, and quotas were not";
    let number = "spec.repositories[0].ref: must be of type string";
    let cases = [
        ("HEAD", Allowed, ""),
        ("origin/main", Allowed, ""),
        (sha256.as_str(), Refused, "the id of a SHA-256 object"),
        ("'@user/fix'", Allowed, not_checked),
        ("'#12-fix'", Allowed, not_checked),
        ("\"it's\"", Allowed, not_checked),
        ("'(wip)'", Allowed, not_checked),
        ("ünï", Allowed, not_checked),
        // A float to YAML, which is too large for one, so that kubectl sends the text.
        ("4225332178759948e04347560002921719079454", Allowed, ""),
        ("4225332178759948004347560002921719079454", Refused, number),
        ("'4225332178759948004347560002921719079454'", Allowed, ""),
        ("1234567", Refused, number),
        ("6063e25", Refused, number),
        ("0x12ab", Refused, number),
        ("0123456", Refused, number),
        ("1.10", Refused, number),
        ("1_000", Refused, number),
        ("2024-01-02", Allowed, ""),
        (".inf", CannotTell, "put it in quotes if it is a text"),
        // More of the kind.
        ("9e999999", Allowed, ""),
        ("0b1011", Refused, number),
        ("0o17", Refused, number),
        ("-1.5e3", Refused, number),
        ("0789", Refused, number),
        ("1e5x", Allowed, ""),
        (".NaN", CannotTell, "put it in quotes if it is a text"),
        ("2024-01-02T03:04:05Z", Refused, "none of : ? * ["),
        ("!!str 1234567", Allowed, ""),
    ];
    check(
        &cases,
        run_with("access: ReadWrite", "ref: @\n      access: ReadWrite"),
    );
}

/// Words that are truth values or nothing to kubectl.
#[test]
fn truth_values() {
    let no_string = "spec.agent.env[0].value: must be of type string";
    let absent = "spec.agent.env[0].value: is required";
    let cases = [
        ("yes", Refused, no_string),
        ("no", Refused, no_string),
        ("on", Refused, no_string),
        ("off", Refused, no_string),
        ("y", Refused, no_string),
        ("n", Refused, no_string),
        ("Yes", Refused, no_string),
        ("TRUE", Refused, no_string),
        ("True", Refused, no_string),
        ("null", Refused, absent),
        ("~", Refused, absent),
        ("", Refused, absent),
        ("\"yes\"", Allowed, ""),
        ("yEs", Allowed, ""),
    ];
    check(
        &cases,
        run_with(
            IMAGE,
            "image: registry.example.com/agents/tidy:1.0\n    env:\n      - name: FLAG\n        value: @",
        ),
    );
    let cases = [
        ("off", Allowed, ""),
        ("no", Allowed, ""),
        ("\"false\"", Refused, "spec.suspend: must be of type boolean"),
    ];
    check(&cases, |spelt| {
        (format!("{RUN}  suspend: {spelt}\n"), POLICY.to_owned())
    });
    check(
        &[("on", Refused, "metadata.name: must be of type string")],
        run_with("name: tidy", "name: @"),
    );
}

/// What programs write.
#[test]
fn objects() {
    let object = r#"{"apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": "tidy", "namespace": "team-a"},
        "spec": {"task": {"prompt": "Tidy\tthe \"imports\" \u2028."}, "agent": {"image": "registry.example.com\/agents\/tidy:1.0"}}}"#;
    let live = object
        .replace("\"name\": \"tidy\",", "\"name\": \"tidy\", \"uid\": \"1\", \"resourceVersion\": \"7\", \"managedFields\": [{\"manager\": \"kubectl\"}],")
        .replace("\"spec\":", "\"status\": {\"phase\": \"Completed\"}, \"spec\":");
    let map = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}}"#;
    check_files(&[
        ("JSON with escapes", object, Allowed, ""),
        (
            "a List",
            &format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{object}]}}"#),
            Allowed,
            "",
        ),
        (
            "a typed list",
            &format!(
                r#"{{"apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRunList", "items": [{object}]}}"#
            ),
            Allowed,
            "",
        ),
        ("a stream of objects", &format!("{object}\n{map}"), Allowed, ""),
        (
            "a stream without a line between",
            &format!("{map}{object}"),
            Allowed,
            "",
        ),
        ("what the API server gave", &live, Allowed, ""),
        (
            "an empty List",
            r#"{"apiVersion": "v1", "kind": "List", "items": []}"#,
            CannotTell,
            "holds no AgentRun",
        ),
        (
            "JSON that breaks off",
            &object[..object.len() - 5],
            CannotTell,
            "",
        ),
        ("JSON behind YAML", &format!("{map}\n---\n{RUN}"), Allowed, ""),
    ]);
}

/// What else YAML is, and what a file may hold beside a run.
#[test]
fn files_of_yaml() {
    let merged = edit(
        RUN,
        "      access: ReadWrite\n",
        "      access: &rw ReadWrite\n    - &two\n      name: docs\n      url: https://git.example.com/team/docs\n    - <<: *two\n      name: docs2\n",
    );
    let bomb = ["a: &a [x,x,x,x,x,x,x,x,x]".to_owned()]
        .into_iter()
        .chain(["ab", "bc", "cd", "de", "ef", "fg", "gh"].map(|pair| {
            let (of, to) = pair.split_at(1);
            format!("{to}: &{to} [*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of}]")
        }))
        .collect::<Vec<_>>()
        .join("\n");
    let second = edit(RUN, "name: tidy", "name: tidy2");
    check_files(&[
        (
            "anchors",
            &edit(
                &edit(RUN, "name: tidy", "name: &n tidy"),
                "name: shop",
                "name: *n",
            ),
            Allowed,
            "",
        ),
        ("a merge", &merged, Allowed, ""),
        (
            "a field for anchors",
            &format!(
                "x-common: &c {{access: ReadWrite}}\n{}",
                edit(RUN, "      access: ReadWrite", "      <<: *c")
            ),
            Refused,
            "x-common: unknown field",
        ),
        ("aliases of aliases", &bomb, CannotTell, "not YAML"),
        (
            "an alias of nothing",
            &edit(RUN, "name: shop", "name: *n"),
            CannotTell,
            "not YAML",
        ),
        (
            "a policy beside the run",
            &format!("{POLICY}---\n{RUN}"),
            CannotTell,
            "give policies with --policy",
        ),
        (
            "two runs",
            &format!("{RUN}---\n{second}"),
            CannotTell,
            "holds more than one AgentRun, tidy and tidy2: give one",
        ),
    ]);
    // A run beside the policy is passed over; a policy of another namespace is none, and that is said.
    assert_eq!(explained(RUN, &format!("{POLICY}---\n{RUN}")).0, Allowed);
    let (answer, said) = explained(RUN, &edit(POLICY, "namespace: team-a", "namespace: team-b"));
    assert_eq!(answer, Refused);
    assert!(
        said.contains("SandboxPolicy/default of namespace team-b is not asked: the run is of team-a"),
        "{said}"
    );
}

fn check_files(cases: &[(&str, &str, Answer, &str)]) {
    let mut wrong = Vec::new();
    for (what, run, answer, words) in cases {
        let (seen, said) = explained(run, POLICY);
        if seen != *answer || !said.contains(words) {
            wrong.push(format!("{what}: {answer:?} ({words}) was wanted\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// Amounts of a unit that is not meant: `m` is a thousandth, of memory too.
#[test]
fn amounts() {
    let small = "is less than 1Mi: 512Mi are mebibytes, while 512m is half a byte and 512 are bytes";
    let none = "not a quantity";
    let cases = [
        ("memory: 512m", Refused, small),
        ("memory: \"512\"", Refused, small),
        ("memory: 512mi", Refused, none),
        ("memory: 512MB", Refused, none),
        ("memory: 512Mi", Allowed, ""),
        ("ephemeral-storage: 500m", Refused, small),
        ("cpu: 2Gi", Refused, "it is above the ceiling"),
        // More of the kind.
        ("memory: 512k", Refused, small),
        ("memory: \"1e3\"", Refused, small),
        ("memory: 999999999m", Refused, small),
        ("ephemeral-storage: \"1000000\"", Refused, small),
        ("memory: 512 Mi", Refused, none),
        ("memory: 512Gb", Refused, none),
        ("memory: 2e9", Refused, "must be of type string"),
        ("memory: \"2e9\"", Allowed, ""),
        ("memory: 1.5Gi", Allowed, ""),
        ("cpu: 500m", Allowed, ""),
        ("memory: -1Gi", Refused, ""),
    ];
    check(&cases, |spelt| {
        (
            format!("{RUN}  resources:\n    limits:\n      {spelt}\n"),
            POLICY.to_owned(),
        )
    });
    let both =
        "  resources:\n    requests: {cpu: 100m, memory: 256m}\n    limits: {cpu: \"1\", memory: 512m}\n";
    assert_eq!(explained(&format!("{RUN}{both}"), POLICY).0, Refused);
    let of_policy = [
        ("    maxResources:\n      memory: 8000m\n", Refused, small),
        (
            "    maxResources:\n      ephemeral-storage: 500m\n",
            Refused,
            small,
        ),
        (
            "  defaults:\n    resources:\n      limits: {memory: 4096m}\n",
            Refused,
            small,
        ),
        (
            "  defaults:\n    resources:\n      requests: {memory: \"512\"}\n",
            Refused,
            small,
        ),
        ("    maxResources:\n      memory: 8Gi\n", Allowed, ""),
    ];
    check(&of_policy, |spelt| (RUN.to_owned(), format!("{POLICY}{spelt}")));
}

/// Patterns that can match nothing, and spellings of one image.
#[test]
fn patterns_of_images() {
    let alone = "a registry alone names no image: write ";
    let cases = [
        ("ghcr.io", Refused, alone),
        ("docker.io", Refused, alone),
        (
            "registry.example.com:5000",
            Refused,
            "a registry alone names no image: write registry.example.com:5000/**",
        ),
        ("ghcr.io/", Refused, "the path is empty or has an empty segment"),
        ("ghcr.io/team/app*", Refused, "'*' stands for one whole segment"),
        (
            "https://ghcr.io/team/*",
            Refused,
            "the registry is not a lower-case host name",
        ),
        ("'*'", Refused, "must name the registry"),
        ("'ghcr.io/team/app:*'", Refused, "the tag must be"),
        (
            "ghcr.io/Team/*",
            Refused,
            "the repository has a segment other than",
        ),
        // More of the kind.
        ("quay.io", Refused, alone),
        ("localhost:5000", Refused, alone),
        ("'**'", Refused, "must name the registry"),
        (
            "ghcr.io/**/app",
            Refused,
            "'**' for any number of them at the end only",
        ),
        (
            "ghcr.io//app",
            Refused,
            "the path is empty or has an empty segment",
        ),
        ("'ghcr.io/team/app:'", Refused, "the tag must be"),
        (
            "'ghcr.io/team /app'",
            Refused,
            "the repository has a segment other than",
        ),
        ("registry.example.com/agents/tidy", Allowed, ""),
    ];
    check(&cases, policy_with("registry.example.com/**", "@"));
    let cases = [
        (
            "'[fd00::1]:5000/app:1'",
            Refused,
            "the registry is not a lower-case host name",
        ),
        (
            "Registry.Example.com/app:1",
            Refused,
            "the registry is not a lower-case host name",
        ),
        (
            "registry.example.com:5000/app:1",
            Refused,
            "no entry there matches registry.example.com:5000/app:1",
        ),
        (
            "registry.example.com:443/app:1",
            Refused,
            "no entry there matches registry.example.com:443/app:1",
        ),
        ("registry.example.com/app", Allowed, ""),
        (
            "registry.example.com/a..b:1",
            Refused,
            "the repository has a segment other than",
        ),
        (
            "registry.example.com/a__b/c-_d:1",
            Refused,
            "the repository has a segment other than",
        ),
        ("'registry.example.com/app:1 '", Refused, "the tag must be"),
    ];
    check(&cases, run_with(IMAGE, "image: @"));
    let (long, lower, upper, sha512) = ("a".repeat(129), "a".repeat(64), "A".repeat(64), "a".repeat(128));
    for (image, answer) in [
        (format!("registry.example.com/app:{long}"), Refused),
        (format!("registry.example.com/app:1@sha256:{lower}"), Allowed),
        (format!("registry.example.com/app@sha256:{upper}"), Refused),
        (format!("registry.example.com/app@sha512:{sha512}"), Allowed),
    ] {
        let (seen, said) = explained(&edit(RUN, IMAGE, &format!("image: {image}")), POLICY);
        assert_eq!(seen, answer, "{said}");
    }
    for (image, pattern, answer) in [
        ("nginx:1", "docker.io/library/*", Allowed),
        ("library/nginx:1", "docker.io/library/*", Allowed),
        ("docker.io/nginx:1", "docker.io/library/nginx", Allowed),
        ("index.docker.io/library/nginx:1", "docker.io/**", Allowed),
        ("registry-1.docker.io/library/nginx:1", "docker.io/**", Refused),
        ("team/app:1", "docker.io/team/*", Allowed),
        ("docker.io.evil.example/team/app:1", "docker.io/**", Refused),
        ("nginx:1", "nginx", Allowed),
        ("docker.io/team/app:1", "team/*", Allowed),
        ("localhost:5000/app:1", "localhost:5000/**", Allowed),
        ("localhost/app:1", "localhost/**", Allowed),
    ] {
        let run = edit(RUN, IMAGE, &format!("image: {image}"));
        let (seen, said) = explained(&run, &edit(POLICY, "registry.example.com/**", pattern));
        assert_eq!(seen, answer, "{image} by {pattern}: {said}");
    }
}

/// Addresses of repositories with spaces and users, and names of hosts that are none.
#[test]
fn addresses() {
    let azure = edit(
        POLICY,
        "https://git.example.com/**",
        "https://dev.azure.com/org/**",
    );
    let cases = [
        ("https://dev.azure.com/org/My%20Project/_git/shop", Allowed, ""),
        (
            "\"https://dev.azure.com/org/My Project/_git/shop\"",
            Refused,
            "a space as %20",
        ),
        (
            "https://org@dev.azure.com/org/shop/_git/shop",
            Refused,
            "a sandbox holds no credentials, leave it out",
        ),
        // More of the kind.
        (
            "https://dev.azure.com/org/My%20Other%20Project/_git/My%20shop",
            Allowed,
            "",
        ),
        ("https://dev.azure.com/org/%2e%2e/other/_git/shop", Refused, ""),
        ("https://dev.azure.com/org/a%2Fb/_git/shop", Refused, ""),
        ("https://dev.azure.com/org/a%00b/_git/shop", Refused, ""),
        (
            "https://dev.azure.com/other/My%20Project/_git/shop",
            Refused,
            "no entry there matches",
        ),
        (
            "https://user:pass@dev.azure.com/org/shop/_git/shop",
            Refused,
            "leave it out",
        ),
        ("git@ssh.dev.azure.com:v3/org/shop/shop", Refused, ""),
    ];
    check(&cases, |spelt| {
        (
            edit(RUN, "https://git.example.com/team/shop", spelt),
            azure.clone(),
        )
    });
    let pattern = edit(
        POLICY,
        "https://git.example.com/**",
        "https://dev.azure.com/org/My%20Project/**",
    );
    for (url, answer) in [
        ("https://dev.azure.com/org/My%20Project/_git/shop", Allowed),
        ("https://dev.azure.com/org/MyProject/_git/shop", Refused),
    ] {
        assert_eq!(
            explained(&edit(RUN, "https://git.example.com/team/shop", url), &pattern).0,
            answer,
            "{url}"
        );
    }
    let odd = "the host name has a character other than";
    let cases = [
        ("git_server.corp.example.com", Refused, odd),
        ("\"*.my_team.example.com\"", Refused, odd),
        ("api.example.com", Allowed, ""),
    ];
    check(&cases, policy_with("api.example.com", "@"));
    let cases = [("https://git_server.corp.example.com/**", Refused, odd)];
    check(&cases, policy_with("https://git.example.com/**", "@"));
}

/// Labels that are numbers, of the namespace and of the run: dropped, a policy that selects by them would not be met.
#[test]
fn labels() {
    let ceiling = "---\napiVersion: cofferdam.dev/v1alpha1\nkind: ClusterSandboxPolicy\nmetadata: {name: strict}\nspec:\n  namespaceSelector:\n    matchLabels: {tier: \"1\"}\n  limits:\n    images: {mode: DenyAll}\n";
    let no_text = "metadata.labels.tier: must be of type string: put it in quotes";
    let cases = [
        ("{cofferdam.dev/sandbox: enabled, tier: 1}", CannotTell, no_text),
        (
            "{cofferdam.dev/sandbox: enabled, tier: \"1\"}",
            Refused,
            "ClusterSandboxPolicy/strict",
        ),
        ("{cofferdam.dev/sandbox: enabled, tier: \"2\"}", Allowed, ""),
        (
            "{cofferdam.dev/sandbox: true, tier: \"2\"}",
            CannotTell,
            "must be of type string",
        ),
        (
            "{cofferdam.dev/sandbox: Enabled, tier: \"2\"}",
            Refused,
            "does not carry the label cofferdam.dev/sandbox=enabled",
        ),
        // More of the kind.
        ("{cofferdam.dev/sandbox: enabled, tier: 1.0}", CannotTell, no_text),
        ("{cofferdam.dev/sandbox: enabled, tier: yes}", CannotTell, no_text),
        (
            "{cofferdam.dev/sandbox: enabled, tier: [1]}",
            CannotTell,
            "metadata.labels.tier: must be of type string",
        ),
        (
            "{cofferdam.dev/sandbox: enabled, tier: \"1 \"}",
            CannotTell,
            "metadata.labels.tier",
        ),
        ("{cofferdam.dev/sandbox: enabled, tier: 2024-01-02}", Allowed, ""),
        ("[cofferdam.dev/sandbox]", CannotTell, "metadata.labels"),
    ];
    check(&cases, |spelt| {
        let namespace =
            format!("---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: team-a\n  labels: {spelt}\n");
        (RUN.to_owned(), format!("{POLICY}{namespace}{ceiling}"))
    });
    check(
        &[("{tier: 1}", Refused, no_text), ("{tier: \"1\"}", Allowed, "")],
        run_with("name: tidy", "name: tidy\n  labels: @"),
    );
}
