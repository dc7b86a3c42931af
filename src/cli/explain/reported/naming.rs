//! Images, addresses of repositories, hosts and labels.

use super::*;

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
