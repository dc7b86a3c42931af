//! A run's records summed up for the controller, as they come. Pure.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::keep::Keep;
use super::names::Origin;
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
    origin: Option<Arc<Origin>>,
}

const ADMITTED: &str = "Admitted";
const ENDED: &str = "Ended";
/// What the sources of the controller's records begin with.
pub const CONTROLLER: &str = "controller/";

impl Summary {
    /// Takes one line of records. What this version cannot read is passed over.
    pub fn add_line(&mut self, line: &[u8]) {
        if let Ok(record) = serde_json::from_slice(line) {
            self.add(record);
        }
        // Cheap to look for, and rare.
        let names = |kind: &str| line.windows(kind.len()).any(|window| window == kind.as_bytes());
        if (names("\"Admitted\"") || names("\"Ended\""))
            && let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(line)
            && let Some(source) = fields.get("source").and_then(Value::as_str)
        {
            self.add_told(source, &fields);
        }
    }

    /// Takes what a record, of this source, tells of which run this is: only the controller can say that, and that it
    /// admitted the run.
    pub fn add_told(&mut self, source: &str, fields: &Map<String, Value>) {
        let text = |of: Option<&Value>| of.and_then(Value::as_str).map(str::to_owned);
        let is_admission = match fields.get("type").and_then(Value::as_str) {
            Some(ADMITTED) => true,
            Some(ENDED) => false,
            _ => return,
        };
        if !source.starts_with(CONTROLLER) {
            return;
        }
        self.admitted = self.admitted.saturating_add(u32::from(is_admission));
        let data = fields.get("data");
        let told = |name| text(data.and_then(|data| data.get(name)));
        let Some(run) = told("run") else {
            return;
        };
        let namespace_uid = told("namespaceUid");
        let said = Keep::told(data.and_then(|data| data.get("evidence")));
        // What was told first stays: a later record adds a uid where none was told, and days where it tells more.
        let origin = match self.origin.as_deref() {
            None => Origin {
                run,
                namespace_uid,
                time: text(fields.get("time")).unwrap_or_default(),
                keep: said,
            },
            Some(origin) => Origin {
                namespace_uid: match &origin.namespace_uid {
                    None if origin.run == run => namespace_uid,
                    before => before.clone(),
                },
                keep: origin.keep.longest(said),
                ..origin.clone()
            },
        };
        if self.origin.as_deref() != Some(&origin) {
            self.origin = Some(Arc::new(origin));
        }
    }

    /// Which run this is, as the controller told it.
    pub fn origin(&self) -> Option<&Arc<Origin>> {
        self.origin.as_ref()
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
            | RecordEvent::CredentialIssued { .. }
            | RecordEvent::CredentialRevoked { .. }
            | RecordEvent::RevocationUnknown { .. }
            | RecordEvent::SinkFailed { .. }
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
            origin: _,
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
            patches_removed: false,
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
    fn only_the_controller_tells_which_run_this_is_and_what_it_told_first_stays() {
        let line = |source: &str, kind: &str, run: &str, uid: Option<&str>| {
            let data = serde_json::json!({"run": run, "namespaceUid": uid});
            let line = serde_json::json!({"source": source, "type": kind, "time": kind, "data": data});
            format!("{line}\n")
        };
        let told = |lines: &[String]| {
            let mut summary = Summary::default();
            for line in lines {
                summary.add_line(line.as_bytes());
            }
            let origin = summary.origin().map(|origin| Origin::clone(origin));
            origin.map(|origin| (origin.run, origin.namespace_uid, origin.time))
        };
        let origin =
            |uid: Option<&str>| Some(("a/x".to_owned(), uid.map(str::to_owned), "Admitted".to_owned()));
        let admitted = |uid| line("controller/1/1", "Admitted", "a/x", uid);
        let ended = |run, uid| line("controller/1/2", "Ended", run, uid);
        let gateways = line("gateway/1/1", "Admitted", "b/y", Some("other"));
        assert_eq!(told(std::slice::from_ref(&gateways)), None);
        assert_eq!(told(&[line("controller/1/1", "Other", "a/x", Some("n"))]), None);
        assert_eq!(
            told(&[gateways, admitted(Some("n")), ended("a/x", Some("other"))]),
            origin(Some("n"))
        );
        // The controller was renewed while the run was running.
        assert_eq!(
            told(&[admitted(None), ended("a/x", Some("n"))]),
            origin(Some("n"))
        );
        assert_eq!(told(&[admitted(None), ended("b/x", Some("n"))]), origin(None));
    }

    #[test]
    fn days_are_the_most_that_the_controller_told() {
        let line = |source: &str, days: &serde_json::Value| {
            let data = serde_json::json!({"run": "a/x", "evidence": days});
            let line = serde_json::json!({"source": source, "type": "Admitted", "time": "t", "data": data});
            format!("{line}\n")
        };
        let mut summary = Summary::default();
        for (source, days) in [
            ("controller/1/1", serde_json::json!({"keepRecordsDays": 400})),
            ("gateway/1/1", serde_json::json!({"keepRecordsDays": 4000})),
            (
                "controller/1/2",
                serde_json::json!({"keepRecordsDays": 100, "keepPatchesDays": 7}),
            ),
            ("controller/1/3", serde_json::Value::Null),
        ] {
            summary.add_line(line(source, &days).as_bytes());
        }
        let keep = summary.origin().unwrap().keep;
        assert_eq!((keep.records_days, keep.patches_days), (Some(400), Some(7)));
        assert_eq!(summary.run_record(None).admitted, 3);
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
