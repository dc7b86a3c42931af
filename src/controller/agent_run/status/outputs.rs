//! What the archive holds of a run, as its status shows it. Texts of the sandbox are bounded and escaped.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::conditions::bounded;
use cofferdam_api::{AgentRunStatus, DeniedRequest, LeftOut, LeftOutPath, Outputs, PatchOutput, Usage};
use cofferdam_wire::output::{self as wire, PatchManifest};
use cofferdam_wire::record::{Denial, RunRecord};

/// Most patches and denials that a status holds.
const PATCHES: usize = 16;
const DENIALS: usize = 10;
/// Bytes of a path that was left out: the runner's 120 characters, whatever they are.
const PATH_BYTES: usize = 480;
/// Bytes of a submodule's path.
const SUBMODULE_BYTES: usize = 255;

/// Notes counters, the last denials and the patches.
pub fn note(status: &mut AgentRunStatus, record: &RunRecord) {
    status.usage = Some(Usage {
        allowed_requests: count(record.requests),
        denied_requests: count(record.denied_requests),
    });
    let first = record.last_denied.len().saturating_sub(DENIALS);
    status.last_denied = record.last_denied.iter().skip(first).filter_map(denied).collect();
    if let Some(receipt) = &record.receipt {
        status.outputs = Some(Outputs {
            patches: receipt.manifest.patches.iter().take(PATCHES).map(patch).collect(),
        });
    }
}

fn denied(denial: &Denial) -> Option<DeniedRequest> {
    Some(DeniedRequest {
        time: Time(denial.time.parse().ok()?),
        host: bounded(&denial.host, 100),
        code: bounded(&denial.code.to_string(), 63),
    })
}

fn patch(manifest: &PatchManifest) -> PatchOutput {
    PatchOutput {
        repository: bounded(&manifest.repository, 63),
        submodule: manifest
            .submodule
            .as_ref()
            .map(|path| bounded(path, SUBMODULE_BYTES)),
        digest: bounded(&manifest.digest, 80),
        bytes: count(manifest.bytes),
        files: lines(manifest.files),
        insertions: lines(manifest.insertions),
        deletions: lines(manifest.deletions),
        snapshot: manifest.snapshot,
        completeness: manifest.completeness,
        lfs_files: (manifest.lfs_files > 0).then(|| count(manifest.lfs_files)),
        left_out: manifest.left_out.as_ref().map(left_out),
    }
}

fn left_out(reported: &wire::LeftOut) -> LeftOut {
    let paths = reported.paths.iter().take(wire::LEFT_OUT_PATHS);
    LeftOut {
        count: count(reported.count),
        ignored: count(reported.ignored),
        paths: paths
            .map(|left_out| LeftOutPath {
                path: bounded(&left_out.path, PATH_BYTES),
                reason: bounded(&left_out.reason, 63),
            })
            .collect(),
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn lines(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
