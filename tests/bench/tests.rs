//! Tests of what the bench of runs counts by. Its program is no test itself, so they are here.
#![allow(
    missing_docs,
    dead_code,
    reason = "tests document themselves, and take only a part of the bench"
)]

#[path = "runs/audit.rs"]
mod audit;
#[path = "runs/machine.rs"]
mod machine;
#[path = "runs/metrics.rs"]
mod metrics;
mod proc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

mod audit_tests {
    use std::fs::{self, File};
    use std::io::Write as _;

    use super::audit::*;

    fn line(verb: &str, resource: &str, sub: &str, code: u16, uri: &str) -> String {
        let object = serde_json::json!({
            "verb": verb, "requestURI": uri, "userAgent": "kube-scheduler/v1.37.2 (linux/amd64)/scheduler",
            "objectRef": {"resource": resource, "subresource": sub, "namespace": "n", "name": "x"},
            "responseStatus": {"code": code},
            "requestReceivedTimestamp": "2026-01-02T03:04:05.000006Z", "stageTimestamp": "2026-01-02T03:04:06Z",
        });
        object.to_string() + "\n"
    }

    #[test]
    fn what_counts_as_a_write() {
        let read =
            |verb, resource, sub, code, uri| Request::parse(&line(verb, resource, sub, code, uri)).unwrap();
        let write = read("create", "pods", "binding", 201, "/x");
        assert!(write.stored() && !write.refused());
        assert_eq!(
            (write.resource().as_str(), write.agent()),
            ("pods/binding", "kube-scheduler")
        );
        let conflict = read("update", "agentruns", "status", 409, "/x");
        assert!(conflict.refused() && !conflict.stored());
        for nothing in [
            read("create", "jobs", "", 201, "/x?dryRun=All"),
            read("create", "serviceaccounts", "token", 201, "/x"),
            read("create", "subjectaccessreviews", "", 201, "/x"),
        ] {
            assert!(!nothing.stored() && !nothing.refused(), "{nothing:?}");
        }
    }

    #[test]
    fn log_is_read_from_its_mark_across_files() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("audit.jsonl");
        let append = |text: &str| {
            let mut file = File::options().create(true).append(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append(&line("create", "before", "", 201, "/"));
        let log = Log::new(&path);
        let mark = log.mark().unwrap();
        append(&line("create", "one", "", 201, "/"));
        fs::rename(&path, place.path().join("audit-2026-01-02T03-04-05.000.jsonl")).unwrap();
        append(&line("create", "two", "", 201, "/"));
        append("{\"cut sh");
        let seen: Vec<String> = log.since(mark).unwrap().iter().map(Request::resource).collect();
        assert_eq!(seen, ["one", "two"]);
        fs::remove_file(place.path().join("audit-2026-01-02T03-04-05.000.jsonl")).unwrap();
        assert!(log.since(mark).is_err(), "a gap is not passed over");
    }
}

mod metrics_tests {
    use super::metrics::*;

    const TEXT: &str = r#"# HELP apiserver_request_total x
apiserver_request_total{code="200",component="apiserver",dry_run="",group="cofferdam.dev",resource="agentruns",scope="resource",subresource="status",verb="PUT",version="v1alpha1"} 7
apiserver_request_total{code="409",component="apiserver",dry_run="",group="cofferdam.dev",resource="agentruns",scope="resource",subresource="status",verb="PUT",version="v1alpha1"} 3
apiserver_request_total{code="201",component="apiserver",dry_run="All",group="batch",resource="jobs",scope="resource",subresource="",verb="POST",version="v1"} 9
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="status",verb="APPLY",version="v1"} 1
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="status",verb="PATCH",version="v1"} 2e+03
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 5
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 5
"#;

    #[test]
    fn counters_of_stored_changes() {
        let counts: Vec<(String, u64)> = stored(TEXT).into_iter().collect();
        assert_eq!(
            counts,
            [
                ("patch pods/status".to_owned(), 2001),
                ("update agentruns/status".to_owned(), 7)
            ]
        );
    }

    #[test]
    fn a_write_that_only_one_of_them_knows_is_told() {
        let before = stored(TEXT);
        let mut after = before.clone();
        assert!(differences(&before, &after, &[]).is_empty());
        *after.entry("update agentruns/status".to_owned()).or_default() += 2;
        assert_eq!(
            differences(&before, &after, &[]),
            ["update agentruns/status: 2 in apiserver_request_total, 0 in the audit log"]
        );
    }
}

mod machine_tests {
    use super::machine::*;
    use super::proc;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let own = std::process::id();
        let processes: Processes = [("own".to_owned(), own)].into();
        let used = || cpu(&processes)["own"];
        let before = used();
        let mut sum = 0u64;
        while used() < before + 0.02 {
            sum = sum.wrapping_add(1);
        }
        assert!(resident(own) > 0.5 && sum > 0);
        assert!(proc::started(own).unwrap() <= uptime());
    }

    #[test]
    fn a_process_that_is_not_there_costs_nothing() {
        let gone: Processes = [("gone".to_owned(), u32::MAX)].into();
        assert_eq!(cpu(&gone).get("gone"), Some(&0.0));
    }
}

mod stages {
    use cofferdam_wire::runner::{PrepareReport, SidecarReport};

    /// What KWOK makes the containers of a run report, with a time where its template has one.
    fn messages() -> Vec<String> {
        let stages = include_str!("../cluster/internal/kwok/stages.yaml");
        let lines = stages
            .lines()
            .filter_map(|line| line.trim().strip_prefix("message: '{"));
        lines
            .map(|line| {
                format!("{{{}", line.trim_end_matches('\''))
                    .replace("{{ $now | Quote }}", "\"2026-01-02T03:04:05Z\"")
            })
            .collect()
    }

    #[test]
    fn reports_are_what_the_controller_reads() {
        let messages = messages();
        let [prepare, sidecar] = messages.as_slice() else {
            panic!("one report of each: {messages:?}");
        };
        let prepare: PrepareReport = serde_json::from_str(prepare).unwrap();
        assert!(
            prepare.failure.is_none() && prepare.node_open == Some(false) && prepare.proven_time.is_some()
        );
        let sidecar: SidecarReport = serde_json::from_str(sidecar).unwrap();
        assert!(sidecar.failure.is_none() && sidecar.stopped.is_none());
    }
}
