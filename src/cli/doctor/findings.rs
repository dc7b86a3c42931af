//! What follows from what was seen. Pure.

use serde::Serialize;

use super::look::{Looked, Seen};
use super::trial::{Ended, Tried};
use crate::print::time::{seconds_between, span};
use cofferdam_api::{AgentRun, LiveReason, ProvenNodeAccess, Reason, names};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Health {
    /// As it should be.
    Well,
    /// Not as it should be.
    Wrong,
    /// It could not be looked at.
    Unknown,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub health: Health,
    /// In words.
    pub said: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_do: Option<String>,
}

fn well(what: &str, said: impl Into<String>) -> Finding {
    Finding {
        what: what.to_owned(),
        health: Health::Well,
        said: said.into(),
        to_do: None,
    }
}

fn wrong(what: &str, said: impl Into<String>, to_do: impl Into<String>) -> Finding {
    Finding {
        what: what.to_owned(),
        health: Health::Wrong,
        said: said.into(),
        to_do: Some(to_do.into()),
    }
}

fn unknown(what: &str, why: &str) -> Finding {
    Finding {
        what: what.to_owned(),
        health: Health::Unknown,
        said: why.to_owned(),
        to_do: None,
    }
}

/// The findings, in the order in which a run would meet them.
pub fn of(seen: &Seen) -> Vec<Finding> {
    if !seen.installed {
        let to_do = "install the chart, with its custom resource definitions";
        return vec![wrong(
            "installation",
            "the cluster does not know AgentRuns",
            to_do,
        )];
    }
    let namespace = &seen.namespace;
    let mut findings = vec![well("installation", "the cluster knows AgentRuns")];
    findings.extend(roles(&seen.roles));
    findings.push(looked("namespace", &seen.opted_in, |opted_in| {
        if *opted_in {
            well("namespace", format!("{namespace} has opted in"))
        } else {
            let to_do = format!(
                "have it labelled: kubectl label namespace {namespace} {}={}",
                names::LABEL_SANDBOX,
                names::SANDBOX_ENABLED
            );
            wrong(
                "namespace",
                format!("{namespace} has not opted in: no agent runs there"),
                to_do,
            )
        }
    }));
    findings.push(looked("your rights", &seen.may_create, |may| {
        if *may {
            well("your rights", "you may create runs")
        } else {
            wrong(
                "your rights",
                format!("you may not create AgentRuns in {namespace}"),
                "ask for the role `edit` there",
            )
        }
    }));
    findings.extend(policies(seen));
    findings.push(looked("runtime", &seen.runtime_classes, |classes| {
        if classes.is_empty() {
            let to_do = "install gVisor or Kata on the nodes, and a RuntimeClass for it";
            wrong("runtime", "the cluster has no RuntimeClass", to_do)
        } else {
            well("runtime", format!("the cluster has {}", classes.join(", ")))
        }
    }));
    findings.push(looked("fence", &seen.fence, |stands| {
        let said = if *stands {
            "it stands; each run proves that the network enforces it"
        } else {
            "it comes with the first run, which proves that the network enforces it"
        };
        well("fence", said)
    }));
    findings.extend(waiting(&seen.waiting));
    findings.push(match &seen.output {
        Ok(()) => well("output", "patches and records can be read"),
        Err(why) => wrong(
            "output",
            why.clone(),
            "see to the Deployment cofferdam-output, the archive, and APIService v1alpha1.output.cofferdam.dev",
        ),
    });
    findings
}

fn looked<T>(what: &str, looked: &Looked<T>, found: impl FnOnce(&T) -> Finding) -> Finding {
    match looked {
        Ok(value) => found(value),
        Err(why) => unknown(what, why),
    }
}

fn roles(roles: &Looked<Vec<(String, i32, i32)>>) -> Vec<Finding> {
    let roles = match roles {
        Ok(roles) if roles.is_empty() => {
            return vec![unknown(
                "roles",
                "the operator's namespace has none; name it with --operator-namespace",
            )];
        }
        Ok(roles) => roles,
        Err(why) => return vec![unknown("roles", why)],
    };
    let of = |(name, wanted, ready): &(String, i32, i32)| {
        let said = format!("{ready} of {wanted} ready");
        if ready >= wanted {
            well(name, said)
        } else {
            wrong(
                name,
                said,
                format!("kubectl -n <the operator's namespace> describe pods, and the log of {name}"),
            )
        }
    };
    roles.iter().map(of).collect()
}

fn policies(seen: &Seen) -> Vec<Finding> {
    let policies = match &seen.policies {
        Ok(policies) => policies,
        Err(why) => return vec![unknown("policies", why)],
    };
    if policies.is_empty() {
        let said = format!(
            "namespace {} has no SandboxPolicy, so no agent runs there",
            seen.namespace
        );
        return vec![wrong(
            "policies",
            said,
            "have one created; examples/sandboxpolicy.yaml is one to begin with",
        )];
    }
    let mut findings = Vec::new();
    for (name, conditions, mine) in policies {
        let what = format!("policy {name}");
        let bad = conditions.iter().find(|condition| condition.status == "False");
        findings.push(match bad {
            Some(condition) => wrong(
                &what,
                format!(
                    "{} is False ({}): {}",
                    condition.type_, condition.reason, condition.message
                ),
                "have the owner of the policy see to that",
            ),
            None if conditions.is_empty() => unknown(&what, "the controller has not judged it yet"),
            None => well(
                &what,
                if *mine {
                    "ready, and you may use it"
                } else {
                    "ready; you may not use it"
                },
            ),
        });
    }
    if !policies.iter().any(|(_, _, mine)| *mine) {
        let to_do = "have the ClusterRole cofferdam-user bound to you in the namespace (docs/access.md)";
        findings.push(wrong("your rights", "you may use none of these policies", to_do));
    }
    findings
}

/// Runs that wait for what is not theirs.
fn waiting(waiting: &Looked<Vec<(String, String, String)>>) -> Vec<Finding> {
    let runs = match waiting {
        Ok(runs) => runs,
        Err(why) => return vec![unknown("waiting runs", why)],
    };
    let of = |(name, reason, message): &(String, String, String)| {
        let live: LiveReason = reason.parse().ok()?;
        let is_ours = matches!(
            live,
            LiveReason::GuardNotReady
                | LiveReason::FenceNotReady
                | LiveReason::FenceWidened
                | LiveReason::SandboxSelected
                | LiveReason::GatewayNotReady
        );
        is_ours.then(|| {
            wrong(
                &format!("run {name}"),
                format!("{reason}: {message}"),
                live.advice(),
            )
        })
    };
    runs.iter().filter_map(of).collect()
}

/// What a trial shows.
pub fn of_trial(tried: &Tried) -> Vec<Finding> {
    let what = format!("trial run {}", tried.name);
    let mut findings = match &tried.ended {
        Ended::Over(run) => over(&what, run),
        Ended::Refused(why) => vec![wrong(
            &what,
            why.clone(),
            "correct what this names: the policy, the right to `use` it, or the label of the namespace",
        )],
        Ended::Unfinished(run, limit) => {
            let status = run.status.clone().unwrap_or_default();
            let reason = status.reason.unwrap_or_default();
            let said = match status.message {
                Some(message) => format!("not over after {} s. {reason}: {message}", limit.as_secs()),
                None => format!("not over after {} s, and nobody said why", limit.as_secs()),
            };
            let advice = reason.parse().map_or(
                "see whether the controller runs, and read its log; or give more time with --trial-timeout",
                LiveReason::advice,
            );
            vec![wrong(&what, said, advice)]
        }
        Ended::Lost(why) => vec![unknown(&what, why)],
    };
    if let Some(why) = &tried.left {
        let to_do = format!("kubectl delete agentrun {}", tried.name);
        findings.push(wrong(&what, format!("the run is still there: {why}"), to_do));
    }
    findings
}

fn over(what: &str, run: &AgentRun) -> Vec<Finding> {
    let status = run.status.clone().unwrap_or_default();
    let reason = status.reason.unwrap_or_default();
    let proven = status.isolation.as_ref().map(|isolation| {
        let node = match isolation.node_access {
            ProvenNodeAccess::Denied => "its own node did not answer",
            ProvenNodeAccess::Allowed => "its own node answered, which policy allows",
        };
        let said = format!("the sandbox reached nothing but the gateway; {node}");
        [
            well(
                "guard",
                "the controller proved it before it started the trial run",
            ),
            well("fence", said),
        ]
    });
    let mut findings: Vec<_> = proven.into_iter().flatten().collect();
    findings.push(if status.failure_class.is_some() {
        let advice = reason
            .parse()
            .map_or("read docs/api.md, the reasons of runs", Reason::advice);
        wrong(
            what,
            format!("{reason}: {}", status.message.unwrap_or_default()),
            advice,
        )
    } else {
        let took = match (&run.metadata.creation_timestamp, &status.completion_time) {
            (Some(start), Some(end)) => span(seconds_between(start.0, end.0)),
            _ => "an unknown time".to_owned(),
        };
        let class = status.resolved.map_or_else(String::new, |resolved| {
            format!(" under RuntimeClass {}", resolved.runtime_class_name)
        });
        let sealed = status.evidence.map_or_else(
            || "its records are not sealed".to_owned(),
            |evidence| format!("its {} records are sealed", evidence.sequence),
        );
        well(what, format!("completed after {took}{class}; {sealed}"))
    });
    findings
}
