//! What the cluster shows of a run → where the run stands. Pure: `now` and everything asked for are parameters.

pub mod causes;
mod ended;
mod starting;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::plan::Plan;
use crate::conditions::seconds_since;
use crate::pod_view::PodView;
use crate::run_pod::RunPod;
use crate::verdict::Verdict;
use cofferdam_api::names::{LABEL_POLICY_HASH, LABEL_RUN_UID};
use cofferdam_api::{ProvenNodeAccess, Reason, ResolvedImage};
use cofferdam_wire::record::RunRecord;
use cofferdam_wire::runner::PrepareReport;

pub use ended::End;

/// Everything that is known. What is `None` has not been asked for yet.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Uid of the run.
    pub run_uid: &'a str,
    /// What the run came to when its Job was built.
    pub plan: &'a Plan,
    /// The Job.
    pub job: &'a Job,
    /// Its pod, if there is one.
    pub pod: Option<&'a RunPod>,
    /// What a dry run of the pod's creation said: `Ok` is no objection.
    pub admission: Option<&'a Result<(), String>>,
    /// Where the pod differs from the built one; empty where that could not be found out.
    pub changes: Option<&'a [String]>,
    /// Messages of the pod's warning events, oldest first.
    pub warnings: Option<&'a [String]>,
    /// What the archive said: the run's record, or why there is none.
    pub record: Option<&'a Result<RunRecord, String>>,
    /// When this was seen.
    pub now: Timestamp,
}

/// A question that only the API server or the archive can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Would the API server take the pod? ([`Observation::admission`])
    Admission,
    /// Where does the pod differ from the built one? ([`Observation::changes`])
    Changes,
    /// What does the kubelet warn of? ([`Observation::warnings`])
    Warnings,
    /// What did the gateway see, and is there a receipt? ([`Observation::record`])
    Record,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Nothing can be said before this is answered.
    Ask(Question),
    /// The agent has not started.
    Starting {
        /// What is being waited for.
        detail: String,
    },
    /// The agent runs.
    Running(Running),
    /// The agent has ended; the sidecar collects, or its receipt is awaited.
    Finishing,
    /// The run must be stopped and will end with this.
    Kill(Verdict),
    /// The run is over.
    Ended(Box<End>),
}

/// What a running agent's status says.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// When the agent's container started.
    pub agent_started: Timestamp,
    /// What `prepare` proved.
    pub proof: Option<Proof>,
    /// The image of each container as its node names it.
    pub images: Vec<ResolvedImage>,
}

/// What `prepare` proved and resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// Its report.
    pub report: PrepareReport,
    /// Whether the pod reaches its own node.
    pub node_access: ProvenNodeAccess,
    /// When it had seen the fence closed.
    pub proven_time: Timestamp,
}

impl Proof {
    /// The proof in a report; `None` if `prepare` did not get that far.
    fn of(report: &PrepareReport) -> Option<Self> {
        let proven_time = report.proven_time.as_deref()?.parse().ok()?;
        Some(Self {
            node_access: if report.node_open? {
                ProvenNodeAccess::Allowed
            } else {
                ProvenNodeAccess::Denied
            },
            report: report.clone(),
            proven_time,
        })
    }
}

/// Where the run stands.
pub fn observe(seen: &Observation<'_>) -> Progress {
    let Some(pod) = seen.pod else {
        return without_pod(seen);
    };
    let view = PodView::new(pod);
    if is_mutated(seen, pod) {
        let Some(places) = seen.changes else {
            return Progress::Ask(Question::Changes);
        };
        let verdict = mutated(seen, pod, places);
        return if view.is_over() || view.is_deleted() {
            ended::by(seen, &view, &verdict)
        } else {
            Progress::Kill(verdict)
        };
    }
    if view.is_over() || view.has_ended_by_itself() {
        return ended::observe(seen, &view);
    }
    if view.is_deleted() {
        // It goes; its end, or its absence, says the rest.
        return Progress::Finishing;
    }
    match view.agent_started() {
        Some(_) if view.agent_ended().is_some() => Progress::Finishing,
        Some(agent_started) => Progress::Running(Running {
            agent_started,
            proof: view.prepare_report().as_ref().and_then(Proof::of),
            images: view.images(),
        }),
        None => starting::observe(seen, &view),
    }
}

/// The pod must be the one that was built: same digest, same identity.
fn is_mutated(seen: &Observation<'_>, pod: &RunPod) -> bool {
    pod.spec.digest != seen.plan.pod_digest || !is_labelled(seen, pod)
}

fn is_labelled(seen: &Observation<'_>, pod: &RunPod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    label(LABEL_RUN_UID) == Some(seen.run_uid)
        && label(LABEL_POLICY_HASH) == Some(seen.plan.policy_hash.as_str())
}

fn mutated(seen: &Observation<'_>, pod: &RunPod, places: &[String]) -> Verdict {
    let (live, built) = (&pod.spec.digest, &seen.plan.pod_digest);
    if live == built {
        return Verdict::new(
            Reason::PodMutated,
            "The pod's labels name another run or another policy than its Job's.",
        );
    }
    let how = if places.is_empty() {
        format!("digest {live}, built {built}")
    } else {
        format!("it differs in {}", places.join(", "))
    };
    Verdict::new(
        Reason::PodMutated,
        format!(
            "The pod that runs is not the pod that was built: {how}. Something in the cluster changes pods at admission; \
             exclude pods with the label cofferdam.dev/run from it."
        ),
    )
}

/// Seconds after which a Job without a pod is asked about.
const POD_GRACE_SECONDS: i64 = 10;

fn without_pod(seen: &Observation<'_>) -> Progress {
    let age = job_age(seen);
    if seen.job.metadata.deletion_timestamp.is_some() || job_failed(seen.job).is_some() {
        return ended::without_pod(seen);
    }
    if is_suspended(seen.job) {
        return Progress::Starting {
            detail: "The Job is suspended until its queue admits it.".to_owned(),
        };
    }
    if age >= i64::from(seen.plan.start_deadline_seconds) {
        return Progress::Kill(Verdict::new(
            Reason::StartTimeout,
            format!("The Job made no pod in {age} s. Look at its events."),
        ));
    }
    if age < POD_GRACE_SECONDS
        || seen
            .job
            .status
            .as_ref()
            .is_some_and(|status| status.active.unwrap_or(0) > 0)
    {
        return Progress::Starting {
            detail: "The Job has made no pod yet.".to_owned(),
        };
    }
    match seen.admission {
        None => Progress::Ask(Question::Admission),
        Some(Ok(())) => Progress::Starting {
            detail: "The Job has made no pod yet, though the API server would take it.".to_owned(),
        },
        Some(Err(message)) => Progress::Kill(Verdict::of_refused("the pod", message)),
    }
}

/// A queue (Kueue) holds the Job: it has no pod, and its time does not run. The guard lets nobody suspend it again.
fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)
}

/// Seconds since the Job was started by the job-controller, which it is at once where no queue holds it; else since it
/// was created.
fn job_age(seen: &Observation<'_>) -> i64 {
    let started = seen
        .job
        .status
        .as_ref()
        .and_then(|status| status.start_time.as_ref());
    started
        .or(seen.job.metadata.creation_timestamp.as_ref())
        .map_or(0, |since| seconds_since(since.0, seen.now))
}

/// Reason and message with which the Job failed.
fn job_failed(job: &Job) -> Option<(&str, &str)> {
    job.status
        .as_ref()?
        .conditions
        .iter()
        .flatten()
        .find(|condition| {
            matches!(condition.type_.as_str(), "Failed" | "FailureTarget") && condition.status == "True"
        })
        .map(|condition| {
            (
                condition.reason.as_deref().unwrap_or_default(),
                condition.message.as_deref().unwrap_or_default(),
            )
        })
}
