//! Termination messages: what a container says to the controller with its end.

use std::path::Path;

use serde::Serialize;

use cofferdam_api::Reason;
use cofferdam_text::bounded;
use cofferdam_wire::runner::{Failure, PrepareReport, SidecarReport, TERMINATION_MESSAGE_LIMIT};

/// Longest message of a failure in bytes. It has no control characters, so JSON at most doubles it.
const MESSAGE_LIMIT: usize = 1024;

/// A failure with its message cut to what fits.
pub fn failure(reason: Reason, message: &str) -> Failure {
    Failure {
        reason,
        message: bounded(message, MESSAGE_LIMIT),
    }
}

/// Writes the report of `prepare`.
///
/// # Errors
/// The file cannot be written, or the report cannot be made to fit, which its bounded lists exclude.
pub fn write_prepare(path: &Path, report: &PrepareReport) -> std::io::Result<()> {
    write(path, report)
}

/// Writes the report of `sidecar`.
///
/// # Errors
/// As [`write_prepare`].
pub fn write_sidecar(path: &Path, report: &SidecarReport) -> std::io::Result<()> {
    write(path, report)
}

fn write<T: Serialize>(path: &Path, report: &T) -> std::io::Result<()> {
    let json = serde_json::to_vec(report)?;
    if json.len() > TERMINATION_MESSAGE_LIMIT {
        return Err(std::io::Error::other("the termination message is too long"));
    }
    std::fs::write(path, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clone::faults::TOLERATED;
    use cofferdam_wire::runner::{RepositoryCommit, VERSION};
    use rstest::rstest;

    /// Commits are reported where nothing failed.
    #[rstest]
    #[case::quotes(Some("\""))]
    #[case::controls(Some("\0"))]
    #[case::commits(None)]
    fn the_longest_report_fits(#[case] text: Option<&str>) {
        let commits = if text.is_some() { 0 } else { 8 };
        let report = PrepareReport {
            version: VERSION,
            failure: text.map(|text| failure(Reason::CloneFailed, &text.repeat(9000))),
            commits: (0..commits)
                .map(|n| RepositoryCommit {
                    name: format!("{n}{}", "n".repeat(39)),
                    commit: "0".repeat(40),
                    tolerated: TOLERATED.iter().copied().map(str::to_owned).collect(),
                })
                .collect(),
            node_open: Some(true),
            proven_time: Some("2026-11-23T22:44:55.123456789Z".to_owned()),
            probes_made: u32::MAX,
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        write_prepare(&path, &report).unwrap();
        let read: PrepareReport = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(read.commits.len(), commits);
        assert!(
            read.failure
                .is_none_or(|failure| failure.message.len() > MESSAGE_LIMIT - 10)
        );
    }
}
