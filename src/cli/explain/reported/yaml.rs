//! What else YAML is, and what a file may hold beside a run.

use super::*;

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
