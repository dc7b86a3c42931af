//! What `kubectl describe agentrun` tells. Pure: status and record → notices.

use super::retry;
use super::status::{AUDIT_INCOMPLETE, SEALED, named};
use crate::conditions::bounded;
use crate::events::{Kind, Notice};
use crate::verdict::Verdict;
use cofferdam_api::{AgentRunSpec, AgentRunStatus, Completeness, LeftOut, LiveReason, Reason};
use cofferdam_wire::record::RunRecord;

/// Events about denials of one run at most: the archive sends no more, and is not trusted to.
const DENIALS: usize = 10;

/// Something keeps a run from starting.
pub fn waiting(reason: LiveReason, message: &str) -> Notice {
    Notice {
        kind: Kind::Warning,
        reason: reason.as_str().to_owned(),
        action: "Wait",
        note: message.to_owned(),
    }
}

/// The run is being stopped.
pub fn stopping(reason: Reason, message: &str) -> Notice {
    Notice {
        kind: Kind::Warning,
        reason: format!("Stopping{reason}"),
        action: "Stop",
        note: message.to_owned(),
    }
}

/// The chain of the run is sealed, and records are missing; nothing where none is.
pub fn incomplete(status: &AgentRunStatus) -> Option<Notice> {
    let sealed = status.condition(SEALED)?;
    (sealed.reason == AUDIT_INCOMPLETE).then(|| Notice {
        kind: Kind::Warning,
        reason: AUDIT_INCOMPLETE.to_owned(),
        action: "Seal",
        note: sealed.message.clone(),
    })
}

/// An attempt failed and is repeated.
pub fn retrying(reason: Reason, message: &str, attempt: i32) -> Notice {
    let announced = retry::announcement(&Verdict::new(reason, message), attempt);
    Notice {
        kind: Kind::Warning,
        reason: format!("Retrying{reason}"),
        action: "Retry",
        note: announced.message,
    }
}

/// Another attempt starts.
pub fn attempt(attempt: i32) -> Notice {
    Notice {
        kind: Kind::Normal,
        reason: "Attempt".to_owned(),
        action: "Start",
        note: format!("Attempt {attempt} of {} starts.", retry::MAX_ATTEMPTS),
    }
}

/// The denials of a run, the first of each host and code.
pub fn denials(record: &RunRecord) -> Vec<Notice> {
    record
        .last_denied
        .iter()
        .take(DENIALS)
        .map(|denial| Notice {
            kind: Kind::Warning,
            reason: "Denied".to_owned(),
            action: "Deny",
            note: format!(
                "{} ({}), {} time(s): {}",
                denial.host, denial.code, denial.count, denial.message
            ),
        })
        .collect()
}

/// The one event that sums a run up.
pub fn end(reason: Reason, spec: &AgentRunSpec, status: &AgentRunStatus) -> Notice {
    let mut note = status.message.clone().unwrap_or_default();
    if let Some(asker) = asker(spec) {
        note = format!("{note} {asker}");
    }
    let resolved = status.resolved.as_ref();
    if let Some(profile) = resolved.and_then(|resolved| resolved.agent_profile.as_ref()) {
        let (kind, policy) = (&profile.policy_kind, &profile.policy_name);
        note = format!("{note} Agent profile: {} of {kind} {policy}.", profile.name);
    }
    if let Some(usage) = &status.usage {
        note = format!(
            "{note} Requests: {} allowed, {} denied.",
            usage.allowed_requests, usage.denied_requests
        );
    }
    for patch in status.outputs.iter().flat_map(|outputs| &outputs.patches) {
        let submodule = patch.submodule.as_ref();
        let submodule = submodule.map(|place| format!(", submodule {}", named_path(place)));
        note = format!(
            "{note} Patch of {}{}: {} file(s), +{} -{}, {}.",
            patch.repository,
            submodule.unwrap_or_default(),
            patch.files,
            patch.insertions,
            patch.deletions,
            patch.digest
        );
        if patch.completeness == Completeness::Partial {
            note.push_str(" It is partial.");
        }
        if let Some(files) = patch.lfs_files {
            note = format!("{note} {files} file(s) hold what Git LFS is to keep.");
        }
        note.extend(patch.left_out.as_ref().and_then(left_out));
    }
    Notice {
        kind: if reason == Reason::Completed {
            Kind::Normal
        } else {
            Kind::Warning
        },
        reason: reason.as_str().to_owned(),
        action: "End",
        note,
    }
}

/// Paths that the summary names; the status has more.
const NAMED: usize = 3;

/// What is not in a patch; nothing where ignore rules alone left something out.
fn left_out(left_out: &LeftOut) -> Option<String> {
    let named = left_out.paths.iter().take(NAMED);
    let named: Vec<String> = named
        .map(|each| format!("{} ({})", named_path(&each.path), each.reason))
        .collect();
    let more = left_out.count - i64::try_from(named.len()).unwrap_or_default();
    let more = (more > 0).then(|| format!("{more} more"));
    let list: Vec<String> = named.into_iter().chain(more).collect();
    (left_out.count > 0).then(|| format!(" Left out: {}.", list.join(", ")))
}

/// A path in the summary, which has other things to say, too.
fn named_path(path: &str) -> String {
    named(&bounded(path, 60))
}

/// Who asked for the run: checked, but for whom it was asked is a claim. Nothing where neither is given.
fn asker(spec: &AgentRunSpec) -> Option<String> {
    let requester = spec
        .requested_by
        .as_ref()
        .map(|requester| named(&requester.username));
    let claimed = spec.on_behalf_of.as_deref().map(named);
    Some(match (requester, claimed) {
        (Some(who), Some(whom)) => format!("Requested by {who}, who says on behalf of {whom}."),
        (Some(who), None) => format!("Requested by {who}."),
        (None, Some(whom)) => format!("Requested by someone unknown, who says on behalf of {whom}."),
        (None, None) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use cofferdam_api::Requester;

    #[test]
    fn the_summary_says_who_asked_and_marks_the_claim_as_one() {
        let note = |who: Option<&str>, whom: Option<&str>| {
            let mut spec = testing::run().spec;
            spec.requested_by = who.map(|username| Requester {
                username: username.to_owned(),
                ..Requester::default()
            });
            spec.on_behalf_of = whom.map(str::to_owned);
            end(Reason::Completed, &spec, &AgentRunStatus::default()).note
        };
        assert_eq!(
            note(Some("jane"), Some("issue author")).trim(),
            "Requested by `jane`, who says on behalf of `issue author`."
        );
        assert_eq!(note(Some("jane"), None).trim(), "Requested by `jane`.");
        assert!(note(None, Some("boss")).contains("someone unknown, who says on behalf of `boss`"));
        assert_eq!(note(None, None), "");
        let odd = note(Some("a\u{202e}b`. Requests: 0"), Some("x\u{1b}[2J"));
        assert!(
            odd.contains("`a\\u{202e}b'. Requests: 0`") && !odd.contains('\u{1b}'),
            "{odd}"
        );
    }
    #[test]
    fn the_summary_names_what_was_left_out_and_what_is_partial() {
        let note = |left_out: Option<LeftOut>, completeness: Completeness| {
            let status = AgentRunStatus {
                outputs: Some(cofferdam_api::Outputs {
                    patches: vec![cofferdam_api::PatchOutput {
                        repository: "app".to_owned(),
                        submodule: None,
                        digest: "sha256:1".to_owned(),
                        bytes: 1,
                        files: 1,
                        insertions: 1,
                        deletions: 0,
                        snapshot: cofferdam_api::Snapshot::Final,
                        completeness,
                        lfs_files: (completeness == Completeness::Partial).then_some(2),
                        left_out,
                    }],
                }),
                ..AgentRunStatus::default()
            };
            end(Reason::Completed, &testing::run().spec, &status).note
        };
        let path = |path: &str, reason: &str| cofferdam_api::LeftOutPath {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let left_out = |count: i64, paths: &[(&str, &str)]| LeftOut {
            count,
            ignored: 7,
            paths: paths.iter().map(|(at, reason)| path(at, reason)).collect(),
        };
        let listed = [
            ("core", "FileTooLarge"),
            ("a`b", "SpecialFile"),
            ("c", "HardLink"),
            ("d", "HardLink"),
        ];
        assert!(
            note(Some(left_out(12, &listed)), Completeness::Partial).ends_with(
                " It is partial. 2 file(s) hold what Git LFS is to keep. Left out: `core` (FileTooLarge), `a'b` (SpecialFile), `c` (HardLink), 9 more."
            )
        );
        assert!(
            note(
                Some(left_out(1, &[("core", "FileTooLarge")])),
                Completeness::Complete
            )
            .ends_with("sha256:1. Left out: `core` (FileTooLarge).")
        );
        // What ignore rules alone leave out is no news.
        for nothing in [None, Some(left_out(0, &[]))] {
            assert!(note(nothing, Completeness::Complete).ends_with("sha256:1."));
        }
    }
}
