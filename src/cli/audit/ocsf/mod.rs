//! Records as events of the Open Cybersecurity Schema Framework, for whoever collects such events. Pure.
//!
//! A request is HTTP Activity, the end of a connection Network Activity, a hole in a sandbox Detection Finding, admission
//! and end of a run API Activity; every other record is a Base Event, so that none is missing. What has no attribute of
//! its own in the schema stands in `unmapped` as the archive keeps it.

mod endpoint;
mod tags;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::whole::Whole;
use crate::failure::Failure;
use crate::output::Spool;
use cofferdam_api::Reason;
use cofferdam_wire::record::{Record, RecordEvent};
use cofferdam_wire::run_record::RunEvent;
use endpoint::{endpoint, url};
pub use tags::Tags;

/// Version of the schema.
const VERSION: &str = "1.8.0";
const PRODUCT: &str = "Cofferdam";

/// Severities of the schema.
#[derive(Clone, Copy)]
enum Severity {
    Informational = 1,
    Low = 2,
    Critical = 5,
}

/// Classes of the schema that are used here.
#[derive(Clone, Copy)]
enum Class {
    Base = 0,
    DetectionFinding = 2004,
    NetworkActivity = 4001,
    HttpActivity = 4002,
    ApiActivity = 6003,
}

/// What of an event depends on its class.
struct Shape {
    class: Class,
    activity: u32,
    severity: Severity,
    fields: Map<String, Value>,
}

/// The events of all records, with what the last ones tell of the run in the first ones too.
///
/// # Errors
/// The records cannot be read, or an event is not taken.
pub fn events(
    records: &mut Spool,
    mut take: impl FnMut(&Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let tags = Tags::of(records)?;
    let mut whole = Whole::default();
    records.each_piece(|piece| whole.take(piece, |line| take(&event(line, &tags))))
}

/// The event of one line of a chain. `tags` are those of the run, as far as they are known.
pub fn event(line: &[u8], tags: &Tags) -> Value {
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    let record: Option<Record> = serde_json::from_slice(line).ok();
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, run, time) = (text("type"), text("run"), text("time"));
    let run_event: Option<RunEvent> =
        serde_json::from_value(json!({"type": kind, "data": value.get("data")})).ok();
    let Shape {
        class,
        activity,
        severity,
        mut fields,
    } = match (record.map(|record| record.event), &run_event) {
        (Some(RecordEvent::Unknown), Some(event)) => of_run(event, run, tags),
        (Some(event), _) => of_gateway(&event, run, tags),
        // Of a version that this one does not read.
        (None, _) => base(),
    };
    let class = class as u32;
    let mut event = Map::new();
    for (name, number) in [
        ("class_uid", class),
        ("category_uid", class / 1000),
        ("activity_id", activity),
        ("type_uid", class * 100 + activity),
        ("severity_id", severity as u32),
    ] {
        event.insert(name.to_owned(), number.into());
    }
    if activity == OTHER {
        event.insert("activity_name".to_owned(), kind.into());
    }
    event.insert("time".to_owned(), milliseconds(time).into());
    event.insert("metadata".to_owned(), metadata(&value, tags));
    let rest = ["data", "sourceSeq", "prev"].map(|name| (name.to_owned(), value.get(name).cloned()));
    let rest: Map<String, Value> = rest
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    if rest.is_empty() {
        event.insert("raw_data".to_owned(), String::from_utf8_lossy(line).into());
    } else {
        event.insert("unmapped".to_owned(), Value::Object(rest));
    }
    event.append(&mut fields);
    Value::Object(event)
}

/// Activity of a class that the schema has no number for.
const OTHER: u32 = 99;

fn milliseconds(time: &str) -> i64 {
    // What cannot be read is in `original_time`.
    time.parse().map_or(0, |time: Timestamp| time.as_millisecond())
}

fn metadata(value: &Value, tags: &Tags) -> Value {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let number = |field: &str| value.get(field).and_then(Value::as_u64).unwrap_or_default();
    json!({
        "version": VERSION,
        "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": env!("CARGO_PKG_VERSION")},
        "profiles": ["host", "security_control"],
        "uid": format!("{}/{}", text("run"), number("seq")),
        "correlation_uid": text("run"),
        "sequence": number("seq"),
        "original_time": text("time"),
        "event_code": text("type"),
        "log_name": "records",
        "log_provider": text("source"),
        "log_version": number("version").to_string(),
        // Who says it: a role that saw it, or a process in the sandbox.
        "labels": [format!("class:{}", text("class"))],
        "tags": tags.values(),
    })
}

/// Fields from a literal.
fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_null());
            fields
        }
        _ => Map::new(),
    }
}

fn base() -> Shape {
    Shape {
        class: Class::Base,
        activity: OTHER,
        severity: Severity::Informational,
        fields: Map::new(),
    }
}

fn of_gateway(event: &RecordEvent, run: &str, tags: &Tags) -> Shape {
    let source = || json!({"uid": run, "name": tags.run()});
    match event {
        RecordEvent::Allowed {
            host,
            method,
            path,
            address,
            rules,
            credential,
            by,
        } => Shape {
            class: Class::HttpActivity,
            activity: method_id(method),
            severity: Severity::Informational,
            fields: fields(json!({
                "action_id": 1, "disposition_id": 1, "status_id": 1,
                "actor": actor(by, tags),
                "src_endpoint": source(),
                "dst_endpoint": endpoint(host, Some(address)),
                "http_request": request(host, method, path.as_deref()),
                "firewall_rule": rules.first().map(|rule| json!({"name": rule, "match_details": rules})),
                "policy": tags.policy(),
                "message": credential.as_ref().map(|name| format!("with credential {name}")),
            })),
        },
        RecordEvent::Denied {
            host,
            method,
            path,
            code,
            layer,
            message,
            by,
            count,
        } => Shape {
            class: Class::HttpActivity,
            activity: method_id(method),
            severity: Severity::Low,
            fields: fields(json!({
                "action_id": 2, "disposition_id": 2, "status_id": 2,
                "status_code": code.to_string(), "status_detail": message, "message": message, "count": count,
                "actor": actor(by, tags),
                "src_endpoint": source(),
                "dst_endpoint": endpoint(host, None),
                "http_request": request(host, method, path.as_deref()),
                "firewall_rule": layer.as_ref().map(|layer| json!({"name": layer})),
                "policy": tags.policy(),
            })),
        },
        RecordEvent::Closed {
            host, sent, received, ..
        } => Shape {
            class: Class::NetworkActivity,
            activity: 2,
            severity: Severity::Informational,
            fields: fields(json!({
                "action_id": 3,
                "src_endpoint": source(),
                "dst_endpoint": endpoint(host, None),
                "traffic": {"bytes_out": sent, "bytes_in": received, "bytes": sent.saturating_add(*received)},
            })),
        },
        RecordEvent::IsolationLost { probe, detail } => finding(
            run,
            "the sandbox has a way around the gateway",
            &format!("{probe}: {detail}"),
            tags,
        ),
        RecordEvent::PodMutated { built, live } => {
            let detail = format!("built {built}, live {live}");
            finding(run, "the pod is not the one that was built", &detail, tags)
        }
        // The schema's class for tokens speaks of users who log in; all of these stands in `unmapped`.
        RecordEvent::CredentialIssued { .. }
        | RecordEvent::CredentialRevoked { .. }
        | RecordEvent::RevocationUnknown { .. }
        | RecordEvent::SinkFailed { .. }
        | RecordEvent::StreamOpened
        | RecordEvent::StreamClosed { .. }
        | RecordEvent::Unknown => base(),
    }
}

fn finding(run: &str, title: &str, detail: &str, tags: &Tags) -> Shape {
    Shape {
        class: Class::DetectionFinding,
        activity: 1,
        severity: Severity::Critical,
        fields: fields(json!({
            // The gateway closes the exit of such a run.
            "action_id": 2, "disposition_id": 2, "is_alert": true,
            "finding_info": {"uid": format!("{run}/{title}"), "title": title, "desc": detail},
            "message": detail,
            "resources": [tags.resource(run)],
        })),
    }
}

fn of_run(event: &RunEvent, run: &str, tags: &Tags) -> Shape {
    let (activity, operation, status, detail) = match event {
        RunEvent::Admitted { .. } => (1, "admit", 1, None),
        RunEvent::Ended { reason, message, .. } => {
            let status = if reason == Reason::Completed.as_str() {
                1
            } else {
                2
            };
            (3, "end", status, Some((reason, message)))
        }
        RunEvent::Prepared { .. } | RunEvent::Document { .. } => return base(),
    };
    Shape {
        class: Class::ApiActivity,
        activity,
        severity: Severity::Informational,
        fields: fields(json!({
            "status_id": status,
            "status_code": detail.map(|(reason, _)| reason),
            "status_detail": detail.map(|(_, message)| message),
            "actor": actor("controller", tags),
            "api": {"operation": operation, "service": {"name": PRODUCT}, "group": {"name": cofferdam_api::names::GROUP}},
            // The controller does it; from where the user asked is in the API server's own audit log.
            "src_endpoint": {"svc_name": "cofferdam-controller"},
            "resources": [tags.resource(run)],
            "policy": tags.policy(),
        })),
    }
}

/// Who caused it: the process that asked, on behalf of the user who asked for the run.
fn actor(by: &str, tags: &Tags) -> Value {
    let user = tags.requester().map(|name| json!({"name": name}));
    Value::Object(fields(json!({"app_name": by, "user": user})))
}

fn request(host: &str, method: &str, path: Option<&str>) -> Value {
    // The schema has no other methods; one stands in `unmapped`.
    let method = Some(method).filter(|method| method_id(method) != OTHER);
    Value::Object(fields(
        json!({"http_method": method, "url": path.map(|path| url(host, path))}),
    ))
}

fn method_id(method: &str) -> u32 {
    const METHODS: [&str; 9] = [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE", "PATCH",
    ];
    let position = METHODS.iter().position(|known| *known == method);
    position
        .and_then(|position| u32::try_from(position + 1).ok())
        .unwrap_or(OTHER)
}

#[cfg(test)]
mod tests;
