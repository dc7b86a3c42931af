use super::findings::{Health, of, of_trial};
use super::look::Seen;
use super::trial::{Ended, Tried};
use super::*;
use cofferdam_api::{AgentRun, ResolvedRun};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use rstest::rstest;

fn condition(status: &str, reason: &str) -> Condition {
    Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: "limits.images has a mistake".to_owned(),
        observed_generation: None,
        last_transition_time: Time("2026-11-26T10:00:00Z".parse().unwrap()),
    }
}

fn healthy() -> Seen {
    Seen {
        namespace: "team-a".to_owned(),
        installed: true,
        opted_in: Ok(true),
        policies: Ok(vec![(
            "default".to_owned(),
            vec![condition("True", "Ready")],
            true,
        )]),
        may_create: Ok(true),
        runtime_classes: Ok(vec!["gvisor".to_owned()]),
        fence: Ok(true),
        waiting: Ok(Vec::new()),
        output: Ok(()),
        roles: Ok(vec![("cofferdam-gateway".to_owned(), 2, 2)]),
    }
}

#[test]
fn a_healthy_cluster_has_nothing_to_do() {
    let findings = of(&healthy());
    assert!(
        findings.iter().all(|finding| finding.health == Health::Well),
        "{findings:#?}"
    );
    insta::assert_snapshot!(text(&findings, Paint::Plain));
}

#[rstest]
#[case("installation", |seen: &mut Seen| seen.installed = false)]
#[case("namespace", |seen: &mut Seen| seen.opted_in = Ok(false))]
#[case("your rights", |seen: &mut Seen| seen.may_create = Ok(false))]
#[case("policies", |seen: &mut Seen| seen.policies = Ok(Vec::new()))]
#[case("policy default", |seen: &mut Seen| seen.policies.as_mut().unwrap()[0].1 = vec![condition("False", "Mistaken")])]
#[case("your rights", |seen: &mut Seen| seen.policies.as_mut().unwrap()[0].2 = false)]
#[case("runtime", |seen: &mut Seen| seen.runtime_classes = Ok(Vec::new()))]
#[case("cofferdam-gateway", |seen: &mut Seen| seen.roles.as_mut().unwrap()[0].2 = 1)]
#[case("output", |seen: &mut Seen| seen.output = Err("the archive does not answer".to_owned()))]
#[case("run fix", |seen: &mut Seen| seen.waiting = Ok(vec![("fix".to_owned(), "GatewayNotReady".to_owned(), "m".to_owned())]))]
fn each_fault_is_found_with_what_to_do(#[case] what: &str, #[case] spoil: fn(&mut Seen)) {
    let mut seen = healthy();
    spoil(&mut seen);
    let findings = of(&seen);
    let wrong: Vec<_> = findings
        .iter()
        .filter(|finding| finding.health == Health::Wrong)
        .collect();
    assert_eq!(
        wrong
            .iter()
            .map(|finding| finding.what.as_str())
            .collect::<Vec<_>>(),
        [what]
    );
    assert!(wrong[0].to_do.is_some());
}

#[test]
fn what_may_not_be_looked_at_is_neither_well_nor_wrong() {
    let no = || Err("you may not".to_owned());
    let seen = Seen {
        opted_in: no(),
        policies: Err("you may not".to_owned()),
        may_create: no(),
        runtime_classes: Err("you may not".to_owned()),
        fence: no(),
        waiting: Err("you may not".to_owned()),
        roles: Err("you may not".to_owned()),
        ..healthy()
    };
    let findings = of(&seen);
    assert_eq!(
        findings
            .iter()
            .filter(|finding| finding.health == Health::Unknown)
            .count(),
        7
    );
    assert!(findings.iter().all(|finding| finding.health != Health::Wrong));
    let queued = Seen {
        waiting: Ok(vec![("fix".to_owned(), "Starting".to_owned(), String::new())]),
        ..healthy()
    };
    assert!(
        of(&queued).iter().all(|finding| finding.health == Health::Well),
        "a run that starts is no fault"
    );
}

fn tried(status: serde_json::Value) -> Box<AgentRun> {
    let mut run = crate::testing::run("team-a", "doctor-x");
    run["status"] = status;
    Box::new(serde_json::from_value(run).unwrap())
}

fn completed() -> Ended {
    Ended::Over(tried(json!({
        "phase": "Succeeded", "reason": "Completed", "completionTime": "2026-11-26T10:00:12Z",
        "isolation": {"runtimeClassName": "gvisor", "fence": "cofferdam-fence", "nodeAccess": "Denied",
            "provenTime": "2026-11-26T10:00:09Z", "podSpecDigest": "sha256:0"},
        "resolved": ResolvedRun {runtime_class_name: "gvisor".to_owned(), ..ResolvedRun::default()},
        "evidence": {"sequence": 9, "head": "sha256:1", "sealedAt": "2026-11-26T10:00:12Z"},
    })))
}

#[rstest]
#[case("completed", completed(), None, &[Health::Well; 3])]
#[case("failed", Ended::Over(tried(json!({"reason": "EgressNotEnforced", "failureClass": "Infrastructure", "message": "it reached 10.0.0.1:53"}))), None, &[Health::Wrong])]
#[case("unfinished", Ended::Unfinished(tried(json!({"reason": "GatewayNotReady", "message": "no address"})), Duration::from_mins(4)), None, &[Health::Wrong])]
#[case("not_begun", Ended::Unfinished(tried(json!({})), Duration::from_mins(4)), None, &[Health::Wrong])]
#[case("refused", Ended::Refused("AgentRun team-a/doctor-x is refused: no".to_owned()), None, &[Health::Wrong])]
#[case("lost", Ended::Lost("somebody deleted it".to_owned()), None, &[Health::Unknown])]
#[case("left", completed(), Some("its deletion: you may not".to_owned()), &[Health::Well, Health::Well, Health::Well, Health::Wrong])]
fn a_trial_says_what_it_showed(
    #[case] name: &str,
    #[case] ended: Ended,
    #[case] left: Option<String>,
    #[case] health: &[Health],
) {
    let findings = of_trial(&Tried {
        name: "doctor-x".to_owned(),
        ended,
        left,
    });
    let found: Vec<_> = findings.iter().map(|finding| finding.health).collect();
    assert_eq!(found, health);
    insta::assert_snapshot!(format!("trial_{name}"), text(&findings, Paint::Plain));
}
