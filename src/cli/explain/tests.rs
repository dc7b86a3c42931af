//! Explanations of the examples, as people and as programs get them.

use super::document::{Answer, DryRun, Explanation, Outcome};
use super::offline::Given;
use super::*;
use crate::manifest::{Manifest, read};
use crate::print::paint::Paint;
use cofferdam_api::AgentRun;
use rstest::rstest;

const RUN: &str = include_str!("../../../examples/agentrun.yaml");
const POLICY: &str = include_str!("../../../examples/sandboxpolicy.yaml");
const CLUSTER: &str = include_str!("../../../examples/clustersandboxpolicy.yaml");

fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the example must contain {from}");
        text.replacen(from, to, 1)
    })
}

fn run(changes: &[(&str, &str)]) -> AgentRun {
    files::run("run.yaml", &changed(RUN, changes)).unwrap()
}

fn policies(changes: &[(&str, &str)]) -> Vec<Manifest> {
    read(
        "policy.yaml",
        &changed(&format!("{POLICY}---\n{CLUSTER}"), changes),
    )
    .unwrap()
}

fn text(explanation: &Explanation) -> String {
    text::render(explanation, Paint::Plain)
}

#[test]
fn an_allowed_run_shows_every_field_its_value_and_who_decided() {
    let explanation = judged_on_files(&run(&[]), &policies(&[]), &Given::default());
    assert_eq!(explanation.verdict.exit_code(), 0);
    insta::assert_snapshot!(text(&explanation));
}

#[test]
fn every_refusal_is_shown_and_the_first_is_the_controllers() {
    let changes = [
        ("ghcr.io/team-a/mini", "ghcr.io/team-evil/mini"),
        (
            "https://github.com/team-a/style-guide",
            "https://github.com/team-b/style-guide",
        ),
        ("memory: 4Gi", "memory: 40Gi"),
        ("activeDeadlineSeconds: 1800", "activeDeadlineSeconds: 9000"),
    ];
    let explanation = judged_on_files(&run(&changes), &policies(&[]), &Given::default());
    assert_eq!(explanation.verdict.exit_code(), 1);
    assert_eq!(explanation.reason, Some(cofferdam_api::Reason::ImageDenied));
    insta::assert_snapshot!(text(&explanation));
}

#[test]
fn the_document_is_stable() {
    let explanation = judged_on_files(
        &run(&[("activeDeadlineSeconds: 1800", "activeDeadlineSeconds: 9000")]),
        &policies(&[]),
        &Given::default(),
    );
    insta::assert_json_snapshot!(explanation);
}

/// The rule of the namespace's policy, inspected.
const INSPECTED: &str =
    "tls: Inspect\n          ports: [80, 443]\n          methods: [POST]\n          paths: [/v1/messages]";

#[test]
fn requests_are_answered_and_a_denied_one_is_a_refusal() {
    let asked = |requests: &[&str]| Given {
        requests: requests.iter().map(|request| request.parse().unwrap()).collect(),
        ..Given::default()
    };
    let tunnel = "POST https://api.anthropic.com/v1/messages";
    let explanation = judged_on_files(&run(&[]), &policies(&[]), &asked(&[tunnel]));
    assert_eq!(explanation.exit_code(), 0);
    let answers = |explanation: &Explanation| {
        let text = text(explanation);
        let section = text
            .split("\n\n")
            .find(|section| section.starts_with("requests\n"));
        section.unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(answers(&explanation));

    let other = "GET https://api.anthropic.com/v1/files";
    let policies = policies(&[("tls: Tunnel", INSPECTED)]);
    let explanation = judged_on_files(&run(&[]), &policies, &asked(&[tunnel, other]));
    assert_eq!(
        (explanation.verdict, explanation.exit_code()),
        (Answer::Allowed, 1)
    );
    insta::assert_snapshot!(answers(&explanation));
    assert!(
        text(&explanation).contains(", inspected: "),
        "{}",
        text(&explanation)
    );
    assert!(
        text(&explanation).contains("      POST /v1/messages\n"),
        "{}",
        text(&explanation)
    );
    insta::assert_json_snapshot!(explanation.requests);
}

#[test]
fn a_credential_of_a_preset_is_taken_to_go_to_the_hosts_of_the_preset() {
    let rule = "hosts: [api.anthropic.com]\n          tls: Tunnel";
    let policies = policies(&[(rule, "preset: anthropic\n          credential: model")]);
    let explanation = judged_on_files(&run(&[]), &policies, &Given::default());
    let text = text(&explanation);
    assert_eq!(explanation.exit_code(), 0, "{text}");
    assert!(
        text.contains("every SandboxCredential that a policy names exists"),
        "{text}"
    );
}

#[test]
fn a_service_is_shown_with_what_it_is_asked_and_its_requests_are_answered() {
    let service = "services: [{namespace: models, name: litellm, port: 4000}]";
    let own = format!("{service}\n          methods: [GET, POST]\n          paths: [/v1/**]");
    let above = format!(
        "{service}\n          preset: openai\n          credential: litellm\n          credentialInClearText: Allow"
    );
    let policies = policies(&[
        ("hosts: [api.anthropic.com]\n          tls: Tunnel", own.as_str()),
        (
            "hosts: [api.anthropic.com, api.openai.com]\n          tls: Tunnel",
            above.as_str(),
        ),
    ]);
    let requests = [
        "POST http://litellm.models.svc:4000/v1/chat/completions",
        "POST http://litellm.models.svc:4000/v1/files",
        "GET http://other.models.svc:4000/v1/models",
    ];
    let given = Given {
        requests: requests.iter().map(|request| request.parse().unwrap()).collect(),
        ..Given::default()
    };
    let explanation = judged_on_files(&run(&[]), &policies, &given);
    let text = text(&explanation);
    for part in [
        "litellm.models.svc:4000  unknown, inspected: Service models/litellm of the cluster. Assume",
        "the gateway adds credential litellm to",
        ", also over plain HTTP",
        "/v1/chat/completions  allowed, by its method and path",
        "/v1/files  denied (RequestNotAllowed)",
        "other.models.svc:4000/v1/models  denied (HostNotAllowed)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_preset_is_shown_with_what_it_comes_to_and_what_it_could_leak() {
    let policies = policies(&[(
        "hosts: [api.anthropic.com]\n          tls: Tunnel",
        "preset: anthropic",
    )]);
    let explanation = judged_on_files(&run(&[]), &policies, &Given::default());
    assert_eq!(explanation.exit_code(), 0);
    let text = text(&explanation);
    let section = text
        .split("\n\n")
        .find(|section| section.starts_with("presets\n"));
    insta::assert_snapshot!(section.unwrap_or_default());
    let document = serde_json::to_value(&explanation).unwrap();
    insta::assert_json_snapshot!(document["egress"]["presets"][0]["grants"]);
}

#[rstest]
#[case::nobody_opted_in("metadata: {name: team-a}", false)]
#[case::opted_in("metadata: {name: team-a, labels: {cofferdam.dev/sandbox: enabled}}", true)]
fn a_namespace_that_is_given_is_taken_as_it_is(#[case] metadata: &str, #[case] allowed: bool) {
    let namespace = read(
        "ns.yaml",
        &format!("apiVersion: v1\nkind: Namespace\n{metadata}\n"),
    )
    .unwrap();
    let manifests = [policies(&[]), namespace].concat();
    let explanation = judged_on_files(&run(&[]), &manifests, &Given::default());
    assert_eq!(
        explanation.verdict == Answer::Allowed,
        allowed,
        "{}",
        text(&explanation)
    );
    assert!(!text(&explanation).contains("has opted in"));
}

#[test]
fn what_is_assumed_is_said_and_what_is_given_is_not() {
    let nothing_given = judged_on_files(&run(&[]), &policies(&[]), &Given::default());
    let all_given = Given {
        runtime_classes: vec!["gvisor".to_owned()],
        ..Given::default()
    };
    let all_given = judged_on_files(&run(&[]), &policies(&[]), &all_given);
    {
        let sentence = "every RuntimeClass";
        assert!(
            text(&nothing_given).contains(sentence),
            "{}",
            text(&nothing_given)
        );
        assert!(!text(&all_given).contains(sentence), "{}", text(&all_given));
    }
    let elsewhere = Given {
        runtime_classes: vec!["kata".to_owned()],
        ..Given::default()
    };
    let refused = judged_on_files(&run(&[]), &policies(&[]), &elsewhere);
    assert_eq!(refused.reason, Some(cofferdam_api::Reason::RuntimeUnavailable));
}

#[rstest]
#[case::silence(&[], &[("    egress:\n      mode: AllowList\n      rules:\n        - name: model\n          hosts: [api.anthropic.com]\n          tls: Tunnel\n", "    egress: {mode: DenyAll}\n")], Answer::Allowed, "SandboxPolicy/default denies all egress")]
#[case::nothing_in_common(&[], &[("hosts: [api.anthropic.com]\n", "hosts: [other.example.net]\n")], Answer::Refused, "no host and port in common")]
#[case::own_denial(&[("  resources:", "  egress: {mode: DenyAll}\n  resources:")], &[], Answer::Allowed, "the run's own spec.egress")]
fn a_closed_run_says_why(
    #[case] of_run: &[(&str, &str)],
    #[case] of_policy: &[(&str, &str)],
    #[case] verdict: Answer,
    #[case] why: &str,
) {
    let explanation = judged_on_files(&run(of_run), &policies(of_policy), &Given::default());
    assert_eq!(explanation.verdict, verdict);
    let egress = explanation.egress.as_ref().unwrap();
    assert_eq!(
        egress.exfiltration,
        cofferdam_policy::explain::exfiltration::Exfiltration::Closed
    );
    assert!(text(&explanation).contains(why), "{}", text(&explanation));
}

#[test]
fn a_policy_given_twice_cannot_be_judged_by() {
    let twice = [policies(&[]), policies(&[])].concat();
    let explanation = judged_on_files(&run(&[]), &twice, &Given::default());
    assert_eq!(explanation.verdict, Answer::CannotTell);
    assert!(text(&explanation).contains("ClusterSandboxPolicy/baseline stands in the policy files twice"));
}

#[test]
fn of_another_namespace_a_policy_is_none() {
    let elsewhere = policies(&[("namespace: team-a", "namespace: team-b")]);
    let explanation = judged_on_files(&run(&[]), &elsewhere, &Given::default());
    assert_eq!(explanation.reason, Some(cofferdam_api::Reason::PolicyMissing));
}

#[test]
fn a_flawed_run_is_refused_and_under_a_flawed_policy_nothing_can_be_told() {
    let Err(Stop::Flawed(problems, answer)) =
        files::run("run.yaml", &changed(RUN, &[("  task:", "  tusk:")]))
    else {
        panic!("taken")
    };
    assert_eq!((problems.len(), answer), (2, Answer::Refused));
    let Err(Stop::Flawed(_, answer)) =
        files::policies("p.yaml", &changed(POLICY, &[("  limits:", "  limit:")]))
    else {
        panic!("taken")
    };
    assert_eq!(answer, Answer::CannotTell);
    for text in ["{", "just text", POLICY, &format!("{RUN}---\n{RUN}")] {
        let Err(Stop::Flawed(_, answer)) = files::run("run.yaml", text) else {
            panic!("taken: {text}")
        };
        assert_eq!(answer, Answer::CannotTell, "{text}");
    }
}

fn tried(kind: &'static str, outcome: Outcome) -> DryRun {
    DryRun {
        kind,
        outcome,
        message: Some("exceeded quota: small".to_owned()),
    }
}

#[rstest]
#[case(&[], 0)]
#[case(&[tried("AgentRun", Outcome::Accepted), tried("Pod", Outcome::Accepted)], 0)]
#[case(&[tried("AgentRun", Outcome::Accepted), tried("Pod", Outcome::NotAsked)], 0)]
#[case(&[tried("AgentRun", Outcome::Accepted), tried("Pod", Outcome::Refused)], 1)]
#[case(&[tried("AgentRun", Outcome::Refused)], 1)]
fn what_the_api_server_refuses_is_refused(#[case] dry_runs: &[DryRun], #[case] code: u8) {
    let explanation = judged_on_files(&run(&[]), &policies(&[]), &Given::default());
    let with_answers = |unknown: Vec<Unknown>| {
        concluded(Explanation {
            dry_runs: dry_runs.to_vec(),
            unknown,
            ..explanation.clone()
        })
    };
    let answered = with_answers(Vec::new());
    assert_eq!(answered.verdict.exit_code(), code, "{}", text(&answered));
    assert_eq!(
        text(&answered).contains("exceeded quota: small"),
        !dry_runs.is_empty()
    );
    // What could not be asked is never an allowance.
    let unanswered = with_answers(vec![Unknown {
        what: "x".to_owned(),
        why: "y".to_owned(),
        help: "z".to_owned(),
    }]);
    assert_ne!(unanswered.verdict, Answer::Allowed);
}

#[test]
fn where_the_verdict_hangs_on_nodes_it_cannot_be_told_from_the_cluster() {
    let verdict = |word: &str| {
        let classes = "runtimeClassNames: [gvisor]";
        let manifests = policies(&[(classes, &format!("{classes}\n      userNamespaces: {word}"))]);
        let facts = offline::facts(&run(&[]), &manifests, &Given::default())
            .unwrap()
            .facts;
        let judgement = judge(&run(&[]), &facts);
        assert_eq!(judgement.refusal, None);
        usize::from(unknown_nodes(&run(&[]), &facts, &judgement).is_some())
    };
    assert_eq!(
        [verdict("Disabled"), verdict("Preferred"), verdict("Required")],
        [0, 0, 1]
    );
}

#[test]
fn where_the_verdict_hangs_on_reports_it_cannot_be_told_from_the_cluster() {
    let pinned = format!("ghcr.io/team-a/mini@sha256:{}", "a".repeat(64));
    let verdict = |image: &str, vulnerabilities: &str| {
        let run: cofferdam_api::AgentRun = {
            let mut run = run(&[]);
            run.spec.agent.image = Some(image.to_owned());
            run
        };
        let classes = "      mode: AllowList\n      allowed:";
        let limits = format!("      vulnerabilities: {vulnerabilities}\n{classes}");
        let manifests = policies(&[(classes, &limits)]);
        let assumed = offline::facts(&run, &manifests, &Given::default()).unwrap();
        assert!(
            assumed
                .assumed
                .iter()
                .any(|sentence| sentence.contains("a scanner has reported"))
        );
        let judgement = judge(&run, &assumed.facts);
        let unknown = unknown_reports(&run, &assumed.facts, &judgement);
        (judgement.refusal.is_some(), unknown.is_some())
    };
    for (image, vulnerabilities, expected) in [
        (pinned.as_str(), "{maxSeverity: High}", (false, true)),
        (
            &pinned,
            "{maxSeverity: Critical, onMissingReport: Allow}",
            (false, false),
        ),
        ("ghcr.io/team-a/mini:2", "{maxSeverity: High}", (true, false)),
        (
            "ghcr.io/team-a/mini:2",
            "{maxSeverity: High, onMissingReport: Allow}",
            (false, false),
        ),
    ] {
        assert_eq!(
            verdict(image, vulnerabilities),
            expected,
            "{image} {vulnerabilities}"
        );
    }
}

#[test]
fn the_pod_that_is_tried_is_confined_like_the_runs() {
    let manifests = policies(&[(
        "    maxResources:\n      memory: 8Gi",
        "    maxResources:\n      memory: 8Gi\n    retry: Never",
    )]);
    let facts = offline::facts(&run(&[]), &manifests, &Given::default())
        .unwrap()
        .facts;
    let admitted = judge(&run(&[]), &facts).evaluation.unwrap().admit().unwrap();
    let pod = pod::build(&run(&[]), &admitted);
    // The guard would refuse any pod that looks like one of Cofferdam's own.
    assert!(pod.metadata.labels.is_none() && pod.metadata.annotations.is_none());
    assert!(
        !pod.metadata
            .generate_name
            .as_ref()
            .unwrap()
            .starts_with(cofferdam_api::names::RUN_PREFIX)
    );
    insta::assert_json_snapshot!(pod);
}
