//! What may end a pod before its agent does, read from the pod alone.

use crate::conditions::bounded;
use crate::pod_view::PodView;
use crate::verdict::Verdict;
use cofferdam_api::Reason;
use cofferdam_api::names::{CONTAINER_AGENT, CONTAINER_PREPARE};

/// Why `prepare` failed.
pub fn prepare_failed(view: &PodView<'_>) -> Option<Verdict> {
    let ended = view.prepare_ended()?;
    if let Some(failure) = view.prepare_report().and_then(|report| report.failure) {
        return Some(Verdict::new(failure.reason, failure.message));
    }
    let code = ended.exit_code;
    if code == 0 || view.is_deleted() {
        return None;
    }
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Some(Verdict::new(
            Reason::OutOfMemory,
            "Container prepare used more memory than its limit; a repository is too large.",
        ));
    }
    if ended.reason.as_deref() == Some("StartError") {
        let message = ended.message.as_deref().unwrap_or_default();
        return Some(not_started(CONTAINER_PREPARE, message));
    }
    // An eviction ends prepare too and says more.
    evicted(view).or_else(|| {
        Some(Verdict::new(
            Reason::InternalError,
            format!("Container prepare ended with code {code} and reported nothing; look at its log."),
        ))
    })
}

/// Longest message of a container runtime that is shown, in bytes.
const RUNTIME_MESSAGE_LIMIT: usize = 300;

/// The node's container runtime made a container of ours and could not start it.
pub fn not_started(container: &str, message: &str) -> Verdict {
    let message = bounded(message, RUNTIME_MESSAGE_LIMIT);
    Verdict::new(
        Reason::RuntimeUnavailable,
        format!("The node's runtime cannot start container {container}: {message}"),
    )
}

/// The kubelet, the scheduler or the API took the pod away.
pub fn evicted(view: &PodView<'_>) -> Option<Verdict> {
    let (reason, message) = view.reason();
    if reason == "Evicted" {
        let storage = message.contains("ephemeral local storage") || message.contains("Usage of EmptyDir");
        return Some(Verdict::new(
            if storage {
                Reason::StorageExceeded
            } else {
                Reason::Evicted
            },
            format!("The kubelet evicted the pod: {message}"),
        ));
    }
    if matches!(reason, "NodeLost" | "NodeShutdown" | "Terminated") && message.contains("node") {
        return Some(Verdict::new(
            Reason::NodeLost,
            format!("The pod's node went away: {message}"),
        ));
    }
    let target = view
        .condition("DisruptionTarget")
        .filter(|condition| condition.status == "True")?;
    let message = target.message.as_deref().unwrap_or_default();
    Some(match target.reason.as_deref() {
        Some("DeletionByTaintManager" | "DeletionByPodGC") => {
            Verdict::new(Reason::NodeLost, format!("The pod's node went away: {message}"))
        }
        _ => Verdict::new(Reason::Evicted, format!("The pod was evicted: {message}")),
    })
}

/// A container that was killed for its memory.
pub fn out_of_memory(view: &PodView<'_>) -> Option<Verdict> {
    let killed = view.containers().find(|container| {
        container
            .state
            .as_ref()
            .and_then(|state| state.terminated.as_ref())
            .is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled"))
    })?;
    let hint = if killed.name == CONTAINER_AGENT {
        "; raise spec.resources.limits.memory"
    } else {
        ""
    };
    Some(Verdict::new(
        Reason::OutOfMemory,
        format!("Container {} used more memory than its limit{hint}.", killed.name),
    ))
}
