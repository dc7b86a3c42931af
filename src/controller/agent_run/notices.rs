//! What `kubectl describe agentrun` tells. Pure: status and record → notices.

use crate::api::{AgentRunStatus, Reason};
use crate::controller::events::{Kind, Notice};
use crate::wire::record::RunRecord;

/// Something keeps a run from starting.
pub fn waiting(reason: Reason, message: &str) -> Notice {
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

/// The denials of a run, the first of each host and code.
pub fn denials(record: &RunRecord) -> Vec<Notice> {
    record
        .last_denied
        .iter()
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
pub fn end(reason: Reason, status: &AgentRunStatus) -> Notice {
    let mut note = status.message.clone().unwrap_or_default();
    if let Some(usage) = &status.usage {
        note = format!(
            "{note} Requests: {} allowed, {} denied.",
            usage.requests, usage.denied_requests
        );
    }
    for patch in status.outputs.iter().flat_map(|outputs| &outputs.patches) {
        note = format!(
            "{note} Patch of {}: {} file(s), +{} -{}, {}.",
            patch.repository, patch.files, patch.insertions, patch.deletions, patch.digest
        );
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
