//! Volumes of a run's pod and who mounts them where. Each is mounted whole: gVisor's hints know no subPath.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, ProjectedVolumeSource,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Input;
use super::storage::Storage;
use cofferdam_api::names::{AUDIENCE_COLLECT, AUDIENCE_EGRESS, AUDIENCE_PREPARE};
use cofferdam_api::{Access, PromptSource};

/// Where work trees stand.
pub const WORKSPACE: &str = "/workspace";
/// The agent's home.
pub const HOME: &str = "/home/agent";
const TMP: &str = "/tmp";
const GIT: &str = "/cofferdam/git";
const TOKENS: &str = "/var/run/cofferdam";

/// Kubernetes' default mode of projected files.
const FILE_MODE: i32 = 0o644;
/// Lifetime of a token in seconds, the shortest that Kubernetes gives; the kubelet renews it.
const TOKEN_SECONDS: i64 = 600;
/// Bound of volumes that hold a few small files.
const SMALL_LIMIT: &str = "16Mi";

/// Directory of a work tree.
pub fn work_tree(directory: &str) -> String {
    format!("{WORKSPACE}/{directory}")
}

/// All volumes.
pub fn all(input: &Input<'_>) -> Vec<Volume> {
    let storage = Storage::of(input);
    let small = || Quantity(SMALL_LIMIT.to_owned());
    let fixed = [
        ("git", storage.pristine()),
        ("contract", small()),
        ("ca", small()),
        ("home", storage.of_the_agent()),
        ("tmp", storage.of_the_agent()),
        ("scratch", Storage::scratch()),
    ];
    let mut volumes: Vec<Volume> = work_trees(input)
        .map(|tree| empty_dir(&tree.volume, storage.work_tree()))
        .chain(fixed.map(|(name, limit)| empty_dir(name, limit)))
        .collect();
    volumes.extend([
        tokens("token-prepare", &[("prepare", AUDIENCE_PREPARE)]),
        tokens(
            "token-sidecar",
            &[("egress", AUDIENCE_EGRESS), ("collect", AUDIENCE_COLLECT)],
        ),
    ]);
    volumes.extend(input.run.spec.task.prompt_from.as_ref().map(prompt));
    volumes
}

/// What `prepare` mounts: everything that it fills, and its own token.
pub fn prepare_mounts(input: &Input<'_>) -> Vec<VolumeMount> {
    let mut mounts: Vec<VolumeMount> = work_trees(input).map(|tree| tree.mount(false)).collect();
    mounts.extend([
        mount("git", GIT, false),
        mount("contract", "/cofferdam/contract", false),
        mount("ca", "/cofferdam/ca", false),
        mount("home", HOME, false),
        mount("scratch", TMP, false),
        mount("token-prepare", TOKENS, true),
    ]);
    if input.run.spec.task.prompt_from.is_some() {
        mounts.push(mount("input", "/cofferdam/input", true));
    }
    mounts
}

/// What `sidecar` mounts: the work trees to read, the pristine repositories to compare them with.
pub fn sidecar_mounts(input: &Input<'_>) -> Vec<VolumeMount> {
    let mut mounts: Vec<VolumeMount> = work_trees(input).map(|tree| tree.mount(true)).collect();
    mounts.extend([
        mount("git", GIT, false),
        mount("scratch", TMP, false),
        mount("token-sidecar", TOKENS, true),
    ]);
    mounts
}

/// What the agent mounts: no token, and nothing that another container trusts.
pub fn agent_mounts(input: &Input<'_>) -> Vec<VolumeMount> {
    let mut mounts: Vec<VolumeMount> = work_trees(input)
        .map(|tree| tree.mount(tree.access == Access::ReadOnly))
        .collect();
    mounts.extend([
        mount("contract", "/cofferdam", true),
        mount("ca", "/etc/ssl/certs", true),
        mount("ca", "/etc/pki/tls/certs", true),
        mount("home", HOME, false),
        mount("tmp", TMP, false),
    ]);
    mounts
}

struct WorkTree {
    volume: String,
    path: String,
    access: Access,
}

impl WorkTree {
    fn mount(&self, read_only: bool) -> VolumeMount {
        mount(&self.volume, &self.path, read_only)
    }
}

/// One volume for each repository; a run without repositories has an empty workspace.
fn work_trees<'a>(input: &Input<'a>) -> impl Iterator<Item = WorkTree> + use<'a> {
    let repositories = &input.admitted.repositories;
    let empty = repositories.is_empty().then(|| WorkTree {
        volume: "workspace".to_owned(),
        path: WORKSPACE.to_owned(),
        access: Access::ReadWrite,
    });
    repositories
        .iter()
        .map(|repository| WorkTree {
            volume: format!("repo-{}", repository.name),
            path: work_tree(&repository.directory),
            access: repository.access,
        })
        .chain(empty)
}

fn empty_dir(name: &str, limit: Quantity) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: None,
            size_limit: Some(limit),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn tokens(name: &str, files: &[(&str, &str)]) -> Volume {
    let sources = files
        .iter()
        .map(|(file, audience)| VolumeProjection {
            service_account_token: Some(ServiceAccountTokenProjection {
                audience: Some((*audience).to_owned()),
                expiration_seconds: Some(TOKEN_SECONDS),
                path: (*file).to_owned(),
                ..ServiceAccountTokenProjection::default()
            }),
            ..VolumeProjection::default()
        })
        .collect();
    Volume {
        name: name.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(FILE_MODE),
            sources: Some(sources),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn prompt(source: &PromptSource) -> Volume {
    let key = &source.config_map_key_ref;
    Volume {
        name: "input".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: key.name.clone(),
            items: Some(vec![KeyToPath {
                key: key.key.clone(),
                path: "prompt".to_owned(),
                ..KeyToPath::default()
            }]),
            default_mode: Some(FILE_MODE),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        // The API server drops a false one.
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
