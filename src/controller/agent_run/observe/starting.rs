//! A pod whose agent has not started: what it waits for, and when waiting is over.

use k8s_openapi::api::core::v1::ContainerStateWaiting;

use super::{Observation, Progress, Question, causes, job_age};
use crate::conditions::seconds_since;
use crate::pod_view::PodView;
use crate::verdict::Verdict;
use cofferdam_api::Reason;
use cofferdam_api::names::{CONTAINER_AGENT, CONTAINER_PREPARE};

/// Seconds for which a failing pull may be a passing one.
const PULL_GRACE_SECONDS: i64 = 60;
/// Seconds for which a container or sandbox that cannot be created may be a passing failure.
const CREATE_GRACE_SECONDS: i64 = 20;

/// Where a pod without a running agent stands.
pub fn observe(seen: &Observation<'_>, view: &PodView<'_>) -> Progress {
    if let Some(verdict) = stuck_container(seen, view) {
        return Progress::Kill(verdict);
    }
    let sandbox_stuck = sandbox_stuck(seen, view);
    let timed_out = job_age(seen) >= i64::from(seen.plan.start_deadline_seconds);
    if (sandbox_stuck || timed_out) && seen.warnings.is_none() {
        return Progress::Ask(Question::Warnings);
    }
    let warnings = seen.warnings.unwrap_or_default();
    if let Some(verdict) = runtime_failure(seen, view, warnings) {
        return Progress::Kill(verdict);
    }
    let detail = detail(view, warnings);
    if timed_out {
        let seconds = seen.plan.start_deadline_seconds;
        return Progress::Kill(Verdict::new(
            Reason::StartTimeout,
            format!("The agent did not start in {seconds} s (startDeadlineSeconds). {detail}"),
        ));
    }
    Progress::Starting { detail }
}

fn stuck_container(seen: &Observation<'_>, view: &PodView<'_>) -> Option<Verdict> {
    let waited = waited(seen, view);
    view.containers().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let (name, image) = (&container.name, &container.image);
        let message = waiting.message.as_deref().unwrap_or_default();
        match waiting.reason.as_deref()? {
            "ErrImageNeverPull" | "InvalidImageName" => Some(pull_failed(name, image, message)),
            "ErrImagePull"
            | "ImagePullBackOff"
            | "RegistryUnavailable"
            | "SignatureValidationFailed"
            | "ImageInspectError"
                if waited >= PULL_GRACE_SECONDS =>
            {
                Some(pull_failed(name, image, message))
            }
            "CreateContainerError" | "CreateContainerConfigError" if waited >= CREATE_GRACE_SECONDS => {
                Some(Verdict::new(
                    Reason::RuntimeUnavailable,
                    format!("Container {name} cannot be created: {message}"),
                ))
            }
            // What our own containers run is known to be there; the agent's command need not be.
            "RunContainerError" if name != CONTAINER_AGENT && waited >= CREATE_GRACE_SECONDS => {
                Some(causes::not_started(name, message))
            }
            _ => None,
        }
    })
}

fn pull_failed(container: &str, image: &str, message: &str) -> Verdict {
    Verdict::new(
        Reason::ImagePullFailed,
        format!("Image {image} of container {container} cannot be pulled: {message}"),
    )
}

fn waited(seen: &Observation<'_>, view: &PodView<'_>) -> i64 {
    view.accepted_at()
        .map_or(0, |since| seconds_since(since, seen.now))
}

/// Scheduled, but after some time there is still no sandbox.
fn sandbox_stuck(seen: &Observation<'_>, view: &PodView<'_>) -> bool {
    let scheduled = view
        .condition("PodScheduled")
        .is_some_and(|condition| condition.status == "True");
    let sandbox = view
        .condition("PodReadyToStartContainers")
        .is_some_and(|condition| condition.status == "True");
    scheduled && !sandbox && waited(seen, view) >= CREATE_GRACE_SECONDS
}

/// The kubelet cannot make a sandbox with the handler of the pod's `RuntimeClass`.
fn runtime_failure(seen: &Observation<'_>, view: &PodView<'_>, warnings: &[String]) -> Option<Verdict> {
    let message = warnings.iter().rev().find(|message| {
        message.contains("create pod sandbox")
            || message.contains("runtime handler")
            || message.contains("RuntimeHandler")
    })?;
    let class = &seen.plan.runtime_class_name;
    // A node that advertises user namespaces for a handler need not be able to make one.
    let with = if view.has_user_namespace() {
        " with a user namespace of its own (limits.runtime.userNamespaces)"
    } else {
        ""
    };
    Some(Verdict::new(
        Reason::RuntimeUnavailable,
        format!("The node cannot start a sandbox of RuntimeClass {class}{with}: {message}"),
    ))
}

/// The most telling thing that is known about why the agent has not started.
fn detail(view: &PodView<'_>, warnings: &[String]) -> String {
    if let Some(condition) = view
        .condition("PodScheduled")
        .filter(|condition| condition.status == "False")
    {
        let message = condition.message.as_deref().unwrap_or_default();
        return format!("The pod is not scheduled: {message}");
    }
    if let Some(message) = warnings.last() {
        return format!("The kubelet warns: {message}");
    }
    view.containers()
        .find_map(|container| {
            let state = container.state.as_ref()?;
            if state.running.is_some() && container.name == CONTAINER_PREPARE {
                return Some("The repositories are being prepared.".to_owned());
            }
            state
                .waiting
                .as_ref()
                .map(|waiting| waiting_detail(&container.name, waiting))
        })
        .unwrap_or_else(|| "The pod is starting.".to_owned())
}

fn waiting_detail(container: &str, waiting: &ContainerStateWaiting) -> String {
    let reason = waiting.reason.as_deref().unwrap_or("Waiting");
    match waiting.message.as_deref() {
        Some(message) => format!("Container {container} waits ({reason}): {message}"),
        None => format!("Container {container} waits ({reason})."),
    }
}
