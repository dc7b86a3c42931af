//! What the gateway needs to know of a sandbox pod, and whether a caller may act for it. Pure.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use crate::denial::Denial;
use cofferdam_api::names::{
    ANNOTATION_POD_DIGEST, ANNOTATION_STOP, AUDIENCE_COLLECT, AUDIENCE_EGRESS, AUDIENCE_PREPARE,
    CONTAINER_AGENT, CONTAINER_PREPARE, LABEL_POLICY_HASH, LABEL_RUN, LABEL_RUN_UID, SANDBOX_SERVICE_ACCOUNT,
    workload_name,
};
use cofferdam_identity::Identity;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::pod::pod_digest;
use cofferdam_wire::runner::{RunIdentity, active_deadline};

/// Which container of a pod a token belongs to: one audience each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The container `prepare`.
    Prepare,
    /// The agent, through the sidecar's forwarder.
    Egress,
    /// The sidecar itself.
    Collect,
}

impl Kind {
    /// The kind of an audience.
    pub fn of_audience(audience: &str) -> Option<Self> {
        match audience {
            AUDIENCE_PREPARE => Some(Self::Prepare),
            AUDIENCE_EGRESS => Some(Self::Egress),
            AUDIENCE_COLLECT => Some(Self::Collect),
            _ => None,
        }
    }

    /// The word for records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Egress => "agent",
            Self::Collect => "sidecar",
        }
    }
}

/// Who owns a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The Job that the run's name and uid demand.
    ItsJob,
    /// Anyone else.
    Another,
}

/// A sandbox pod as the gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxPod {
    /// Uid.
    pub uid: String,
    /// Name.
    pub name: String,
    /// The run that its labels name.
    pub run: RunIdentity,
    /// Hash of the run's frozen policy.
    pub policy_hash: String,
    /// Its addresses; empty until the kubelet reports them.
    pub addresses: Vec<IpAddr>,
    /// Digest that the controller wrote when it built the pod.
    pub built: String,
    /// Digest of the live spec.
    pub live: String,
    /// Who owns it.
    pub owner: Owner,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether `prepare` has ended.
    pub prepare_ended: bool,
    /// RFC 3339 time of the agent's start.
    pub agent_started_at: Option<String>,
    /// How long the agent may work.
    pub active_deadline: Option<Duration>,
    /// Whether the agent has ended.
    pub agent_ended: bool,
    /// The controller's order to stop.
    pub stop: Option<String>,
}

impl SandboxPod {
    /// The projection of a live pod; `None` for one that is not a sandbox's.
    pub fn project(pod: &Pod) -> Option<Self> {
        let namespace = pod.namespace()?;
        let run = RunIdentity {
            namespace,
            name: pod.labels().get(LABEL_RUN)?.clone(),
            uid: pod.labels().get(LABEL_RUN_UID)?.clone(),
        };
        let name = pod.name_any();
        let status = pod.status.as_ref();
        let containers = status.and_then(|status| status.container_statuses.as_deref());
        let init_containers = status.and_then(|status| status.init_container_statuses.as_deref());
        let agent = container(containers, CONTAINER_AGENT);
        let prepare = container(init_containers, CONTAINER_PREPARE);
        Some(Self {
            uid: pod.uid()?,
            policy_hash: pod.labels().get(LABEL_POLICY_HASH).cloned().unwrap_or_default(),
            addresses: addresses(pod),
            built: pod
                .annotations()
                .get(ANNOTATION_POD_DIGEST)
                .cloned()
                .unwrap_or_default(),
            live: pod
                .spec
                .as_ref()
                .and_then(|spec| pod_digest(spec).ok())
                .unwrap_or_default(),
            owner: owner(pod, &name, &run),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            prepare_ended: prepare.is_some_and(ended),
            agent_started_at: agent.and_then(started_at),
            active_deadline: pod.spec.as_ref().and_then(active_deadline),
            agent_ended: agent.is_some_and(ended),
            stop: pod.annotations().get(ANNOTATION_STOP).cloned(),
            name,
            run,
        })
    }

    /// Whether what runs is what was built.
    pub fn is_as_built(&self) -> bool {
        !self.built.is_empty() && self.built == self.live
    }
}

fn container<'a>(statuses: Option<&'a [ContainerStatus]>, name: &str) -> Option<&'a ContainerStatus> {
    statuses?.iter().find(|status| status.name == name)
}

fn ended(status: &ContainerStatus) -> bool {
    status
        .state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some())
}

fn started_at(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    let running = state
        .running
        .as_ref()
        .and_then(|running| running.started_at.as_ref());
    let terminated = state
        .terminated
        .as_ref()
        .and_then(|ended| ended.started_at.as_ref());
    running.or(terminated).map(|time| time.0.to_string())
}

fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = pod.status.as_ref() else {
        return Vec::new();
    };
    let listed = status.pod_ips.iter().flatten().map(|address| address.ip.as_str());
    let mut addresses: Vec<IpAddr> = listed
        .chain(status.pod_ip.as_deref())
        .filter_map(|text| text.parse().ok())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The Job's name follows from the run, so a pod of any other owner is not the run's.
fn owner(pod: &Pod, name: &str, run: &RunIdentity) -> Owner {
    let job = workload_name(&run.name, &run.uid);
    let owned = pod
        .owner_references()
        .iter()
        .any(|owner| owner.kind == "Job" && owner.name == job && owner.controller == Some(true));
    let account = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.as_deref());
    if owned && name.starts_with(&format!("{job}-")) && account == Some(SANDBOX_SERVICE_ACCOUNT) {
        Owner::ItsJob
    } else {
        Owner::Another
    }
}

/// Facts outside of a pod that decide with it whether its containers may act.
#[derive(Clone, Copy, Debug)]
pub struct PodContext {
    /// Whether the API shows the `AgentRun` with the pod's run uid, not being deleted.
    pub run_present: bool,
    /// How many live sandbox pods have the most widely shared of its addresses.
    pub address_owners: usize,
    /// How many live sandbox pods have the caller's address.
    pub peer_owners: usize,
    /// Whether its sidecar saw a hole in the fence.
    pub isolation_lost: bool,
    /// Whether its agent has used up its time.
    pub time_over: bool,
}

/// Whether the holder of the token `identity` who calls from `peer` is `pod`.
///
/// # Errors
/// Every failure means that the caller's identity is not proven.
pub fn identify(
    pod: &SandboxPod,
    context: PodContext,
    identity: &Identity,
    peer: IpAddr,
) -> Result<(), Denial> {
    let bound = identity.pod.as_ref();
    let same = bound.is_some_and(|bound| bound.uid == pod.uid && bound.name == pod.name)
        && identity.namespace == pod.run.namespace
        && identity.service_account == SANDBOX_SERVICE_ACCOUNT;
    if !same || pod.owner != Owner::ItsJob {
        return Err(Denial::new(
            DenialCode::PodMismatch,
            "the token is not that of a sandbox pod",
        ));
    }
    if pod.addresses.is_empty() {
        return Err(Denial::new(
            DenialCode::AddressUnknown,
            "the API does not show the pod's address yet",
        ));
    }
    if !pod.addresses.contains(&peer) {
        return Err(if context.peer_owners > 0 {
            Denial::new(DenialCode::PeerMismatch, "the token is another pod's")
        } else {
            let message = "the connection does not come from the pod's own address: something rewrites it";
            Denial::new(DenialCode::PeerAddressRewritten, message)
        });
    }
    if context.address_owners > 1 {
        return Err(Denial::new(
            DenialCode::AddressShared,
            "two live pods have this address",
        ));
    }
    Ok(())
}

/// Whether a proven caller of this kind may act now.
///
/// # Errors
/// The caller is who it says, but its time has not come or is over.
pub fn permit(pod: &SandboxPod, context: PodContext, kind: Kind) -> Result<(), Denial> {
    if !pod.is_as_built() {
        return Err(Denial::new(
            DenialCode::PodMutated,
            "the live pod differs from the one that was built",
        ));
    }
    let ended = |what: &'static str| Err(Denial::new(DenialCode::RunEnded, what));
    match kind {
        // The sidecar reports what happened until its pod is gone.
        Kind::Collect => Ok(()),
        _ if !context.run_present => ended("the AgentRun is gone"),
        _ if pod.deleting => ended("the pod is being deleted"),
        _ if pod.stop.is_some() => ended("the run is being stopped"),
        _ if context.isolation_lost => ended("the sandbox's isolation was lost"),
        Kind::Prepare if pod.prepare_ended => ended("the preparation has ended"),
        Kind::Egress if pod.agent_ended => ended("the agent has ended"),
        Kind::Egress if context.time_over => ended("the agent has used up its time (activeDeadlineSeconds)"),
        Kind::Egress if pod.active_deadline.is_none() => {
            ended("the pod does not say how long its agent may work")
        }
        Kind::Prepare | Kind::Egress => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A live sandbox pod as the API would show it.

    use super::*;
    use cofferdam_wire::runner::SIDECAR_ENV;
    use serde_json::json;

    pub(crate) const RUN_UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";

    /// The pod `agr-fix-0b7c9f3e-x7k2p` of run `team-a/fix` at `address`, its agent running.
    pub(crate) fn live_pod(uid: &str, address: &str) -> Pod {
        // Longer than any of these tests will be run after the start below.
        let order = json!({"activeDeadlineSeconds": u32::MAX});
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "agr-fix-0b7c9f3e-x7k2p", "namespace": "team-a", "uid": uid,
                "labels": {LABEL_RUN: "fix", LABEL_RUN_UID: RUN_UID, LABEL_POLICY_HASH: "hash"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "agr-fix-0b7c9f3e",
                    "uid": "job-uid", "controller": true}],
            },
            "spec": {
                "serviceAccountName": SANDBOX_SERVICE_ACCOUNT,
                "initContainers": [{"name": "prepare", "image": "runner"}],
                "containers": [
                    {"name": "sidecar", "image": "runner", "env": [{"name": SIDECAR_ENV, "value": order.to_string()}]},
                    {"name": "agent", "image": "agent"},
                ],
            },
            "status": {
                "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                "initContainerStatuses": [status("prepare", &json!({"terminated": {"exitCode": 0}}))],
                "containerStatuses": [status("agent", &json!({"running": {"startedAt": "2026-11-23T10:00:00Z"}}))],
            },
        }))
        .unwrap();
        let digest = pod_digest(pod.spec.as_ref().unwrap()).unwrap();
        pod.annotations_mut()
            .insert(ANNOTATION_POD_DIGEST.to_owned(), digest);
        pod
    }

    pub(crate) fn status(name: &str, state: &serde_json::Value) -> serde_json::Value {
        json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state})
    }

    /// The pod with its `prepare` still running.
    pub(crate) fn preparing(mut pod: Pod) -> Pod {
        let status = pod.status.as_mut().unwrap();
        status.init_container_statuses = Some(vec![
            serde_json::from_value(self::status("prepare", &json!({"running": {}}))).unwrap(),
        ]);
        status.container_statuses = None;
        pod
    }

    /// Who the token of that pod says that it is.
    pub(crate) fn identity(uid: &str, audience: &str) -> Identity {
        Identity {
            username: format!("system:serviceaccount:team-a:{SANDBOX_SERVICE_ACCOUNT}"),
            namespace: "team-a".to_owned(),
            service_account: SANDBOX_SERVICE_ACCOUNT.to_owned(),
            pod: Some(cofferdam_identity::PodIdentity {
                name: "agr-fix-0b7c9f3e-x7k2p".to_owned(),
                uid: uid.to_owned(),
            }),
            audience: audience.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const FINE: PodContext = PodContext {
        run_present: true,
        address_owners: 1,
        peer_owners: 0,
        isolation_lost: false,
        time_over: false,
    };

    fn peer() -> IpAddr {
        "10.244.0.7".parse().unwrap()
    }

    fn judge(pod: &Pod, context: PodContext, kind: Kind) -> Result<(), &'static str> {
        let pod = SandboxPod::project(pod).unwrap();
        identify(&pod, context, &identity("pod-1", "any"), peer())
            .and_then(|()| permit(&pod, context, kind))
            .map_err(|denial| denial.code.as_str())
    }

    #[test]
    fn a_live_pod_as_built_may_act() {
        let pod = live_pod("pod-1", "10.244.0.7");
        assert_eq!(judge(&pod, FINE, Kind::Egress), Ok(()));
        assert_eq!(judge(&pod, FINE, Kind::Collect), Ok(()));
        assert_eq!(judge(&pod, FINE, Kind::Prepare), Err("RunEnded"));
        assert_eq!(judge(&preparing(pod), FINE, Kind::Prepare), Ok(()));
    }

    #[test]
    fn what_the_projection_reads() {
        let pod = SandboxPod::project(&live_pod("pod-1", "10.244.0.7")).unwrap();
        assert_eq!(pod.agent_started_at.as_deref(), Some("2026-11-23T10:00:00Z"));
        assert_eq!(pod.run.uid, RUN_UID);
        let mut unlabelled = live_pod("pod-1", "10.244.0.7");
        unlabelled.labels_mut().remove(LABEL_RUN);
        assert_eq!(SandboxPod::project(&unlabelled), None);
    }

    #[test]
    fn pod_that_does_not_say_how_long_its_agent_may_work_has_no_exit() {
        let mut pod = live_pod("pod-1", "10.244.0.7");
        let spec = pod.spec.as_mut().unwrap();
        spec.containers[0].env = None;
        let digest = pod_digest(spec).unwrap();
        pod.annotations_mut()
            .insert(ANNOTATION_POD_DIGEST.to_owned(), digest);
        assert_eq!(judge(&pod, FINE, Kind::Egress), Err("RunEnded"));
        assert_eq!(judge(&pod, FINE, Kind::Collect), Ok(()));
    }

    type Mutation = fn(&mut Pod);

    #[rstest]
    #[case::another_owner(|pod: &mut Pod| pod.owner_references_mut()[0].name = "agr-fix-ffffffff".into(), "PodMismatch")]
    #[case::no_owner(|pod: &mut Pod| pod.owner_references_mut().clear(), "PodMismatch")]
    #[case::owner_that_does_not_control(|pod: &mut Pod| pod.owner_references_mut()[0].controller = None, "PodMismatch")]
    #[case::another_uid(|pod: &mut Pod| pod.metadata.uid = Some("pod-2".into()), "PodMismatch")]
    #[case::another_namespace(|pod: &mut Pod| pod.metadata.namespace = Some("team-b".into()), "PodMismatch")]
    #[case::no_address(|pod: &mut Pod| {
        let status = pod.status.as_mut().unwrap();
        (status.pod_ip, status.pod_ips) = (None, None);
    }, "AddressUnknown")]
    #[case::another_address(|pod: &mut Pod| {
        let status = pod.status.as_mut().unwrap();
        (status.pod_ip, status.pod_ips) = (Some("10.244.0.8".into()), None);
    }, "PeerAddressRewritten")]
    #[case::no_digest(|pod: &mut Pod| pod.annotations_mut().clear(), "PodMutated")]
    #[case::another_container(|pod: &mut Pod| {
        let spec = pod.spec.as_mut().unwrap();
        spec.containers.push(serde_json::from_value(json!({"name": "injected"})).unwrap());
    }, "PodMutated")]
    #[case::deleting(|pod: &mut Pod| {
        pod.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-11-23T10:00:00Z")).unwrap());
    }, "RunEnded")]
    #[case::stopped(|pod: &mut Pod| {
        pod.annotations_mut().insert(ANNOTATION_STOP.into(), "Cancelled".into());
    }, "RunEnded")]
    #[case::agent_ended(|pod: &mut Pod| {
        let ended = status("agent", &json!({"terminated": {"exitCode": 0}}));
        pod.status.as_mut().unwrap().container_statuses = Some(vec![serde_json::from_value(ended).unwrap()]);
    }, "RunEnded")]
    fn egress_ends_with_each_of_its_conditions(#[case] mutate: Mutation, #[case] code: &str) {
        let mut pod = live_pod("pod-1", "10.244.0.7");
        assert_eq!(judge(&pod, FINE, Kind::Egress), Ok(()));
        mutate(&mut pod);
        assert_eq!(judge(&pod, FINE, Kind::Egress), Err(code));
    }

    #[rstest]
    #[case(PodContext { run_present: false, ..FINE }, Err("RunEnded"), Ok(()))]
    #[case(PodContext { isolation_lost: true, ..FINE }, Err("RunEnded"), Ok(()))]
    #[case(PodContext { time_over: true, ..FINE }, Err("RunEnded"), Ok(()))]
    #[case(PodContext { address_owners: 2, ..FINE }, Err("AddressShared"), Err("AddressShared"))]
    fn surroundings(
        #[case] context: PodContext,
        #[case] egress: Result<(), &'static str>,
        #[case] collect: Result<(), &'static str>,
    ) {
        let pod = live_pod("pod-1", "10.244.0.7");
        assert_eq!(judge(&pod, context, Kind::Egress), egress);
        assert_eq!(judge(&pod, context, Kind::Collect), collect);
    }

    #[test]
    fn a_token_of_another_account_in_the_namespace_is_none() {
        let pod = SandboxPod::project(&live_pod("pod-1", "10.244.0.7")).unwrap();
        let mut identity = identity("pod-1", "any");
        assert!(identify(&pod, FINE, &identity, peer()).is_ok());
        identity.service_account = "default".to_owned();
        assert!(identify(&pod, FINE, &identity, peer()).is_err());
        identity.pod = None;
        assert!(identify(&pod, FINE, &identity, peer()).is_err());
    }

    #[test]
    fn any_of_the_pods_addresses_will_do() {
        let mut pod = live_pod("pod-1", "10.244.0.7");
        pod.status.as_mut().unwrap().pod_ips =
            Some(serde_json::from_value(json!([{"ip": "10.244.0.7"}, {"ip": "fd01::7"}])).unwrap());
        let pod = SandboxPod::project(&pod).unwrap();
        let second = "fd01::7".parse().unwrap();
        assert!(identify(&pod, FINE, &identity("pod-1", "any"), second).is_ok());
    }
}
