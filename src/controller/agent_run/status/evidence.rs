//! What a terminal status says of the run's evidence.

use jiff::Timestamp;

use super::{desired, time};
use crate::conditions::set;
use crate::evidence::seal::SealOutcome;
use cofferdam_api::{AgentRun, AgentRunStatus, Evidence, OnSinkFailure};
use cofferdam_wire::seal::{Seal, SealedData};

/// The condition.
pub const SEALED: &str = "Sealed";
/// Its reason where records are missing.
pub const AUDIT_INCOMPLETE: &str = "AuditIncomplete";
/// Sources that a message names.
const NAMED: usize = 3;

/// Notes where the chain ends, and whether it is sealed, signed and complete.
pub fn sealed(
    status: &AgentRunStatus,
    run: &AgentRun,
    sealed: &SealOutcome,
    now: Timestamp,
) -> AgentRunStatus {
    let mut status = status.clone();
    let (holds, reason, message) = match sealed {
        SealOutcome::Sealed { seal, unsigned } => {
            status.evidence = evidence(seal);
            match unsigned {
                Some(why) => (false, "NotSigned", why.clone()),
                None if seal.data.complete => (true, "Sealed", String::new()),
                None => (
                    false,
                    AUDIT_INCOMPLETE,
                    missing(&seal.data) + let_go_on(&status).unwrap_or_default(),
                ),
            }
        }
        SealOutcome::Open(why) | SealOutcome::Unavailable(why) => (
            false,
            "EvidenceUnavailable",
            why.clone() + let_go_on(&status).unwrap_or_default(),
        ),
        SealOutcome::Refused(why) => (false, "EvidenceRefused", why.clone()),
    };
    let condition = desired(SEALED, Some(holds), reason, &message);
    set(&mut status.conditions, condition, run.metadata.generation, now);
    status
}

/// The end of a run is when it was first seen to be over, however long its seal took: its slot is free from then on.
pub fn ended_at(status: &AgentRunStatus, since: Timestamp) -> AgentRunStatus {
    AgentRunStatus {
        completion_time: Some(time(since)),
        ..status.clone()
    }
}

fn evidence(seal: &Seal) -> Option<Evidence> {
    Some(Evidence {
        sequence: i64::try_from(seal.head.seq).unwrap_or(i64::MAX),
        head: format!("sha256:{}", seal.head.sha256),
        sealed_at: time(seal.sealed_at.parse().ok()?),
    })
}

/// That policy let the run go on, where it did.
fn let_go_on(status: &AgentRunStatus) -> Option<&'static str> {
    let word = status.resolved.as_ref()?.evidence?.on_sink_failure?;
    (word == OnSinkFailure::Continue).then_some(
        " Policy lets the run go on while the archive does not acknowledge its records (limits.evidence.onSinkFailure: \
         Continue).",
    )
}

/// How many records are not there, and whose. A source is `<role>/<uid of its pod>/<stream>`.
fn missing(data: &SealedData) -> String {
    let gaps = &data.gaps;
    let named: Vec<String> = gaps
        .iter()
        .take(NAMED)
        .map(|gap| match (gap.open, gap.missing) {
            (true, 0) => format!("{} never said how many it has", gap.source),
            (true, missing) => format!("{} misses {missing} and never said how many it has", gap.source),
            (false, missing) => format!("{} misses {missing}", gap.source),
        })
        .collect();
    let more = match gaps.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    let number = match data.missing {
        0 => "Records are missing".to_owned(),
        1 => "1 record is missing".to_owned(),
        number => format!("{number} records are missing"),
    };
    format!("{number}: {}{more}.", named.join("; "))
}
