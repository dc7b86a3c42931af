//! The API server's own count of what it was asked, to hold the audit log against. Pure.

use super::audit::{Counts, Request};

/// Resources that nothing but runs, Jobs and their pods write while a measurement goes on.
const COMPARED: [&str; 7] = [
    "agentruns",
    "agentruns/status",
    "jobs",
    "jobs/status",
    "pods",
    "pods/binding",
    "pods/status",
];

/// Changes that were stored, by `<verb> <resource>`, from the text of `/metrics`.
pub fn stored(text: &str) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        let Some((labels, value)) = line
            .strip_prefix("apiserver_request_total{")
            .and_then(|rest| rest.rsplit_once("} "))
        else {
            continue;
        };
        let label = |name: &str| {
            let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
            labels.get(start..)?.split('"').next()
        };
        let verb = match label("verb") {
            Some("POST") => "create",
            Some("PUT") => "update",
            Some("PATCH" | "APPLY") => "patch",
            Some("DELETE") => "delete",
            Some("DELETECOLLECTION") => "deletecollection",
            _ => continue,
        };
        let accepted = label("code").is_some_and(|code| code.starts_with('2'));
        let dry = label("dry_run").is_some_and(|dry| !dry.is_empty());
        let resource = label("resource").unwrap_or_default();
        if !accepted || dry || resource.is_empty() {
            continue;
        }
        let subresource = label("subresource").unwrap_or_default();
        let name = if subresource.is_empty() {
            resource.to_owned()
        } else {
            format!("{resource}/{subresource}")
        };
        if !COMPARED.contains(&name.as_str()) {
            continue;
        }
        // Counters beyond 2^53 are not met.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counters are whole"
        )]
        let value = value.trim().parse::<f64>().unwrap_or(0.0) as u64;
        *counts.entry(format!("{verb} {name}")).or_default() += value;
    }
    counts
}

/// Where the API server's counters, `before` and `after`, and the audit log in between do not say the same.
pub fn differences(before: &Counts, after: &Counts, requests: &[Request]) -> Vec<String> {
    let logged = super::audit::by_resource(
        requests
            .iter()
            .filter(|request| request.stored() && COMPARED.contains(&request.resource().as_str())),
    );
    let mut keys: Vec<&String> = after.keys().chain(logged.keys()).collect();
    keys.sort();
    keys.dedup();
    let of = |counts: &Counts, key: &str| counts.get(key).copied().unwrap_or(0);
    keys.into_iter()
        .filter_map(|key| {
            let (counted, logged) = (of(after, key).saturating_sub(of(before, key)), of(&logged, key));
            (counted != logged)
                .then(|| format!("{key}: {counted} in apiserver_request_total, {logged} in the audit log"))
        })
        .collect()
}
