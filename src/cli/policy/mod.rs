//! `policy`: which policies are in force in a namespace, and who may run agents under them.

mod who;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::print::paint::Paint;
use crate::print::table::{Cell, Look, render};
use crate::print::{self, Format};
use cofferdam_api::names::{LABEL_SANDBOX, SANDBOX_ENABLED};
use cofferdam_api::{AgentProfile, ClusterSandboxPolicy, PolicyLimits, SandboxPolicy};
use cofferdam_policy::layer::layers::selects;

/// How to write it, and whether to look who may use what.
///
/// Needs `list` on sandboxpolicies and clustersandboxpolicies; --who also on roles, rolebindings, clusterroles and
/// clusterrolebindings.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Look up in RBAC who may use each policy.
    #[arg(long)]
    who: bool,
    /// wide, json, yaml, name or jsonpath=TEMPLATE.
    #[arg(short, long)]
    output: Option<Format>,
}

/// A policy that bears on runs of the namespace.
struct Policy {
    kind: &'static str,
    value: Value,
    name: String,
    limits: PolicyLimits,
    /// Agents that it offers.
    profiles: Vec<AgentProfile>,
    ready: Option<Condition>,
    /// Whether I may use it; absent: nobody uses a ceiling.
    mine: Option<bool>,
    /// Who may use it; absent: not asked, or not to be found out.
    who: Option<Vec<String>>,
}

/// Tells.
///
/// # Errors
/// The policies cannot be read.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let Cluster { client, namespace } = flags.connect(Patience::Answer).await?;
    let (mut found, notes) = policies(&client, &namespace).await?;
    if args.who {
        let rules = who::read(&client, &namespace).await?;
        for policy in found.iter_mut().filter(|policy| policy.mine.is_some()) {
            policy.who = Some(rules.users_of(&policy.name));
        }
    }
    for note in notes {
        eprintln!("{}", cofferdam_text::escape(&note));
    }
    let format = args.output.clone().unwrap_or_default();
    let text = match &format {
        Format::Table | Format::Wide => {
            let paint = Paint::for_output(&std::io::stdout());
            table(&found, format == Format::Wide || args.who, paint)
        }
        Format::Name => found
            .iter()
            .map(|policy| format!("{}.cofferdam.dev/{}\n", policy.kind.to_lowercase(), policy.name))
            .collect::<Vec<_>>()
            .concat(),
        documents => {
            let items: Vec<&Value> = found.iter().map(|policy| &policy.value).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            documents
                .document(&list, print::to_terminal())?
                .unwrap_or_default()
        }
    };
    print::out(&text)?;
    if found.iter().any(|policy| policy.mine.is_some()) {
        return Ok(Exit::Done);
    }
    Err(Failure::Absent(format!(
        "there is no SandboxPolicy in namespace {namespace}, so no agent runs there"
    )))
}

/// The policies, and what has to be said beside them.
async fn policies(client: &Client, namespace: &str) -> Result<(Vec<Policy>, Vec<String>), Failure> {
    let all = ListParams::default();
    let own: Api<SandboxPolicy> = Api::namespaced(client.clone(), namespace);
    let ceilings: Api<ClusterSandboxPolicy> = Api::all(client.clone());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let (own, ceilings, labels) =
        tokio::join!(own.list(&all), ceilings.list(&all), namespaces.get(namespace));
    let own = own.map_err(|error| Failure::api(format!("the SandboxPolicies of {namespace}"), &error))?;
    let mut notes = Vec::new();
    let labels = if let Ok(found) = labels {
        let labels = found.labels().clone();
        if labels.get(LABEL_SANDBOX).map(String::as_str) != Some(SANDBOX_ENABLED) {
            notes.push(format!(
                    "namespace {namespace} has not opted in: runs start after it is labelled {LABEL_SANDBOX}={SANDBOX_ENABLED}"
                ));
        }
        Some(labels)
    } else {
        notes.push(format!(
                "the labels of namespace {namespace} may not be read: all ceilings are listed, whether they select it or not"
            ));
        None
    };
    let mut policies = Vec::new();
    for policy in own.items {
        let name = policy.name_any();
        policies.push(Policy {
            kind: "SandboxPolicy",
            value: value(&policy),
            mine: Some(may_use(client, namespace, &name).await?),
            ready: ready(policy.status.as_ref().map(|status| status.conditions.as_slice())),
            limits: policy.spec.limits,
            profiles: policy.spec.agent_profiles,
            name,
            who: None,
        });
    }
    match ceilings {
        Err(error) => {
            notes.push(Failure::api("the ceilings over the namespace are not shown", &error).to_string());
        }
        Ok(ceilings) => policies.extend(ceilings.items.into_iter().filter_map(|policy| {
            // A selector with a mistake refuses every run, so it is in force.
            let over = labels
                .as_ref()
                .is_none_or(|labels| selects(&policy, labels).unwrap_or(true));
            over.then(|| Policy {
                kind: "ClusterSandboxPolicy",
                value: value(&policy),
                name: policy.name_any(),
                mine: None,
                ready: ready(policy.status.as_ref().map(|status| status.conditions.as_slice())),
                limits: policy.spec.limits,
                profiles: policy.spec.agent_profiles,
                who: None,
            })
        })),
    }
    Ok((policies, notes))
}

/// As the API server would write it; a type that came from JSON goes back to it.
fn value(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn ready(conditions: Option<&[Condition]>) -> Option<Condition> {
    conditions?
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .cloned()
}

async fn may_use(client: &Client, namespace: &str, name: &str) -> Result<bool, Failure> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some("use".to_owned()),
                group: Some("cofferdam.dev".to_owned()),
                resource: Some("sandboxpolicies".to_owned()),
                name: Some(name.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api
        .create(&PostParams::default(), &review)
        .await
        .map_err(|error| Failure::api(format!("whether you may use policy {name}"), &error))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn table(policies: &[Policy], wide: bool, paint: Paint) -> String {
    let mut header = vec![
        "KIND",
        "NAME",
        "READY",
        "YOU",
        "IMAGES",
        "REPOSITORIES",
        "EGRESS",
        "RUNNING",
    ];
    if wide {
        header.extend(["RUNTIME", "ACTIVE", "WHO MAY USE IT"]);
    }
    let rows: Vec<Vec<Cell>> = policies.iter().map(|policy| row(policy, wide)).collect();
    render(&header, &rows, paint) + &agents(policies, paint)
}

/// The agents that the policies offer, for `spec.agentProfile`; nothing where they offer none.
fn agents(policies: &[Policy], paint: Paint) -> String {
    let offers = policies.iter().flat_map(|policy| {
        let of = format!("{}/{}", policy.kind, policy.name);
        policy.profiles.iter().map(move |profile| {
            vec![
                Cell::from(profile.name.clone()),
                Cell::from(of.clone()),
                Cell::from(profile.image.clone()),
                Cell::from(profile.description.clone().unwrap_or_default()),
            ]
        })
    });
    let rows: Vec<Vec<Cell>> = offers.collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "\n{}",
        render(&["AGENT", "OFFERED BY", "IMAGE", "DESCRIPTION"], &rows, paint)
    )
}

fn row(policy: &Policy, wide: bool) -> Vec<Cell> {
    let limits = &policy.limits;
    let ready = match &policy.ready {
        None => Cell::new("Unknown", Look::Odd),
        Some(condition) if condition.status == "True" => Cell::new("True", Look::Good),
        Some(condition) => Cell::new(condition.reason.clone(), Look::Bad),
    };
    let may = match policy.mine {
        None => Cell::from("ceiling"),
        Some(true) => Cell::new("may use", Look::Good),
        Some(false) => Cell::new("may not", Look::Bad),
    };
    let count = |mode: Option<String>, entries: usize| {
        Cell::from(match mode {
            Some(mode) if entries > 0 => format!("{mode} ({entries})"),
            Some(mode) => mode,
            None => String::new(),
        })
    };
    let (images, repositories, egress) = (
        limits.images.as_ref(),
        limits.repositories.as_ref(),
        limits.egress.as_ref(),
    );
    let mut cells = vec![
        Cell::from(policy.kind),
        Cell::from(policy.name.clone()),
        ready,
        may,
        count(
            images.map(|images| format!("{:?}", images.mode)),
            images.map_or(0, |images| images.allowed.len()),
        ),
        count(
            repositories.map(|of| format!("{:?}", of.mode)),
            repositories.map_or(0, |of| of.clone.len()),
        ),
        count(
            egress.map(|egress| format!("{:?}", egress.mode)),
            egress.map_or(0, |egress| egress.rules.len()),
        ),
        Cell::from(
            limits
                .max_running
                .map_or_else(String::new, |limit| limit.to_string()),
        ),
    ];
    if wide {
        let runtime = limits
            .runtime
            .as_ref()
            .map(|runtime| runtime.runtime_class_names.join(","));
        cells.push(Cell::from(runtime.unwrap_or_default()));
        let active = limits
            .max_active_deadline_seconds
            .and_then(|limit| u64::try_from(limit).ok());
        cells.push(Cell::from(active.map_or_else(String::new, print::time::span)));
        cells.push(Cell::from(match &policy.who {
            None => String::new(),
            Some(who) if who.is_empty() => "nobody".to_owned(),
            Some(who) => who.join(", "),
        }));
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, mine: Option<bool>) -> Policy {
        let text = include_str!("../../../examples/sandboxpolicy.yaml");
        let example: SandboxPolicy = serde_saphyr::from_str(text).unwrap();
        Policy {
            kind: if mine.is_some() {
                "SandboxPolicy"
            } else {
                "ClusterSandboxPolicy"
            },
            value: Value::Null,
            name: name.to_owned(),
            limits: if mine.is_some() {
                example.spec.limits
            } else {
                PolicyLimits::default()
            },
            profiles: if mine == Some(false) {
                Vec::new()
            } else {
                let offered = json!([{"name": "claude-code", "image": format!("ghcr.io/team-a/claude-code@sha256:{}", "0".repeat(64)),
                    "description": format!("Claude Code, as {name} has it")}]);
                serde_json::from_value(offered).unwrap()
            },
            ready: None,
            mine,
            who: mine.map(|may| {
                if may {
                    vec!["User anna".to_owned()]
                } else {
                    Vec::new()
                }
            }),
        }
    }

    #[test]
    fn what_is_in_force_and_for_whom() {
        let policies = [
            policy("default", Some(true)),
            policy("strict", Some(false)),
            policy("ceiling", None),
        ];
        insta::assert_snapshot!(table(&policies, true, Paint::Plain));
        let narrow = table(&policies, false, Paint::Plain);
        assert!(!narrow.contains("WHO"), "{narrow}");
    }
}
