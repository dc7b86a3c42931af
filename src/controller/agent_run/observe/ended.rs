//! A pod that is over, or gone: why, and with what result.

use jiff::Timestamp;

use super::{Observation, Progress, Proof, Question, causes, job_failed};
use crate::conditions::seconds_since;
use crate::pod_view::PodView;
use crate::verdict::Verdict;
use cofferdam_api::{Completeness, Reason, ResolvedImage};
use cofferdam_wire::output::OutputManifest;
use cofferdam_wire::record::RunRecord;

/// Seconds for which the archive is asked again, from the pod's end.
const RECORD_GRACE_SECONDS: i64 = 60;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Why.
    pub verdict: Verdict,
    /// Exit code of the agent, if it started.
    pub exit_code: Option<i32>,
    /// When the agent started.
    pub agent_started: Option<Timestamp>,
    /// What `prepare` proved.
    pub proof: Option<Proof>,
    /// The image of each container as its node names it.
    pub images: Vec<ResolvedImage>,
    /// Whether it is known that the agent never started, and that nobody but the cluster took the pod away.
    pub unstarted: bool,
    /// What the archive holds.
    pub record: Option<RunRecord>,
}

impl End {
    /// The end of a run of which only the archive still knows anything.
    pub const fn without_pod(verdict: Verdict, record: Option<RunRecord>) -> Self {
        Self {
            verdict,
            exit_code: None,
            agent_started: None,
            proof: None,
            images: Vec::new(),
            unstarted: false,
            record,
        }
    }
}

/// A pod that ended by itself.
pub fn observe(seen: &Observation<'_>, view: &PodView<'_>) -> Progress {
    let verdict = |manifest: Option<&OutputManifest>, record: Option<&RunRecord>| {
        lost_fence(record)
            .or_else(|| causes::prepare_failed(view))
            .or_else(|| causes::evicted(view))
            .or_else(|| causes::out_of_memory(view))
            .or_else(|| stopped(view, manifest))
            .or_else(|| job_deadline(seen, view))
            .or_else(|| deleted(seen, view))
            .or_else(|| sidecar_failed(view))
            .unwrap_or_else(|| by_agent(view, manifest))
    };
    with_record(seen, view, verdict)
}

/// A pod whose run's reason is known before it is read.
pub fn by(seen: &Observation<'_>, view: &PodView<'_>, known: &Verdict) -> Progress {
    with_record(seen, view, |_, _| known.clone())
}

/// The Job has failed, or is being deleted, and no pod is left to tell why.
pub fn without_pod(seen: &Observation<'_>) -> Progress {
    let verdict = match job_failed(seen.job) {
        Some(("DeadlineExceeded", message)) => Verdict::new(
            Reason::DeadlineExceeded,
            format!("The Job's own deadline, the backstop behind the run's, ended it: {message}"),
        ),
        _ => Verdict::new(
            Reason::WorkloadDeleted,
            "The run's pod was deleted while the run was live.",
        ),
    };
    let Some(record) = seen.record else {
        return Progress::Ask(Question::Record);
    };
    Progress::Ended(Box::new(End::without_pod(verdict, record.as_ref().ok().cloned())))
}

/// Waits for the archive's word as long as it can matter, then ends the run.
fn with_record(
    seen: &Observation<'_>,
    view: &PodView<'_>,
    verdict: impl Fn(Option<&OutputManifest>, Option<&RunRecord>) -> Verdict,
) -> Progress {
    let Some(answer) = seen.record else {
        return Progress::Ask(Question::Record);
    };
    let record = answer.as_ref().ok();
    let manifest = record
        .and_then(|record| record.receipt.as_ref())
        .map(|receipt| &receipt.manifest);
    let no_hope = view
        .sidecar_report()
        .is_some_and(|report| report.failure.is_some());
    let waited = view
        .ended_at()
        .map_or(i64::MAX, |end| seconds_since(end, seen.now));
    if view.agent_started().is_some() && manifest.is_none() && !no_hope && waited < RECORD_GRACE_SECONDS {
        return Progress::Finishing;
    }
    let verdict = verdict(manifest, record);
    let taken = view.is_deleted() || seen.job.metadata.deletion_timestamp.is_some();
    let by_cluster = matches!(verdict.reason, Reason::Evicted | Reason::NodeLost);
    Progress::Ended(Box::new(End {
        unstarted: view.agent_never_started() && (!taken || by_cluster),
        verdict,
        exit_code: view
            .agent_started()
            .and(view.agent_ended())
            .map(|ended| ended.exit_code),
        agent_started: view.agent_started(),
        proof: view.prepare_report().as_ref().and_then(Proof::of),
        images: view.images(),
        record: record.cloned(),
    }))
}

/// Whatever else happened: a sandbox that could get out is the news.
fn lost_fence(record: Option<&RunRecord>) -> Option<Verdict> {
    let seen = record?.isolation_lost.as_deref()?;
    Some(Verdict::new(
        Reason::EgressNotEnforced,
        format!("While the agent ran, its fence was not proven any more: {seen}"),
    ))
}

/// The sidecar stopped the agent and said why.
fn stopped(view: &PodView<'_>, manifest: Option<&OutputManifest>) -> Option<Verdict> {
    let reported = || view.sidecar_report().and_then(|report| report.stopped);
    let reason = manifest.and_then(|manifest| manifest.stopped).or_else(reported)?;
    let message = match reason {
        Reason::DeadlineExceeded => {
            "The agent ran longer than activeDeadlineSeconds and was stopped; the patch is what it had done by then."
        }
        Reason::Cancelled => "The run was cancelled; the patch is what the agent had done by then.",
        Reason::EgressNotEnforced => {
            "While the agent ran, its fence was not proven any more; it was stopped."
        }
        Reason::ForeignNetworkPolicy => {
            "Another NetworkPolicy of the namespace widened the fence; the agent was stopped."
        }
        Reason::ForeignService => {
            "A Service of the namespace came to select sandbox pods; the agent was stopped."
        }
        Reason::PodMutated | Reason::PeerAddressRewritten | Reason::GatewayChanged => {
            "The gateway no longer serves this pod; the agent was stopped."
        }
        _ => {
            return Some(Verdict::new(
                Reason::InternalError,
                format!("The agent was stopped for {reason}, which is not a reason to stop one."),
            ));
        }
    };
    Some(Verdict::new(reason, message))
}

/// The Job's backstop ended a pod that nothing else had.
fn job_deadline(seen: &Observation<'_>, view: &PodView<'_>) -> Option<Verdict> {
    let (reason, message) = job_failed(seen.job)?;
    (reason == "DeadlineExceeded").then(|| {
        let reason = if view.agent_started().is_some() {
            Reason::DeadlineExceeded
        } else {
            Reason::StartTimeout
        };
        Verdict::new(reason, format!("The Job's own deadline ended the run: {message}"))
    })
}

/// Someone deleted the pod or its Job before the agent had ended well.
fn deleted(seen: &Observation<'_>, view: &PodView<'_>) -> Option<Verdict> {
    let going = view.is_deleted() || seen.job.metadata.deletion_timestamp.is_some();
    let done = view.agent_ended().is_some_and(|ended| ended.exit_code == 0);
    (going && !done).then(|| {
        Verdict::new(
            Reason::WorkloadDeleted,
            "The run's pod was deleted while the run was live.",
        )
    })
}

/// The sidecar failed for another reason than collecting, which [`by_agent`] weighs against the agent's own end.
fn sidecar_failed(view: &PodView<'_>) -> Option<Verdict> {
    let Some(report) = view.sidecar_report() else {
        return sidecar_broke(view);
    };
    let failure = report.failure?;
    (failure.reason != Reason::CollectFailed).then(|| Verdict::new(failure.reason, failure.message))
}

/// The sidecar ended by a failure and reported nothing: the kubelet then ends the agent, whose exit says nothing.
fn sidecar_broke(view: &PodView<'_>) -> Option<Verdict> {
    let ended = view.sidecar_ended().filter(|ended| ended.exit_code != 0)?;
    let said = match (ended.reason.as_deref(), ended.message.as_deref()) {
        (Some(reason), Some(message)) => format!(" ({reason}: {message})"),
        (Some(reason), None) => format!(" ({reason})"),
        _ => String::new(),
    };
    Some(Verdict::new(
        Reason::InternalError,
        format!(
            "Container sidecar ended with code {} and reported nothing{said}; look at its log.",
            ended.exit_code
        ),
    ))
}

/// Success is the agent's exit code and the archive's receipt; either alone is not.
fn by_agent(view: &PodView<'_>, manifest: Option<&OutputManifest>) -> Verdict {
    let Some(ended) = view.agent_ended().filter(|_| view.agent_started().is_some()) else {
        return never_started(view);
    };
    let uncollected = uncollected(view, manifest);
    match (ended.exit_code, uncollected) {
        (0, None) => Verdict::new(
            Reason::Completed,
            "The agent exited 0 and its work is in the archive.",
        ),
        (0, Some(why)) => Verdict::new(Reason::CollectFailed, why),
        (code, None) => Verdict::new(Reason::AgentFailed, format!("The agent exited with code {code}.")),
        (code, Some(why)) => Verdict::new(
            Reason::AgentFailed,
            format!("The agent exited with code {code}. Its work was not collected either: {why}"),
        ),
    }
}

fn never_started(view: &PodView<'_>) -> Verdict {
    if let Some(ended) = view.agent_ended() {
        let message = ended
            .message
            .as_deref()
            .unwrap_or("the container runtime gave no message");
        return Verdict::new(
            Reason::AgentFailed,
            format!("The agent's command could not be started: {message}"),
        );
    }
    let (reason, message) = view.reason();
    Verdict::new(
        Reason::InternalError,
        format!("The pod ended before the agent started ({reason}): {message}"),
    )
}

/// Why the archive does not hold everything that the agent did; `None` if it does.
fn uncollected(view: &PodView<'_>, manifest: Option<&OutputManifest>) -> Option<String> {
    let Some(manifest) = manifest else {
        return Some(match view.sidecar_report().and_then(|report| report.failure) {
            Some(failure) => failure.message,
            None => format!("The archive holds no receipt {RECORD_GRACE_SECONDS} s after the pod's end."),
        });
    };
    let refused = manifest.refused.first().map(|refusal| {
        format!(
            "Repository {}: {} ({})",
            refusal.repository, refusal.message, refusal.code
        )
    });
    refused.or_else(|| {
        let mut patches = manifest.patches.iter();
        let partial = patches.find(|patch| patch.completeness == Completeness::Partial)?;
        Some(format!(
            "Repository {}: its work tree was not looked at to its end, so the patch is partial: changes of tracked files \
             are in it first, then the newest of the new files",
            partial.repository
        ))
    })
}
