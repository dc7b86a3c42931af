//! Scalars that YAML or a program makes something else of than was meant: references, truth values, amounts, and objects as
//! programs write them.

use super::*;

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
