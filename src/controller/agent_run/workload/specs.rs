//! The orders to `prepare` and `sidecar`.

use super::{Identity, Input, probes};
use cofferdam_api::{Access, KernelCheck, NodeAccess, PromptSource, Task};
use cofferdam_wire::runner::{
    CloneGrant, Exclude, MountedPrompt, PrepareSpec, PromptSpec, RepositorySpec, RunIdentity, SidecarSpec,
    VERSION,
};

/// Order to `prepare`.
pub fn prepare(input: &Input<'_>, identity: &Identity) -> PrepareSpec {
    PrepareSpec {
        version: VERSION,
        run: run(identity),
        gateway: input.gateway.to_string(),
        probes: probes::all(input),
        node_access_allowed: tolerated(input),
        repositories: repositories(input, |_| true),
        submodule_grants: submodule_grants(input),
        max_clone_bytes: input.admitted.max_clone_bytes.unsigned_abs(),
        start_deadline_seconds: input.admitted.start_deadline_seconds.unsigned_abs(),
        gvisor_required: input.admitted.kernel_check == KernelCheck::GVisor,
        prompt: prompt(&input.run.spec.task),
    }
}

/// The API server takes a task with one of the two alone.
fn prompt(task: &Task) -> PromptSpec {
    match &task.prompt_from {
        Some(PromptSource { config_map_key_ref }) => PromptSpec::Mounted(MountedPrompt {
            config_map: config_map_key_ref.name.clone(),
            key: config_map_key_ref.key.clone(),
            digest: config_map_key_ref.digest.clone(),
        }),
        None => PromptSpec::Text(task.prompt.clone().unwrap_or_default()),
    }
}

/// Order to `sidecar`.
pub fn sidecar(input: &Input<'_>, identity: &Identity) -> SidecarSpec {
    SidecarSpec {
        version: VERSION,
        run: run(identity),
        gateway: input.gateway.to_string(),
        probes: probes::all(input),
        node_access_allowed: tolerated(input),
        repositories: repositories(input, |access| access == Access::ReadWrite),
        active_deadline_seconds: input.admitted.active_deadline_seconds,
        print_patches: input.config.print_patches,
    }
}

fn run(identity: &Identity) -> RunIdentity {
    RunIdentity {
        namespace: identity.namespace.clone(),
        name: identity.name.clone(),
        uid: identity.uid.clone(),
    }
}

fn tolerated(input: &Input<'_>) -> bool {
    input.admitted.node_access == NodeAccess::Allow
}

fn submodule_grants(input: &Input<'_>) -> Vec<CloneGrant> {
    let grants = input.admitted.submodules.iter().flatten();
    grants
        .map(|grant| CloneGrant {
            layer: grant.layer.clone(),
            urls: grant.urls.clone(),
        })
        .collect()
}

fn repositories(input: &Input<'_>, wanted: impl Fn(Access) -> bool) -> Vec<RepositorySpec> {
    input
        .admitted
        .repositories
        .iter()
        .filter(|repository| wanted(repository.access))
        .map(|repository| RepositorySpec {
            name: repository.name.clone(),
            url: repository.url.as_str().to_owned(),
            reference: repository.reference.clone(),
            directory: repository.directory.clone(),
            access: repository.access,
            clone: repository.clone.clone(),
            credential: input.admitted.frozen.clone_credential(&repository.url),
            exclude: Exclude {
                keep_litter: repository.exclude.keep_litter,
                patterns: repository.exclude.patterns.clone(),
            },
        })
        .collect()
}
