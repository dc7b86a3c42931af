//! How each field of a decision is shown.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::finding::Finding;
use crate::dimension::evidence::Evidence;
use crate::dimension::profile::Offered;
use crate::dimension::repositories::{Granted, Submodules};
use crate::dimension::resources;
use crate::dimension::runtime::Runtime;
use crate::dimension::times::Times;
use crate::dimension::vulnerabilities::Ceiling;
use crate::dimension::{credentials, images, profile};
use crate::refusal::Refusal;
use crate::source::{Source, Sourced};
use cofferdam_api::{CloneOptions, OnSinkFailure, RequesterMode, Tunnels};

pub(super) fn of_requester(requester: &Result<Sourced<RequesterMode>, Refusal>) -> Finding {
    match requester {
        Ok(met) => {
            let note = match met.value {
                RequesterMode::Optional => "the run need not say who asks",
                RequesterMode::Required => "and the run says who asks",
            };
            Finding::mode("spec.requestedBy", met).noted(note)
        }
        Err(refusal) => Finding::refused(refusal),
    }
}

/// Nothing where the run names an image.
pub(super) fn of_profile(decided: &Sourced<Option<Offered>>) -> Option<Finding> {
    let (Offered { profile, .. }, source) = profile::source(decided)?;
    let started = match profile.command.as_slice() {
        [] => "its image's own entrypoint".to_owned(),
        command => command.join(" "),
    };
    Some(Finding::allowed(profile::FIELD, &profile.name, source).noted(format!("starts {started}")))
}

pub(super) fn of_runtime(runtime: &Runtime) -> Vec<Finding> {
    let Runtime {
        class,
        node_access,
        run_as_user,
        user_namespace,
        kernel_check,
    } = runtime;
    let own = user_namespace.value;
    let note = if own {
        "the pod has a user namespace of its own"
    } else {
        "the pod has the node's user namespace"
    };
    vec![
        Finding::allowed("runtimeClassName", &class.value, &class.source),
        Finding::mode("limits.runtime.nodeAccess", node_access),
        Finding::mode("limits.runtime.runAsUser", run_as_user),
        Finding::allowed("hostUsers", (!own).to_string(), &user_namespace.source).noted(note),
        Finding::mode("limits.runtime.kernelCheck", kernel_check),
    ]
}

/// Nothing where no policy looks at reports.
pub(super) fn of_vulnerabilities(found: &Result<Ceiling, Refusal>) -> Option<Finding> {
    match found {
        Ok(met) => met.value.map(|severity| {
            let field = format!("vulnerabilities of {}", images::FIELD);
            Finding::allowed(field, format!("{severity:?} at most"), &met.source)
        }),
        Err(refusal) => Some(Finding::refused(refusal)),
    }
}

pub(super) fn of_repository(name: &str, granted: &Granted) -> Finding {
    let url = granted.repository.url.to_string();
    let finding = Finding::allowed(format!("spec.repositories[{name}].url"), url, &granted.source);
    match &granted.credential {
        Some(credential) => finding.noted(format!("cloned with credential {credential}")),
        None => finding,
    }
}

/// Nothing where the run asks for what everybody gets.
pub(super) fn of_clone(name: &str, clone: &CloneOptions) -> Option<Finding> {
    if *clone == CloneOptions::default() {
        return None;
    }
    // Without `..`: an ask that is not shown here does not compile.
    let CloneOptions {
        depth,
        branches,
        sparse,
        submodules,
        lfs,
    } = clone;
    let files = match sparse.as_slice() {
        [] => "all files".to_owned(),
        some => format!("files of {}", some.join(", ")),
    };
    let value =
        format!("depth {depth}, branches {branches:?}, submodules {submodules:?}, Git LFS {lfs:?}, {files}");
    Some(Finding::allowed(
        format!("spec.repositories[{name}].clone"),
        value,
        &Source::Run,
    ))
}

pub(super) fn of_submodules(submodules: &Submodules) -> Finding {
    let layers: Vec<&str> = submodules
        .grants
        .iter()
        .map(|grant| grant.layer.as_str())
        .collect();
    Finding::allowed("submodules", "those that every layer grants", &Source::Run).noted(format!(
        "each url must match limits.repositories.clone of {}; which there are is seen when the commit is cloned",
        layers.join(", ")
    ))
}

pub(super) fn of_tunnels(tunnels: &Sourced<Tunnels>) -> Finding {
    let note = match tunnels.value {
        Tunnels::Deny => "every request of the agent is read",
        Tunnels::Allow => "rules may say tls: Tunnel",
    };
    Finding::mode("limits.tunnels", tunnels).noted(note)
}

pub(super) fn of_evidence(evidence: &Evidence) -> Vec<Finding> {
    let Evidence {
        on_sink_failure,
        keep_records_days,
        keep_patches_days,
    } = evidence;
    let note = match on_sink_failure.value {
        OnSinkFailure::Stop => "without evidence there is no traffic",
        OnSinkFailure::Continue => {
            "traffic goes on while the archive does not acknowledge; records that are lost are counted"
        }
    };
    let kept = |field: &str, days: &Sourced<Option<i32>>, silent: &str| {
        let value = days.value.map_or_else(
            || format!("as the installation says ({silent})"),
            |days| format!("{days} days at least"),
        );
        Finding::allowed(field, value, &days.source)
    };
    vec![
        Finding::mode("limits.evidence.onSinkFailure", on_sink_failure).noted(note),
        kept(
            "limits.evidence.keepRecordsDays",
            keep_records_days,
            "evidence.retentionDays",
        ),
        kept(
            "limits.evidence.keepPatchesDays",
            keep_patches_days,
            "evidence.patchRetentionDays",
        ),
    ]
}

pub(super) fn of_credential(granted: &credentials::Granted) -> Finding {
    let credentials::Granted { credential, source } = granted;
    let hosts: Vec<String> = credential.hosts.iter().map(ToString::to_string).collect();
    let seen = match &credential.placeholder {
        Some(placeholder) => format!("the agent sees a placeholder in {}", placeholder.env),
        None => "the agent sees nothing of it".to_owned(),
    };
    Finding::allowed(
        "credential",
        format!("{}, added by the gateway", credential.name),
        source,
    )
    .noted(format!(
        "never sent elsewhere than to {}; {seen}",
        hosts.join(", ")
    ))
}

pub(super) fn of_times(times: &Times) -> Vec<Finding> {
    let Times {
        start_deadline_seconds,
        active_deadline_seconds,
        ttl_seconds_after_finished,
    } = times;
    let fields = [
        ("spec.startDeadlineSeconds", start_deadline_seconds),
        ("spec.activeDeadlineSeconds", active_deadline_seconds),
        ("spec.ttlSecondsAfterFinished", ttl_seconds_after_finished),
    ];
    let findings = fields.map(|(field, met)| match met {
        Ok(met) => {
            let finding = Finding::allowed(field, met.value.to_string(), &met.source);
            match in_units(met.value) {
                Some(note) => finding.noted(note),
                None => finding,
            }
        }
        Err(refusal) => Finding::refused(refusal),
    });
    findings.into()
}

pub(super) fn of_resources(decided: &resources::Decided) -> Vec<Finding> {
    let amount = |list: &BTreeMap<String, Quantity>, kind: &str| {
        list.get(kind)
            .map(|quantity| quantity.0.clone())
            .unwrap_or_default()
    };
    let findings = decided.sources.iter().map(|(kind, source)| {
        let request = amount(&decided.resources.requests, kind.as_str());
        let limit = amount(&decided.resources.limits, kind.as_str());
        let value = format!("request {request}, limit {limit}");
        Finding::allowed(format!("spec.resources[{kind}]"), value, source)
    });
    findings.collect()
}

/// Seconds in the largest units that they are made of, such as `1 h 30 min`; nothing below a minute.
fn in_units(seconds: i32) -> Option<String> {
    const UNITS: [(i32, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    if seconds < 60 {
        return None;
    }
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        if rest >= size {
            parts.push(format!("{} {unit}", rest / size));
            rest %= size;
        }
    }
    Some(parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::in_units;

    #[test]
    fn times_are_shown_in_the_units_that_people_read() {
        for (seconds, shown) in [
            (0, None),
            (59, None),
            (60, Some("1 min")),
            (5400, Some("1 h 30 min")),
            (604_800, Some("7 d")),
            (90_061, Some("1 d 1 h 1 min 1 s")),
        ] {
            assert_eq!(in_units(seconds).as_deref(), shown, "{seconds}");
        }
    }
}
