//! What a terminal status says of the run's evidence.

use jiff::Timestamp;

use super::{desired, time};
use crate::conditions::set;
use crate::evidence::seal::SealOutcome;
use cofferdam_api::{AgentRun, AgentRunStatus, Evidence};
use cofferdam_wire::seal::{Gap, Seal};

const SEALED: &str = "Sealed";
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
                None => (false, "AuditIncomplete", missing(&seal.data.gaps)),
            }
        }
        SealOutcome::Open(why) | SealOutcome::Unavailable(why) => (false, "EvidenceUnavailable", why.clone()),
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

/// Whose records are not all there. A source is `<role>/<uid of its pod>/<stream>`.
fn missing(gaps: &[Gap]) -> String {
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
    format!("Records are missing: {}{more}.", named.join("; "))
}
