//! Digest of a pod's security-relevant projection: what was built must be what runs (design: seam 12).
//!
//! Everything in a pod spec that is not known to be harmless is part of the digest, because it is the whole spec minus
//! a short list of fields that the API server, the scheduler or the platform may set. The builder sets every
//! defaulted field itself, so that defaulting changes nothing.
//!
//! | left out | who may set it | why that is harmless |
//! |---|---|---|
//! | `nodeName` | scheduler | the proof is about what runs, not where |
//! | `nodeSelector`, `tolerations` | `RuntimeClass` and `PodNodeSelector` admission, `DefaultTolerationSeconds`, Kueue | as above |
//! | `affinity`, `topologySpreadConstraints` | the API server, which merges `matchLabelKeys` into their selectors | as above |
//! | `priority`, `priorityClassName`, `preemptionPolicy` | `Priority` admission | who runs first |
//! | `overhead` | `RuntimeClass` admission | accounting |
//! | `imagePullSecrets` | `ServiceAccount` admission | none reaches a container |
//! | `resources` of containers | `LimitRange`, autopilots | quotas are the platform's |
//! | `imagePullPolicy` | `AlwaysPullImages` | only makes it stricter |
//!
//! `hostUsers`, on the other hand, is part of it: nothing but the builder sets it.
//!
//! **A uid that the platform assigns.** A pod that was built without our uid leaves it to the platform (`OpenShift`'s
//! `restricted-v2`, for one) to assign uid, gid, `fsGroup` and the `SELinux` level at admission. The digest of such
//! a pod, and of no other, leaves those fields out unless they are root's: a pod that admission gives a uid keeps its
//! digest, a pod that is given root does not. What tells such a pod is its own spec: its pod-level `runAsUser` is not
//! [`SANDBOX_UID`]. A pod that was built with our uid and lost it is therefore digested in the same way; its digest
//! differs from that of the built pod all the same, because the built pod has our uid in it.

mod changes;

use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec};

use cofferdam_api::canonical::{self, CanonicalError};
use cofferdam_api::names::{SANDBOX_UID, digest};

/// `sha256:…` of the projection of `spec`.
///
/// # Errors
/// A number of the spec that has no canonical form, such as a uid of more than 53 bits.
pub fn pod_digest(spec: &PodSpec) -> Result<String, CanonicalError> {
    Ok(digest(canonical::to_string(&projection(spec))?.as_bytes()))
}

/// Where the live pod differs from the built one in what the digest is of, such as `containers[agent].image`: at most a few
/// places.
///
/// # Errors
/// Serialisation of a Kubernetes type, which does not fail in practice.
pub fn changes(built: &PodSpec, live: &PodSpec) -> Result<Vec<String>, serde_json::Error> {
    let [built, live] = [built, live].map(|spec| serde_json::to_value(projection(spec)));
    Ok(changes::between(&built?, &live?))
}

fn projection(spec: &PodSpec) -> PodSpec {
    let mut projected = spec.clone();
    projected.node_name = None;
    projected.node_selector = None;
    projected.tolerations = None;
    projected.affinity = None;
    projected.topology_spread_constraints = None;
    projected.priority = None;
    projected.priority_class_name = None;
    projected.preemption_policy = None;
    projected.overhead = None;
    projected.image_pull_secrets = None;
    let is_assigned = leaves_user_to_platform(spec);
    if is_assigned {
        projected.security_context.iter_mut().for_each(forget_assigned);
    }
    let containers = projected.containers.iter_mut();
    for container in containers.chain(projected.init_containers.iter_mut().flatten()) {
        project_container(container);
        if is_assigned {
            forget_assigned_in(container);
        }
    }
    projected
}

fn project_container(container: &mut Container) {
    container.resources = None;
    container.image_pull_policy = None;
}

fn leaves_user_to_platform(spec: &PodSpec) -> bool {
    let own = spec
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    own != Some(SANDBOX_UID)
}

fn forget_assigned(context: &mut PodSecurityContext) {
    forget_unless_root(&mut context.run_as_user);
    forget_unless_root(&mut context.run_as_group);
    forget_unless_root(&mut context.fs_group);
    // A level separates this pod from others; a type or a role would be another confinement than the runtime's.
    if context
        .se_linux_options
        .as_ref()
        .is_some_and(|options| options.type_.is_none() && options.role.is_none() && options.user.is_none())
    {
        context.se_linux_options = None;
    }
}

fn forget_assigned_in(container: &mut Container) {
    if let Some(context) = &mut container.security_context {
        forget_unless_root(&mut context.run_as_user);
        forget_unless_root(&mut context.run_as_group);
    }
}

fn forget_unless_root(id: &mut Option<i64>) {
    *id = id.filter(|id| *id <= 0);
}

#[cfg(test)]
mod tests;
