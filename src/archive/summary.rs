//! A run's records summed up for the controller. Pure.

use std::collections::HashMap;

use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::extensible::Extensible;
use cofferdam_wire::output::Receipt;
use cofferdam_wire::record::{Denial, Record, RecordEvent, RunRecord, VERSION};

/// Denials that are handed on.
const LAST_DENIED: usize = 10;

/// Sums up whole lines of records; what is not a record is passed over, since it was not one when it was stored.
pub fn summarise(lines: &str, receipt: Option<Receipt>) -> RunRecord {
    let mut summary = RunRecord {
        version: VERSION,
        receipt,
        ..RunRecord::default()
    };
    let mut denials: Vec<Denial> = Vec::new();
    let mut known: HashMap<(String, Extensible<DenialCode>), usize> = HashMap::new();
    for record in lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Record>(line).ok())
    {
        match record.event {
            RecordEvent::Allowed { .. } => summary.requests += 1,
            RecordEvent::Denied {
                host,
                code,
                message,
                count,
                ..
            } => {
                summary.denied_requests = summary.denied_requests.saturating_add(count);
                let key = (host.clone(), code.clone());
                if let Some(denial) = known.get(&key).and_then(|position| denials.get_mut(*position)) {
                    denial.count = denial.count.saturating_add(count);
                    continue;
                }
                known.insert(key, denials.len());
                denials.push(Denial {
                    time: record.time,
                    host,
                    code,
                    message,
                    count,
                });
            }
            RecordEvent::IsolationLost { probe, detail } => {
                summary
                    .isolation_lost
                    .get_or_insert_with(|| format!("{probe}: {detail}"));
            }
            RecordEvent::Closed { .. } | RecordEvent::PodMutated { .. } | RecordEvent::Unknown => {}
        }
    }
    let first = denials.len().saturating_sub(LAST_DENIED);
    summary.last_denied = denials.split_off(first);
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_wire::record::RECORD_VERSION;

    fn line(time: &str, event: RecordEvent) -> String {
        let record = Record {
            version: RECORD_VERSION,
            request: None,
            time: time.to_owned(),
            source: "gateway-1".to_owned(),
            event,
        };
        serde_json::to_string(&record).unwrap() + "\n"
    }

    fn denied(host: &str, code: &str, count: u64) -> RecordEvent {
        RecordEvent::Denied {
            host: host.to_owned(),
            method: "CONNECT".to_owned(),
            code: Extensible::read(code),
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
            address: "203.0.113.30:443".to_owned(),
            rules: vec!["SandboxPolicy/default/a".to_owned()],
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
            r#"{"time":"6","source":"g","type":"Reserved","tokens":5}"#.to_owned() + "\n",
            line("6", hole("kubelet")),
            line("7", allowed),
            "{\"torn".to_owned(),
        ]
        .concat();
        let summary = summarise(&lines, None);
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
        let summary = summarise(&lines, None);
        assert_eq!(summary.last_denied.len(), LAST_DENIED);
        assert_eq!(summary.last_denied[9].host, "24.test:443");
        assert_eq!(summary.denied_requests, 25);
        assert_eq!(
            summarise("", None),
            RunRecord {
                version: VERSION,
                ..RunRecord::default()
            }
        );
    }
}
