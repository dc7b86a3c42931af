//! A pod, read as a run's pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus};

use crate::api::names::{CONTAINER_AGENT, CONTAINER_PREPARE, CONTAINER_SIDECAR};
use crate::wire::runner::{PrepareReport, SidecarReport, TERMINATION_MESSAGE_LIMIT};

/// Reads what a run's pod says.
#[derive(Clone, Copy, Debug)]
pub struct PodView<'a> {
    pod: &'a Pod,
    status: Option<&'a PodStatus>,
}

impl<'a> PodView<'a> {
    /// Reads `pod`.
    pub fn new(pod: &'a Pod) -> Self {
        Self {
            pod,
            status: pod.status.as_ref(),
        }
    }

    /// Whether no container runs or will run.
    pub fn is_over(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
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
        self.pod.spec.as_ref().and_then(|spec| spec.host_users) == Some(false)
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

    /// Status of each container, in the order in which they start.
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

fn report<T: serde::de::DeserializeOwned>(ended: &ContainerStateTerminated) -> Option<T> {
    let message = ended.message.as_deref()?;
    if message.len() > TERMINATION_MESSAGE_LIMIT {
        return None;
    }
    serde_json::from_str(message.trim()).ok()
}
