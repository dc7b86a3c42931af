//! Why a run ends, and why one cannot start yet.

use cofferdam_api::{LiveReason, Reason};

/// A terminal reason with its explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The reason.
    pub reason: Reason,
    /// What was wrong, where, and what to do.
    pub message: String,
}

impl Verdict {
    /// A verdict.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// The API server refuses an object of the run, such as "the Job", with this message.
    ///
    /// Kubernetes marks a refusal by a `ResourceQuota` in its text only.
    pub fn of_refused(object: &str, message: &str) -> Self {
        if message.contains("exceeded quota") || message.contains("failed quota") {
            Self::new(
                Reason::QuotaExceeded,
                format!("A ResourceQuota refuses {object}: {message}"),
            )
        } else {
            Self::new(
                Reason::AdmissionRefused,
                format!("The API server refuses {object}: {message}"),
            )
        }
    }
}

/// Something that a run waits for before it can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What the run waits for.
    pub reason: LiveReason,
    /// What the run ends with if it waits too long.
    pub ends_with: Reason,
    /// What is missing and what to do.
    pub message: String,
    /// Whether someone has to act; otherwise it comes by itself.
    pub actionable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::exceeded(
        "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2",
        Reason::QuotaExceeded
    )]
    #[case::failed(
        "pods \"x\" is forbidden: failed quota: small: must specify limits.cpu",
        Reason::QuotaExceeded
    )]
    #[case::policy(
        "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'house' denied request",
        Reason::AdmissionRefused
    )]
    fn refusal_is_told_apart_by_its_text(#[case] message: &str, #[case] reason: Reason) {
        let verdict = Verdict::of_refused("the pod", message);
        assert_eq!(verdict.reason, reason);
        assert!(verdict.message.ends_with(message));
    }
}
