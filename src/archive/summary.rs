//! A run's records summed up for the controller, as they come. Pure.

use serde::Deserialize;

use cofferdam_wire::output::Receipt;
use cofferdam_wire::record::{Denial, Record, RecordEvent, RunRecord, VERSION};

/// Denials that are handed on.
const LAST_DENIED: usize = 10;

/// What the controller asks of a run's records. Its size is bounded, whatever the records are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    requests: u64,
    denied_requests: u64,
    /// The last that differ in host or code. One that others pushed out is counted from 1 when it comes again.
    last_denied: Vec<Denial>,
    isolation_lost: Option<String>,
    admitted: u32,
}

const ADMITTED: &str = "Admitted";
/// What the sources of the controller's records begin with.
pub const CONTROLLER: &str = "controller/";

impl Summary {
    /// Takes one line of records. What this version cannot read is passed over.
    pub fn add_line(&mut self, line: &[u8]) {
        #[derive(Deserialize)]
        struct Kind<'a> {
            source: &'a str,
            r#type: &'a str,
        }
        if let Ok(record) = serde_json::from_slice(line) {
            self.add(record);
        }
        // Cheap to look for, and rare.
        if line
            .windows(ADMITTED.len())
            .any(|window| window == ADMITTED.as_bytes())
            && let Ok(Kind { source, r#type }) = serde_json::from_slice(line)
        {
            self.add_kind(source, r#type);
        }
    }

    /// Takes the type of a record: only the controller can say that it admitted a run.
    pub fn add_kind(&mut self, source: &str, kind: &str) {
        if kind == ADMITTED && source.starts_with(CONTROLLER) {
            self.admitted = self.admitted.saturating_add(1);
        }
    }

    /// Whether the controller told that the run was admitted.
    pub fn is_admitted(&self) -> bool {
        self.admitted > 0
    }

    /// Requests that were let through.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Requests that were denied.
    pub fn denied_requests(&self) -> u64 {
        self.denied_requests
    }

    /// Takes one record.
    pub fn add(&mut self, record: Record) {
        match record.event {
            RecordEvent::Allowed { .. } => self.requests = self.requests.saturating_add(1),
            RecordEvent::Denied {
                host,
                code,
                message,
                count,
                ..
            } => {
                self.denied_requests = self.denied_requests.saturating_add(count);
                let mut known = self.last_denied.iter_mut();
                if let Some(denial) = known.find(|denial| denial.host == host && denial.code == code) {
                    denial.count = denial.count.saturating_add(count);
                    return;
                }
                if self.last_denied.len() >= LAST_DENIED {
                    self.last_denied.remove(0);
                }
                self.last_denied.push(Denial {
                    time: record.time,
                    host,
                    code,
                    message,
                    count,
                });
            }
            RecordEvent::IsolationLost { probe, detail } => {
                self.isolation_lost
                    .get_or_insert_with(|| format!("{probe}: {detail}"));
            }
            RecordEvent::Closed { .. }
            | RecordEvent::PodMutated { .. }
            | RecordEvent::StreamOpened
            | RecordEvent::StreamClosed { .. }
            | RecordEvent::Unknown => {}
        }
    }

    /// The answer to the controller.
    pub fn run_record(&self, receipt: Option<Receipt>) -> RunRecord {
        let Self {
            requests,
            denied_requests,
            last_denied,
            isolation_lost,
            admitted,
        } = self.clone();
        RunRecord {
            version: VERSION,
            receipt,
            requests,
            denied_requests,
            last_denied,
            isolation_lost,
            chain: None,
            admitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_wire::extensible::Extensible;
    use cofferdam_wire::record::RECORD_VERSION;

    fn summarise(lines: &str) -> RunRecord {
        let mut summary = Summary::default();
        lines.lines().for_each(|line| summary.add_line(line.as_bytes()));
        summary.run_record(None)
    }

    fn line(time: &str, event: RecordEvent) -> String {
        let record = Record {
            version: RECORD_VERSION,
            request: None,
            time: time.to_owned(),
            source_seq: 1,
            event,
        };
        serde_json::to_string(&record).unwrap() + "\n"
    }

    fn denied(host: &str, code: &str, count: u64) -> RecordEvent {
        RecordEvent::Denied {
            host: host.to_owned(),
            method: "CONNECT".to_owned(),
            path: None,
            code: Extensible::read(code),
            layer: None,
            message: format!("{host} is denied"),
            by: "agent".to_owned(),
            count,
        }
    }

    #[test]
    fn counts_and_first_denials() {
        let allowed = RecordEvent::Allowed {
            host: "a.test:443".to_owned(),
            method: "CONNECT".to_owned(),
            path: None,
            address: "203.0.113.30:443".to_owned(),
            rules: vec!["SandboxPolicy/default/a".to_owned()],
            credential: None,
            by: "agent".to_owned(),
        };
        let hole = |probe: &str| RecordEvent::IsolationLost {
            probe: probe.to_owned(),
            detail: "answered".to_owned(),
        };
        let lines = [
            line("1", allowed.clone()),
            line("2", denied("b.test:443", "HostNotAllowed", 5)),
            line("3", denied("b.test:443", "PortNotAllowed", 1)),
            line("4", denied("b.test:443", "HostNotAllowed", 2)),
            line("5", hole("canary")),
            line("6", denied("b.test:443", "HostOnHold", 1)),
            r#"{"version":9,"sourceSeq":1,"time":"6","type":"Reserved","data":{"tokens":5}}"#.to_owned()
                + "\n",
            line("6", hole("kubelet")),
            line("7", allowed),
            "{\"torn".to_owned(),
        ]
        .concat();
        let summary = summarise(&lines);
        assert_eq!((summary.requests, summary.denied_requests), (2, 9));
        let denials: Vec<_> = summary
            .last_denied
            .iter()
            .map(|denial| (denial.time.as_str(), denial.code.to_string(), denial.count))
            .collect();
        assert_eq!(
            denials,
            [
                ("2", "HostNotAllowed".to_owned(), 7),
                ("3", "PortNotAllowed".to_owned(), 1),
                ("6", "HostOnHold".to_owned(), 1),
            ]
        );
        assert_eq!(summary.isolation_lost.as_deref(), Some("canary: answered"));
    }

    #[test]
    fn only_the_last_are_handed_on() {
        let lines: String = (0..25)
            .map(|n| line("t", denied(&format!("{n}.test:443"), "HostNotAllowed", 1)))
            .collect();
        let summary = summarise(&lines);
        assert_eq!(summary.last_denied.len(), LAST_DENIED);
        assert_eq!(summary.last_denied[9].host, "24.test:443");
        assert_eq!(summary.denied_requests, 25);
        assert_eq!(
            summarise(""),
            RunRecord {
                version: VERSION,
                ..RunRecord::default()
            }
        );
    }

    #[test]
    fn denial_that_others_pushed_out_is_counted_anew() {
        let other = |n| line("2", denied(&format!("{n}.test:443"), "HostNotAllowed", 1));
        let first = line("1", denied("first.test:443", "HostNotAllowed", 7));
        let again = line("3", denied("first.test:443", "HostNotAllowed", 1));
        let lines = [first.clone(), (0..9).map(other).collect(), again.clone()].concat();
        assert_eq!(summarise(&lines).last_denied[0].count, 8);
        let lines = [first, (0..10).map(other).collect(), again].concat();
        let summary = summarise(&lines);
        assert_eq!(
            (summary.last_denied[9].count, summary.last_denied[9].time.as_str()),
            (1, "3")
        );
        assert_eq!(
            (summary.denied_requests, summary.last_denied.len()),
            (18, LAST_DENIED)
        );
    }
}
