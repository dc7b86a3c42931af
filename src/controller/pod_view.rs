//! A pod, read as a run's pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, PodCondition, PodStatus,
};

use crate::conditions::bounded;
use crate::run_pod::RunPod;
use cofferdam_api::ResolvedImage;
use cofferdam_api::names::{CONTAINER_AGENT, CONTAINER_PREPARE, CONTAINER_SIDECAR};
use cofferdam_wire::runner::{PrepareReport, SidecarReport, TERMINATION_MESSAGE_LIMIT};

/// Longest name of a container, and of an image with its digest, that is shown.
const NAME_LIMIT: usize = 63;
const IMAGE_LIMIT: usize = 600;

/// Reads what a run's pod says.
#[derive(Clone, Copy, Debug)]
pub struct PodView<'a> {
    pod: &'a RunPod,
    status: Option<&'a PodStatus>,
}

impl<'a> PodView<'a> {
    /// Reads `pod`.
    pub fn new(pod: &'a RunPod) -> Self {
        Self {
            pod,
            status: pod.status.as_ref(),
        }
    }

    /// Whether no container runs or will run.
    pub fn is_over(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// Whether the agent ended by itself and the sidecar after it, so that no container runs or will run.
    ///
    /// The kubelet first takes the sandbox down, and sets the phase a second or two later. Where something else ends
    /// the pod (an eviction, a drain, a node that shuts down), its reason or the condition `DisruptionTarget` is there
    /// before the containers have ended; then only the phase counts.
    pub fn has_ended_by_itself(&self) -> bool {
        let interfered = self.is_deleted()
            || self.reason() != ("", "")
            || self
                .condition("DisruptionTarget")
                .is_some_and(|condition| condition.status == "True");
        !interfered
            && self.agent_started().is_some()
            && self.agent_ended().is_some()
            && self.sidecar_ended().is_some()
    }

    /// Whether someone has deleted it.
    pub fn is_deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    fn phase(&self) -> &'a str {
        self.status
            .and_then(|status| status.phase.as_deref())
            .unwrap_or_default()
    }

    /// Whether it was built with a user namespace of its own.
    pub fn has_user_namespace(&self) -> bool {
        self.pod.spec.has_user_namespace
    }

    /// The pod's own reason and message, such as `Evicted`.
    pub fn reason(&self) -> (&'a str, &'a str) {
        self.status.map_or(("", ""), |status| {
            (
                status.reason.as_deref().unwrap_or_default(),
                status.message.as_deref().unwrap_or_default(),
            )
        })
    }

    /// A condition by type.
    pub fn condition(&self, type_: &str) -> Option<&'a PodCondition> {
        self.status?
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == type_)
    }

    /// When the kubelet took the pod, else when it was created.
    pub fn accepted_at(&self) -> Option<Timestamp> {
        self.status
            .and_then(|status| status.start_time.as_ref())
            .or(self.pod.metadata.creation_timestamp.as_ref())
            .map(|time| time.0)
    }

    /// Status of each container, init containers first.
    pub fn containers(&self) -> impl Iterator<Item = &'a ContainerStatus> + use<'a> {
        let status = self.status;
        status
            .and_then(|status| status.init_container_statuses.as_ref())
            .into_iter()
            .flatten()
            .chain(
                status
                    .and_then(|status| status.container_statuses.as_ref())
                    .into_iter()
                    .flatten(),
            )
    }

    fn container(&self, name: &str) -> Option<&'a ContainerStatus> {
        self.containers().find(|container| container.name == name)
    }

    /// When the agent's container started; `None` if it never did.
    pub fn agent_started(&self) -> Option<Timestamp> {
        let state = self.container(CONTAINER_AGENT)?.state.as_ref()?;
        let running = state.running.as_ref().and_then(|state| state.started_at.as_ref());
        let ended = state
            .terminated
            .as_ref()
            .and_then(|state| state.started_at.as_ref());
        // A container that could not be created is "terminated" with the zero time.
        running
            .or(ended)
            .map(|time| time.0)
            .filter(|time| time.as_second() > 0)
    }

    /// Whether it is known, for good, that the agent's container never started.
    ///
    /// Only of a pod that no node ever had and none will have, or of which its kubelet said that it is over: while a pod
    /// is alive its agent may start at any moment, and where the node is lost it may have started unseen.
    pub fn agent_never_started(&self) -> bool {
        if self.is_deleted() && self.pod.spec.node.is_none() {
            // No pod that is being deleted is bound to a node any more.
            return true;
        }
        if !self.is_over() || self.is_given_up() {
            return false;
        }
        self.container(CONTAINER_AGENT).is_some_and(never_ran)
    }

    /// Whether not the kubelet but the control plane said that the pod is over.
    fn is_given_up(&self) -> bool {
        self.condition("DisruptionTarget")
            .is_some_and(|condition| condition.reason.as_deref() == Some("DeletionByPodGC"))
    }

    /// The image of each container as its node names it; nothing of containers whose image the node does not have yet.
    pub fn images(&self) -> Vec<ResolvedImage> {
        self.containers()
            .filter(|container| !container.image_id.is_empty())
            .map(|container| ResolvedImage {
                name: bounded(&container.name, NAME_LIMIT),
                image_id: bounded(&container.image_id, IMAGE_LIMIT),
            })
            .collect()
    }

    /// How the agent's container ended.
    pub fn agent_ended(&self) -> Option<&'a ContainerStateTerminated> {
        self.terminated(CONTAINER_AGENT)
    }

    /// How `prepare` ended.
    pub fn prepare_ended(&self) -> Option<&'a ContainerStateTerminated> {
        self.terminated(CONTAINER_PREPARE)
    }

    /// How `sidecar` ended.
    pub fn sidecar_ended(&self) -> Option<&'a ContainerStateTerminated> {
        self.terminated(CONTAINER_SIDECAR)
    }

    fn terminated(&self, name: &str) -> Option<&'a ContainerStateTerminated> {
        self.container(name)?.state.as_ref()?.terminated.as_ref()
    }

    /// What `prepare` reported.
    pub fn prepare_report(&self) -> Option<PrepareReport> {
        report(self.prepare_ended()?)
    }

    /// Why the node has not started `sidecar`, in the kubelet's words.
    pub fn sidecar_unstarted(&self) -> Option<&'a ContainerStateWaiting> {
        let waiting = self
            .container(CONTAINER_SIDECAR)?
            .state
            .as_ref()?
            .waiting
            .as_ref()?;
        let failed = [
            "CreateContainerError",
            "CreateContainerConfigError",
            "RunContainerError",
        ];
        waiting
            .reason
            .as_deref()
            .is_some_and(|reason| failed.contains(&reason))
            .then_some(waiting)
    }

    /// What `sidecar` reported.
    pub fn sidecar_report(&self) -> Option<SidecarReport> {
        report(self.sidecar_ended()?)
    }

    /// When the last container ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.containers()
            .filter_map(|container| {
                container
                    .state
                    .as_ref()?
                    .terminated
                    .as_ref()?
                    .finished_at
                    .as_ref()
            })
            .map(|time| time.0)
            .max()
    }
}

/// A container of a pod that is over, of which no trace says that it ever ran. Where the runtime does not know it, the
/// kubelet ends it as `ContainerStatusUnknown`; one that had been created would have an id.
fn never_ran(container: &ContainerStatus) -> bool {
    let traces = container.container_id.as_ref().is_some_and(|id| !id.is_empty())
        || container.restart_count > 0
        || container.started == Some(true)
        || container
            .last_state
            .as_ref()
            .is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    let Some(state) = &container.state else {
        return !traces;
    };
    let unseen = state.terminated.as_ref().is_none_or(|ended| {
        ended.reason.as_deref() == Some("ContainerStatusUnknown") && ended.started_at.is_none()
    });
    !traces && state.running.is_none() && unseen
}

fn report<T: serde::de::DeserializeOwned>(ended: &ContainerStateTerminated) -> Option<T> {
    let message = ended.message.as_deref()?;
    if message.len() > TERMINATION_MESSAGE_LIMIT {
        return None;
    }
    serde_json::from_str(message.trim()).ok()
}

/// Whether no container of a pod runs or will run.
pub fn is_over(pod: &RunPod) -> bool {
    PodView::new(pod).is_over()
}
