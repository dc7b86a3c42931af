//! Every pair of a state that a run can be in and an event that can happen to it, and laws over all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::agent_run::context::Installation;
use crate::agent_run::decide::Facts;
use crate::agent_run::observe;
use crate::agent_run::seen::{Answers, Question, Sealing};
use crate::agent_run::status::Built;
use crate::evidence::seal::SealOutcome;
use crate::memory::{Remembered, StopAsked};
use crate::run_pod::RunPod;
use crate::slots::{Answer, QueueFull};
use crate::testing::{self, GATEWAY, RUN_UID, at, job, plan, pod, run, whole_pod};
use crate::verdict::{Gap, Verdict};
use cofferdam_api::{AgentRunStatus, Cancel, LiveReason, OnSinkFailure, Reason, ResolvedEvidence, Stage};
use cofferdam_wire::record::RunRecord;
use cofferdam_wire::seal;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Seconds for which the agents of these runs may work.
const DEADLINE: i64 = 3600;

/// A run with everything that is seen of it, and the answers to what may be asked.
#[derive(Clone)]
struct World {
    run: AgentRun,
    seen: Seen,
    facts: Facts,
    slot: Answer,
    admission: Result<(), String>,
    record: Result<RunRecord, String>,
    sealed: SealOutcome,
    /// When the seal was asked for the first time; absent: now.
    sealing_since: Option<i64>,
    now: i64,
}

impl World {
    fn of(run: AgentRun, job: SeenJob) -> Self {
        Self {
            run,
            seen: Seen {
                run_uid: RUN_UID.to_owned(),
                job,
                pods: Vec::new(),
                gateway: Some(GATEWAY.parse().unwrap()),
                foreign: None,
                policy_ttl: crate::agent_run::cleanup::PolicyTtl::default(),
                remembered: Remembered::default(),
                installation: Arc::new(Installation {
                    sandbox: testing::config(),
                    operator_namespace: "operator-space".to_owned(),
                    gateway_service: "gateway".to_owned(),
                }),
                answers: Answers::default(),
            },
            facts: testing::facts(),
            slot: Answer::Start,
            admission: Ok(()),
            record: Ok(RunRecord::default()),
            sealed: testing::sealed(),
            sealing_since: None,
            now: 100,
        }
    }

    fn with_pod(mut self, status: Value) -> Self {
        self.seen.pods = vec![Arc::new(pod(status))];
        self
    }

    fn has_job(&self) -> bool {
        matches!(self.seen.job, SeenJob::Present(_))
    }

    fn has_live_pod(&self) -> bool {
        self.seen.has_live_pods()
    }

    /// The step, and what was asked for it.
    fn step(&self) -> (Step, Vec<&'static str>) {
        let (mut seen, mut asked) = (self.seen.clone(), Vec::new());
        loop {
            let question = match step(&self.run, &seen, at(self.now)) {
                Next::Ask(question) => question,
                Next::Do(step) => return (*step, asked),
            };
            let answers = &mut seen.answers;
            asked.push(match question {
                Question::Facts => {
                    let waiting_since = status::waiting_since(&self.run, at(self.now));
                    answers.facts = Some(Box::new(Facts {
                        waiting_since,
                        ..self.facts.clone()
                    }));
                    "facts"
                }
                Question::Slot(_) => {
                    answers.slot = Some(self.slot.clone());
                    "slot"
                }
                Question::Observed(observe::Question::Admission) => {
                    answers.admission = Some(self.admission.clone());
                    "admission"
                }
                Question::Observed(observe::Question::Changes) => {
                    answers.changes = Some(Vec::new());
                    "changes"
                }
                Question::Observed(observe::Question::Warnings) => {
                    answers.warnings = Some(Vec::new());
                    "warnings"
                }
                Question::Observed(observe::Question::Record) => {
                    answers.record = Some(self.record.clone());
                    "record"
                }
                Question::Seal(status) => {
                    assert!(status.is_finished() && status.evidence.is_none());
                    answers.sealing = Some(Sealing {
                        since: at(self.sealing_since.unwrap_or(self.now)),
                        outcome: self.sealed.clone(),
                    });
                    "seal"
                }
            });
            assert!(asked.len() < 6, "asked without end: {asked:?}");
        }
    }
}

/// A step in one line.
fn told(step: &Step, asked: &[&str]) -> String {
    let mut words = vec![format!("{:?}", step.slot)];
    if step.create.is_some() {
        words.push("create".to_owned());
    }
    if let Some(status) = &step.status {
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        words.push(format!("{}/{}", word(&status.phase), word(&status.reason)));
    }
    let events: Vec<&str> = step.events.iter().map(|event| event.reason.as_str()).collect();
    if !events.is_empty() {
        words.push(format!("tell {}", events.join("+")));
    }
    match &step.then {
        Then::Nothing => {}
        Then::StopAgent { verdict, .. } => words.push(format!("stop-agent({})", verdict.reason)),
        Then::Kill { verdict, pods, .. } => words.push(format!("kill({}, {})", verdict.reason, pods.len())),
        Then::DeletePods(pods) => words.push(format!("delete-pods({})", pods.len())),
        Then::Repeat(_) => words.push("repeat".to_owned()),
        Then::DeleteJob(_) => words.push("delete-job".to_owned()),
        Then::DeleteRun => words.push("delete-run".to_owned()),
    }
    if step.forget {
        words.push("forget".to_owned());
    }
    words.push(match step.look {
        Look::OnChange => "on change".to_owned(),
        Look::After(time) => format!("after {} s", time.as_secs_f32()),
    });
    if !asked.is_empty() {
        words.push(format!("[asked {}]", asked.join(", ")));
    }
    words.join(" | ")
}

fn with_status(status: AgentRunStatus) -> AgentRun {
    AgentRun {
        status: Some(status),
        ..run()
    }
}

fn gap() -> Gap {
    Gap {
        reason: LiveReason::GuardNotReady,
        ends_with: Reason::GuardMissing,
        message: "No guard.".to_owned(),
        actionable: true,
    }
}

fn containers(phase: &str, agent: &Value) -> Value {
    json!({"phase": phase, "containerStatuses": [{"name": "agent", "image": "i", "imageID": "", "ready": false,
        "restartCount": 0, "state": agent}]})
}

fn pending() -> Value {
    containers("Pending", &json!({"waiting": {"reason": "PodInitializing"}}))
}

fn live() -> Value {
    containers("Running", &json!({"running": {"startedAt": at(10).to_string()}}))
}

fn over(code: i32) -> Value {
    let agent = json!({"terminated": {"exitCode": code, "startedAt": at(10).to_string(), "finishedAt": at(20).to_string()}});
    containers(if code == 0 { "Succeeded" } else { "Failed" }, &agent)
}

/// An agent that has ended beside a sidecar that has not.
fn collecting() -> Value {
    let mut status = over(0);
    status["phase"] = json!("Running");
    let sidecar = json!({"name": "sidecar", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": at(9).to_string()}}});
    status["containerStatuses"].as_array_mut().unwrap().push(sidecar);
    status
}

fn asked_to_stop(pod: &RunPod) -> Arc<RunPod> {
    let mut asked = pod.clone();
    let annotations = asked.metadata.annotations.get_or_insert_default();
    annotations.insert(
        cofferdam_api::names::ANNOTATION_STOP.to_owned(),
        "Cancelled".to_owned(),
    );
    Arc::new(asked)
}

fn present() -> SeenJob {
    SeenJob::Present(Arc::new(job()))
}

fn built<T>(make: impl FnOnce(Built<'_>) -> T) -> T {
    let (job, plan) = (job(), plan());
    make(Built {
        job: &job,
        plan: &plan,
    })
}

fn repeatable_job() -> Job {
    let mut policy = testing::policy();
    policy.spec.limits.retry = Some(cofferdam_api::Retry::BeforeAgentStart);
    let facts = Facts {
        policy: Some(policy),
        ..testing::facts()
    };
    let world = World {
        facts,
        ..World::of(run(), SeenJob::None)
    };
    let mut job = world.step().0.create.expect("it may start").job;
    job.metadata.uid = Some("job-uid".to_owned());
    job.metadata.creation_timestamp = Some(Time(at(0)));
    job
}

fn running_status() -> AgentRunStatus {
    let running = observe::Running {
        agent_started: at(10),
        proof: None,
        images: Vec::new(),
    };
    built(|built| status::running(&run(), built, &running, at(11)))
}

fn verdict(reason: Reason) -> Verdict {
    Verdict::new(reason, "because")
}

/// Every state that a run can be in.
fn states() -> Vec<(&'static str, World)> {
    let stopping = built(|built| status::stopped(&run(), built, &verdict(Reason::GatewayChanged), at(90)));
    let retrying =
        built(|built| status::retrying(&run(), built, &verdict(Reason::CloneFailed), true, at(90)));
    let mut repeatable = World::of(run(), SeenJob::Present(Arc::new(repeatable_job())));
    repeatable.seen.pods = vec![{
        let template = repeatable_job().spec.unwrap().template;
        let mut made = whole_pod(pending());
        (made.metadata.labels, made.spec) = (template.metadata.unwrap().labels, template.spec);
        Arc::new(made.into())
    }];
    vec![
        ("new", World::of(run(), SeenJob::None)),
        (
            "suspended",
            World::of(testing::resting(Stage::Suspended), SeenJob::None),
        ),
        (
            "queued",
            World::of(testing::resting(Stage::Queued), SeenJob::None),
        ),
        (
            "waiting",
            World::of(with_status(status::waiting(&run(), &gap(), at(5))), SeenJob::None),
        ),
        (
            "refused-job",
            World::of(run(), SeenJob::Refused(verdict(Reason::QuotaExceeded))),
        ),
        ("no-pod", World::of(run(), present())),
        ("starting", World::of(run(), present()).with_pod(pending())),
        ("starting-repeatable", repeatable),
        ("started", World::of(run(), present()).with_pod(live())),
        (
            "running",
            World::of(with_status(running_status()), present()).with_pod(live()),
        ),
        (
            "stopping",
            World::of(with_status(stopping.clone()), present()).with_pod(live()),
        ),
        ("stopped", World::of(with_status(stopping), SeenJob::Gone)),
        (
            "retrying",
            World::of(with_status(retrying.clone()), present()).with_pod(pending()),
        ),
        ("between", World::of(with_status(retrying), SeenJob::Gone)),
        (
            "finished",
            World::of(testing::finished_run(at(60)), present()).with_pod(over(0)),
        ),
        (
            "finished-live",
            World::of(testing::finished_run(at(60)), present()).with_pod(live()),
        ),
    ]
}

type Event = fn(&mut World);

fn ignore_the_stop(world: &mut World) {
    if world.has_live_pod() {
        world.run.spec.cancel = Some(Cancel::KeepWork);
        world.seen.pods = vec![asked_to_stop(&world.seen.pods[0])];
        world.seen.remembered.stop_asked = Some(StopAsked {
            at: at(10),
            verdict: verdict(Reason::Cancelled),
        });
    }
}

fn orphan(world: &mut World) {
    if world.has_live_pod() {
        world.seen.job = SeenJob::Gone;
        let mut orphan = RunPod::clone(&world.seen.pods[0]);
        orphan.metadata.owner_references = None;
        world.seen.pods = vec![Arc::new(orphan)];
    }
}

/// Everything that can happen to a run. Where a state makes an event impossible, it changes nothing.
fn events() -> Vec<(&'static str, Event)> {
    vec![
        ("time", |_| {}),
        ("keep-work", |world| {
            world.run.spec.cancel = Some(Cancel::KeepWork);
        }),
        ("discard-work", |world| {
            world.run.spec.cancel = Some(Cancel::DiscardWork);
        }),
        ("suspend", |world| world.run.spec.suspend = true),
        ("delete", |world| {
            world.run.metadata.deletion_timestamp = Some(Time(at(99)));
        }),
        ("no-slot", |world| world.slot = Answer::Wait),
        ("queue-full", |world| {
            world.slot = Answer::Refused(QueueFull {
                namespace: "tenant-a".to_owned(),
                limit: 1000,
            });
        }),
        ("guard-lost", |world| world.facts.guard_gap = Some(gap())),
        ("guard-lost-late", |world| {
            world.facts.guard_gap = Some(gap());
            world.now = 700;
        }),
        ("policy-denies", |world| {
            world.run.spec.agent.image = Some("elsewhere.example/agent:v1".to_owned());
        }),
        ("job-gone", |world| {
            if world.has_job() {
                world.seen.job = SeenJob::Gone;
            }
        }),
        ("job-and-pod-gone", |world| {
            if world.has_job() {
                world.seen.job = SeenJob::Gone;
                world.seen.pods.clear();
            }
        }),
        ("agent-done", |world| {
            if world.has_live_pod() {
                *world = world.clone().with_pod(over(0));
            }
        }),
        ("agent-fails", |world| {
            if world.has_live_pod() {
                *world = world.clone().with_pod(over(3));
            }
        }),
        ("start-late", |world| world.now = 900),
        ("gateway-moves", |world| {
            world.seen.gateway = Some("10.96.9.9:3128".parse().unwrap());
        }),
        ("fence-widened", |world| {
            world.seen.foreign = Some(Gap {
                reason: LiveReason::FenceWidened,
                ends_with: Reason::ForeignNetworkPolicy,
                ..gap()
            });
        }),
        ("deadline-ignored", |world| world.now = 10 + DEADLINE + 90),
        ("stop-ignored", ignore_the_stop),
        ("work-not-handed-over", |world| {
            if world.has_live_pod() {
                *world = world.clone().with_pod(collecting());
                world.now = 20 + 90;
            }
        }),
        ("orphaned", orphan),
        ("plan-lost", |world| {
            if let SeenJob::Present(job) = &world.seen.job {
                let mut job = Job::clone(job);
                job.metadata.annotations = None;
                world.seen.job = SeenJob::Present(Arc::new(job));
            }
        }),
        ("remembered-verdict", |world| {
            world.seen.remembered.stopping = Some(verdict(Reason::GatewayChanged));
        }),
        ("archive-silent", |world| {
            world.record = Err("no answer".to_owned());
        }),
        ("spec-changed", |world| world.run.metadata.generation = Some(2)),
        ("kept-long-enough", |world| world.now = 700),
        ("time-to-live-over", |world| world.now = 60 + 7 * 24 * 3600),
    ]
}

fn pairs() -> Vec<(String, World)> {
    let mut pairs = Vec::new();
    for (state, world) in states() {
        for (event, happen) in events() {
            let mut world = world.clone();
            happen(&mut world);
            pairs.push((format!("{state} + {event}"), world));
        }
    }
    pairs
}

#[test]
fn table_of_states_and_events() {
    let mut lines = Vec::new();
    for (state, world) in states() {
        let (step, asked) = world.step();
        let unchanged = told(&step, &asked);
        lines.push(format!("{state}: {unchanged}"));
        for (event, happen) in events() {
            let mut world = world.clone();
            happen(&mut world);
            let (step, asked) = world.step();
            let line = told(&step, &asked);
            if line != unchanged {
                lines.push(format!("    {event}: {line}"));
            }
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_kill_carries_its_verdict_and_status() {
    let mut kills = BTreeSet::new();
    for (pair, world) in pairs() {
        let (step, _) = world.step();
        let Then::Kill { verdict, .. } = &step.then else {
            continue;
        };
        kills.insert(verdict.reason.as_str());
        assert_eq!(step.slot, Slot::Hold, "{pair}: its pods are still there");
        match &step.status {
            Some(status) if status.is_finished() => {
                assert_eq!(status.reason.as_deref(), Some(verdict.reason.as_str()), "{pair}");
            }
            Some(status) => {
                let after = with_status((**status).clone());
                assert_eq!(status::stopping(&after).as_ref(), Some(verdict), "{pair}");
            }
            None => assert_eq!(world.run.stage(), Stage::Stopping, "{pair}"),
        }
    }
    let expected = BTreeSet::from([
        "Cancelled",
        "CollectFailed",
        "DeadlineExceeded",
        "ForeignNetworkPolicy",
        "GatewayChanged",
        "InternalError",
        "StartTimeout",
    ]);
    assert_eq!(kills, expected);
}

#[test]
fn nothing_is_created_or_done_twice() {
    for (pair, world) in pairs() {
        let (step, _) = world.step();
        let runs = world.has_job() || world.has_live_pod();
        assert!(!(runs && step.create.is_some()), "{pair}: it has a workload");
        let stopped = world.run.spec.suspend || world.run.spec.cancel.is_some();
        assert!(!(stopped && step.create.is_some()), "{pair}: nobody wants it");
        let status = step.status.as_deref();
        if world.run.is_finished() {
            let rewritten = status.is_some_and(|status| status.completion_time.is_none());
            assert!(!rewritten && step.events.is_empty(), "{pair}: it is over");
        }
        if let Some(status) = status.filter(|status| status.is_finished() && !world.run.is_finished()) {
            let last = step.events.last().expect("an end is told");
            assert_eq!(Some(last.reason.as_str()), status.reason.as_deref(), "{pair}");
        }
    }
}

#[test]
fn slot_is_given_back_only_without_live_pods() {
    let mut released = 0;
    for (pair, world) in pairs() {
        let (step, _) = world.step();
        if step.slot == Slot::Release {
            released += 1;
            assert!(!world.has_live_pod(), "{pair}: a pod of it is live");
            assert!(step.create.is_none(), "{pair}");
        }
        if world.has_live_pod() || step.create.is_some() {
            assert_eq!(step.slot, Slot::Hold, "{pair}");
        }
    }
    assert!(released > 50, "{released}");
}

/// What a run's status becomes when its steps are done one after the other, until nothing changes any more.
fn statuses(mut world: World, mut then: impl FnMut(&mut World)) -> Vec<String> {
    let mut written = Vec::new();
    for _ in 0..20 {
        let (step, _) = world.step();
        if let Some(status) = step.status
            && world.run.status.as_ref() != Some(&*status)
        {
            let words = (status.phase.clone().unwrap(), status.reason.clone().unwrap());
            written.push(format!("{}/{}", words.0, words.1));
            world.run.status = Some(*status);
        }
        then(&mut world);
    }
    written
}

#[test]
fn queued_run_is_written_once_whatever_happens_ahead_of_it() {
    let mut world = World::of(run(), SeenJob::None);
    world.slot = Answer::Wait;
    let written = statuses(world, |world| world.now += 60);
    assert_eq!(written, ["Queued/Queued"]);
}

#[test]
fn usual_run_is_written_twice() {
    let mut seconds = 0;
    let new = World {
        now: 4,
        ..World::of(run(), SeenJob::None)
    };
    let written = statuses(new, |world| {
        seconds += 1;
        match seconds {
            1 => world.seen.job = present(),
            2 => *world = world.clone().with_pod(pending()),
            4 => *world = world.clone().with_pod(live()),
            6 => {
                *world = world.clone().with_pod(over(3));
                world.now = 200;
            }
            _ => {}
        }
    });
    assert_eq!(written, ["Running/Running", "Failed/AgentFailed"]);
}

#[rstest]
#[case::image(testing::facts(), "elsewhere.example/agent:v1", Reason::ImageDenied)]
#[case::no_policy(Facts { policy: None, ..testing::facts() }, "images.example/agent:v1", Reason::PolicyMissing)]
#[case::no_runtime(
    Facts { runtime_classes: Vec::new(), ..testing::facts() },
    "images.example/agent:v1",
    Reason::RuntimeUnavailable
)]
#[case::unreadable(
    Facts { cluster_policies: Err("ClusterSandboxPolicy/odd cannot be read".to_owned()), ..testing::facts() },
    "images.example/agent:v1",
    Reason::PolicyDenied
)]
fn refused_run_is_written_once(#[case] facts: Facts, #[case] image: &str, #[case] reason: Reason) {
    let mut world = World {
        facts,
        ..World::of(run(), SeenJob::None)
    };
    world.run.spec.agent.image = Some(image.to_owned());
    let written = statuses(world, |world| {
        world.seen.job = SeenJob::Gone;
        world.now += 10;
    });
    assert_eq!(written, [format!("Failed/{reason}")]);
}

#[test]
fn stop_is_asked_for_once() {
    let mut world = World::of(with_status(running_status()), present()).with_pod(live());
    world.run.spec.cancel = Some(Cancel::KeepWork);
    let Then::StopAgent { verdict: why, .. } = world.step().0.then else {
        panic!("it is asked");
    };
    assert_eq!(why.reason, Reason::Cancelled);
    world.seen.pods = vec![asked_to_stop(&world.seen.pods[0])];
    let (step, _) = world.step();
    assert!(
        matches!(step.then, Then::StopAgent { .. }),
        "a process that does not know since when asks again"
    );
    assert!(step.events.is_empty());
    world.seen.remembered.stop_asked = Some(StopAsked {
        at: at(100),
        verdict: verdict(Reason::Cancelled),
    });
    let (step, _) = world.step();
    assert!(matches!(step.then, Then::Nothing));
    assert!(step.events.is_empty());
}

/// The reason and the message with which a run would be killed, or when it is looked at again.
fn killed(world: &World) -> Result<(Reason, String), Look> {
    match world.step().0 {
        Step {
            then: Then::Kill { verdict, pods, .. },
            ..
        } => {
            assert_eq!(pods, world.seen.pods);
            Ok((verdict.reason, verdict.message))
        }
        step => Err(step.look),
    }
}

#[test]
fn agent_that_nothing_in_its_sandbox_ends_is_killed_in_a_bounded_time() {
    let running = || World::of(with_status(running_status()), present()).with_pod(live());
    let in_a_second = Err(Look::After(Duration::from_secs(1)));
    let reason = |world: &World| killed(world).map(|(reason, _)| reason);

    let mut late = running();
    late.now = 10 + DEADLINE + 89;
    assert_eq!(reason(&late), in_a_second);
    late.now += 1;
    assert_eq!(reason(&late), Ok(Reason::DeadlineExceeded));
    assert!(killed(&late).unwrap().1.contains("activeDeadlineSeconds: 3600"));

    let mut stopped = running();
    stopped.seen.pods = vec![asked_to_stop(&stopped.seen.pods[0])];
    stopped.seen.remembered.stop_asked = Some(StopAsked {
        at: at(50),
        verdict: verdict(Reason::ForeignNetworkPolicy),
    });
    stopped.now = 139;
    assert_eq!(reason(&stopped), in_a_second);
    stopped.now = 140;
    assert_eq!(reason(&stopped), Ok(Reason::ForeignNetworkPolicy));

    let mut collecting = running().with_pod(collecting());
    collecting.now = 109;
    assert_eq!(reason(&collecting), in_a_second);
    collecting.now = 110;
    assert_eq!(reason(&collecting), Ok(Reason::CollectFailed));
}

#[test]
fn agent_that_lost_its_sidecar_is_killed() {
    let mut status = live();
    let sidecar = json!({"name": "sidecar", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 1, "finishedAt": at(50).to_string()}}});
    status["containerStatuses"].as_array_mut().unwrap().push(sidecar);
    let mut world = World::of(with_status(running_status()), present()).with_pod(status);
    world.now = 59;
    assert_eq!(killed(&world), Err(Look::After(Duration::from_secs(1))));
    world.now = 60;
    assert_eq!(killed(&world).unwrap().0, Reason::InternalError);
}

#[test]
fn sidecar_that_the_node_cannot_start_is_the_reason() {
    let mut status = collecting();
    let sidecar = json!({"name": "sidecar", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "CreateContainerError", "message": "no space left on device"}}});
    let containers = status["containerStatuses"].as_array_mut().unwrap();
    containers.retain(|container| container["name"] != "sidecar");
    containers.push(sidecar);
    let mut world = World::of(with_status(running_status()), present()).with_pod(status);
    // `collecting` has the agent's end at second 20.
    world.now = 29;
    assert!(killed(&world).is_err());
    world.now = 30;
    let (reason, message) = killed(&world).unwrap();
    assert_eq!(reason, Reason::RuntimeUnavailable);
    assert!(
        message.contains("no space left on device") && message.contains("starts once only"),
        "{message}"
    );
}

#[test]
fn clock_of_a_node_that_is_behind_does_not_end_a_run_early() {
    let mut world = World::of(with_status(running_status()), present()).with_pod(containers(
        "Running",
        &json!({"running": {"startedAt": at(-5000).to_string()}}),
    ));
    world.now = 1 + DEADLINE + 89;
    assert!(killed(&world).is_err());
    world.now += 1;
    assert_eq!(killed(&world).unwrap().0, Reason::DeadlineExceeded);
}

#[test]
fn pod_without_a_job_is_deleted_where_nothing_else_ends_it() {
    let gone = || World::of(with_status(running_status()), SeenJob::Gone).with_pod(live());
    let change = |world: &mut World, change: fn(&mut RunPod)| {
        let mut pod = RunPod::clone(&world.seen.pods[0]);
        change(&mut pod);
        world.seen.pods = vec![Arc::new(pod)];
    };
    let is_deleted = |world: &World| matches!(world.step().0.then, Then::DeletePods(_));
    assert!(!is_deleted(&gone()), "the garbage collector is about to");

    let mut orphan = gone();
    change(&mut orphan, |pod| pod.metadata.owner_references = None);
    assert!(is_deleted(&orphan));
    let mut finished = orphan.clone();
    finished.run = testing::finished_run(at(60));
    assert!(is_deleted(&finished));
    let mut deleted = orphan.clone();
    deleted.run.metadata.deletion_timestamp = Some(Time(at(99)));
    assert!(is_deleted(&deleted));
    change(&mut orphan, |pod| {
        pod.metadata.deletion_timestamp = Some(Time(at(99)));
    });
    assert!(!is_deleted(&orphan), "it is deleted once");

    let mut unwanted = gone();
    unwanted.run.spec.cancel = Some(Cancel::DiscardWork);
    assert!(is_deleted(&unwanted));
    let mut late = gone();
    late.now = 10 + DEADLINE + 90;
    assert!(is_deleted(&late));
}

#[test]
fn reason_that_only_this_process_knows_ends_the_run() {
    let mut world = World::of(with_status(running_status()), SeenJob::Gone);
    assert_eq!(reason_of(&world), "WorkloadDeleted");
    world.seen.remembered.stopping = Some(verdict(Reason::GatewayChanged));
    assert_eq!(reason_of(&world), "GatewayChanged");
}

fn reason_of(world: &World) -> String {
    world.step().0.status.unwrap().reason.unwrap()
}

#[test]
fn every_end_is_sealed_but_nothing_that_is_killed_waits_for_it() {
    let (mut sealed, mut killed) = (0, 0);
    for (pair, world) in pairs() {
        let (step, asked) = world.step();
        let ends = step.status.as_ref().filter(|status| status.is_finished());
        let Some(status) = ends.filter(|_| !world.run.is_finished()) else {
            assert!(!asked.contains(&"seal"), "{pair}: it does not end");
            continue;
        };
        if matches!(step.then, Then::Kill { .. }) {
            killed += 1;
            assert!(!asked.contains(&"seal"), "{pair}: it must go");
        } else {
            sealed += 1;
            assert_eq!(
                asked.iter().filter(|asked| **asked == "seal").count(),
                1,
                "{pair}"
            );
            let evidence = status.evidence.as_ref().unwrap_or_else(|| panic!("{pair}"));
            assert_eq!((evidence.sequence, evidence.head.len()), (7, 71), "{pair}");
        }
    }
    assert!(sealed > 50 && killed >= 5, "{sealed} {killed}");
}

fn incomplete() -> SealOutcome {
    let SealOutcome::Sealed { mut seal, .. } = testing::sealed() else {
        unreachable!()
    };
    let gap = |source: &str, missing, open| seal::Gap {
        source: source.to_owned(),
        missing,
        open,
    };
    seal.data.complete = false;
    seal.data.gaps = vec![
        gap("gateway/pod-1/a-1", 0, true),
        gap("gateway/pod-2/b-1", 3, false),
        gap("gateway/pod-3/c-1", 1, true),
        gap("gateway/pod-4/d-1", 1, true),
    ];
    SealOutcome::Sealed { seal, unsigned: None }
}

fn unsigned() -> SealOutcome {
    let SealOutcome::Sealed { seal, .. } = testing::sealed() else {
        unreachable!()
    };
    SealOutcome::Sealed {
        seal,
        unsigned: Some("no key".to_owned()),
    }
}

/// How the status says it, `None`: it is waited for.
#[rstest]
#[case::sealed(testing::sealed(), 0, Some("True Sealed "))]
#[case::incomplete(
    incomplete(),
    0,
    Some(
        "False AuditIncomplete Records are missing: gateway/pod-1/a-1 never said how many it has; gateway/pod-2/b-1 misses 3; gateway/pod-3/c-1 misses 1 and never said how many it has; 1 more."
    )
)]
#[case::open(SealOutcome::Open("gateway/pod-1/a-1".to_owned()), 14, None)]
#[case::open_for_long(SealOutcome::Open("gateway/pod-1/a-1".to_owned()), 15, Some("False EvidenceUnavailable gateway/pod-1/a-1"))]
#[case::away(SealOutcome::Unavailable("no answer".to_owned()), 14, None)]
#[case::away_for_long(SealOutcome::Unavailable("no answer".to_owned()), 15, Some("False EvidenceUnavailable no answer"))]
#[case::corrupt(SealOutcome::Refused("line 3".to_owned()), 0, Some("False EvidenceRefused line 3"))]
#[case::no_key_yet(unsigned(), 14, None)]
#[case::no_key(unsigned(), 15, Some("False NotSigned no key"))]
fn an_end_waits_for_its_seal_for_a_bounded_time(
    #[case] sealed: SealOutcome,
    #[case] waited: i64,
    #[case] says: Option<&str>,
) {
    let mut world = World::of(with_status(running_status()), SeenJob::Gone);
    world.sealed = sealed;
    world.sealing_since = Some(world.now - waited);
    let (step, _) = world.step();
    let Some(says) = says else {
        assert!(step.status.is_none() && step.events.is_empty() && !step.forget);
        assert_eq!(step.look, Look::After(Duration::from_secs(1)));
        assert_eq!(step.slot, Slot::Release, "nobody else waits for it");
        return;
    };
    let status = step.status.unwrap();
    let condition = status.condition("Sealed").unwrap();
    let told = format!("{} {} {}", condition.status, condition.reason, condition.message);
    assert_eq!(told, says);
    let is_sealed = !says.contains("Evidence");
    assert_eq!(status.evidence.is_some(), is_sealed);
    assert_eq!(status.reason.as_deref(), Some("WorkloadDeleted"));
    // Another run may have had its slot since.
    let ended = status.completion_time.unwrap().0;
    assert_eq!(ended, at(world.sealing_since.unwrap()));
}

/// What is missing is told by an event, too, and that policy lets the run go on stands beside it where it does.
#[test]
fn what_is_missing_is_told_with_its_number_and_what_policy_says() {
    let goes_on = " Policy lets the run go on while the archive does not acknowledge its records \
                   (limits.evidence.onSinkFailure: Continue).";
    let away = || SealOutcome::Unavailable("No answer.".to_owned());
    for (outcome, missing, word, says) in [
        (incomplete(), 0, None, "Records are missing: "),
        (incomplete(), 1, None, "1 record is missing: "),
        (
            incomplete(),
            5,
            Some(OnSinkFailure::Continue),
            "5 records are missing: ",
        ),
        (away(), 0, Some(OnSinkFailure::Continue), "No answer."),
        (away(), 0, None, "No answer."),
    ] {
        let outcome = match outcome {
            SealOutcome::Sealed { mut seal, unsigned } => {
                seal.data.missing = missing;
                SealOutcome::Sealed { seal, unsigned }
            }
            other => other,
        };
        let is_incomplete = matches!(outcome, SealOutcome::Sealed { .. });
        let mut status = running_status();
        status.resolved.as_mut().unwrap().evidence = word.map(|word| ResolvedEvidence {
            on_sink_failure: Some(word),
            ..ResolvedEvidence::default()
        });
        let mut world = World::of(with_status(status), SeenJob::Gone);
        world.sealed = outcome;
        world.sealing_since = Some(world.now - 15);
        let (step, _) = world.step();
        let message = step.status.unwrap().condition("Sealed").unwrap().message.clone();
        assert!(message.starts_with(says), "{message}");
        assert_eq!(message.ends_with(goes_on), word.is_some(), "{message}");
        let told = step.events.iter().find(|event| event.reason == "AuditIncomplete");
        assert_eq!(
            told.map(|event| event.note.clone()),
            is_incomplete.then_some(message)
        );
    }
}

/// The run has waited for the archive already.
#[test]
fn an_archive_that_gave_no_record_is_not_waited_for_again() {
    let mut world = World::of(with_status(running_status()), SeenJob::Gone);
    world.record = Err("no answer".to_owned());
    world.sealed = SealOutcome::Unavailable("no answer".to_owned());
    let status = world.step().0.status.unwrap();
    assert_eq!(status.condition("Sealed").unwrap().reason, "EvidenceUnavailable");
}
