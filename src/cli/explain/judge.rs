//! The verdict about a run: the controller's own engine, asked for everything that it judges. Pure.

use std::collections::BTreeMap;

use cofferdam_api::{AgentRun, ClusterSandboxPolicy, Mode, SandboxCredential, SandboxPolicy, UserNamespaces};
use cofferdam_policy::decide::{Evaluation, Refusal, Request, evaluate};
use cofferdam_policy::decision::Decision;
use cofferdam_policy::dimension::egress::EgressLayer;
use cofferdam_policy::dimension::profile;
use cofferdam_policy::dimension::runtime::{RuntimeClassFact, UserNamespaceSupport};
use cofferdam_policy::dimension::vulnerabilities::{self, Counts, Reports};
use cofferdam_policy::explain::asked::Asked;
use cofferdam_policy::explain::exfiltration::{self, Exfiltration, Judged};
use cofferdam_policy::explain::findings::{Finding, Verdict};
use cofferdam_policy::explain::reach::{Reached, reach};
use cofferdam_policy::pattern::image::ImageReference;

use super::document::{Egress, EgressHost, RepositoryHost, RequestAnswer, RequestOutcome};
use super::presets;

/// What the verdict rests on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Labels of the run's namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// The policy that the run names; absent: there is none of that name.
    pub policy: Option<SandboxPolicy>,
    /// All cluster policies.
    pub cluster_policies: Vec<ClusterSandboxPolicy>,
    /// The `RuntimeClass`es that exist.
    pub runtime_classes: Vec<RuntimeClassFact>,
    /// What scanners found in images.
    pub reports: Reports,
    /// The credentials that exist.
    pub credentials: Vec<SandboxCredential>,
    /// Requests of the agent that are asked about.
    pub requests: Vec<Asked>,
}

impl Facts {
    /// The same, were no node to advertise user namespaces.
    #[must_use]
    pub fn without_user_namespaces(&self) -> Self {
        let mut facts = self.clone();
        for class in &mut facts.runtime_classes {
            class.user_namespaces = UserNamespaceSupport::Nowhere;
        }
        facts
    }

    /// The same, were scanners to have found this in the run's image, if it is named by its digest.
    #[must_use]
    pub fn with_reports(&self, run: &AgentRun, found: Option<Counts>) -> Self {
        let report = || {
            let found = found?;
            let images = profile::images(run, self.policy.as_ref(), &self.cluster_policies);
            let images = images
                .into_iter()
                .map(ImageReference::parse)
                .filter_map(Result::ok);
            Some(images.filter_map(move |image| Some((image.digest()?.to_owned(), found))))
        };
        Self {
            reports: report().into_iter().flatten().collect(),
            ..self.clone()
        }
    }

    /// Whether a policy has reports of scanners looked at.
    pub fn asks_of_scanners(&self) -> bool {
        vulnerabilities::is_asked(self.policy.as_ref(), &self.cluster_policies)
    }

    /// Every policy's word on user namespaces: whether it matters what nodes advertise.
    pub fn asks_of_nodes(&self) -> bool {
        let own = self.policy.iter().map(|policy| &policy.spec.limits);
        let all = self
            .cluster_policies
            .iter()
            .map(|policy| &policy.spec.limits)
            .chain(own);
        let mut words = all.filter_map(|limits| limits.runtime.as_ref()?.user_namespaces);
        words.any(|word| word != UserNamespaces::Disabled)
    }
}

/// What the engine says.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The refusal with which the run would end; absent: policy allows it.
    pub refusal: Option<Refusal>,
    /// Every governed field.
    pub findings: Vec<Finding>,
    /// What the run would reach; absent where no layer could be read.
    pub egress: Option<Egress>,
    /// What becomes of each request that is asked about; empty where no layer could be read.
    pub requests: Vec<RequestAnswer>,
    /// Every dimension as judged; absent where no layer could be read.
    pub evaluation: Option<Evaluation>,
}

/// Judges a run.
pub fn judge(run: &AgentRun, facts: &Facts) -> Judgement {
    let request = Request {
        namespace_labels: &facts.namespace_labels,
        run,
        policy: facts.policy.as_ref(),
        cluster_policies: &facts.cluster_policies,
        runtime_classes: &facts.runtime_classes,
        reports: &facts.reports,
        credentials: &facts.credentials,
    };
    let evaluation = match evaluate(&request) {
        Ok(evaluation) => evaluation,
        Err(refusal) => return refused_whole(refusal),
    };
    Judgement {
        refusal: evaluation.clone().admit().err(),
        findings: evaluation.findings(),
        egress: Some(egress(&evaluation)),
        requests: answers(&evaluation, &facts.requests),
        evaluation: Some(evaluation),
    }
}

/// No policy, or one that cannot be read: nothing else was judged.
fn refused_whole(refusal: Refusal) -> Judgement {
    Judgement {
        findings: vec![Finding {
            field: refusal.field.clone(),
            verdict: Verdict::Refused {
                refusal: refusal.clone(),
            },
        }],
        refusal: Some(refusal),
        egress: None,
        requests: Vec::new(),
        evaluation: None,
    }
}

fn egress(evaluation: &Evaluation) -> Egress {
    let ask = evaluation.ask.as_ref().ok().and_then(Option::as_ref);
    let hosts: Vec<EgressHost> = if evaluation.ask.is_ok() {
        reach(&evaluation.egress, evaluation.tunnels.value, ask)
            .into_iter()
            .map(host)
            .collect()
    } else {
        Vec::new()
    };
    let worst = hosts.iter().map(|host| host.exfiltration).max();
    let mut repositories: Vec<RepositoryHost> = evaluation
        .repositories
        .iter()
        .filter_map(|(_, granted)| granted.as_ref().ok())
        .map(|granted| RepositoryHost {
            host: granted.repository.url.host().clone(),
            port: granted.repository.url.port(),
        })
        .collect();
    repositories.sort();
    repositories.dedup();
    Egress {
        exfiltration: worst.unwrap_or(Exfiltration::Closed),
        closed_because: worst.is_none().then(|| closed_because(evaluation)),
        hosts,
        presets: presets::of(evaluation),
        repositories,
    }
}

fn host(reached: Reached) -> EgressHost {
    let Judged { class, why } = match &reached.service {
        Some(service) => exfiltration::of_service(service),
        None => exfiltration::judge(&reached.host),
    };
    EgressHost {
        exfiltration: class,
        why,
        inspected: reached.is_inspected(),
        unlimited_spending: !reached.credentials.is_empty() && exfiltration::is_model(&reached.host),
        reached,
    }
}

/// What becomes of each request.
fn answers(evaluation: &Evaluation, requests: &[Asked]) -> Vec<RequestAnswer> {
    let Ok(ask) = &evaluation.ask else {
        // The run is refused with it, whatever it would send.
        return Vec::new();
    };
    let answer = |asked: &Asked| RequestAnswer {
        request: asked.to_string(),
        outcome: match asked.judge(&evaluation.egress, evaluation.tunnels.value, ask.as_ref()) {
            Decision::Allow(let_out) => RequestOutcome::Allowed(let_out),
            Decision::Deny(denied) => RequestOutcome::Denied(denied.into()),
        },
    };
    requests.iter().map(answer).collect()
}

/// Why a run reaches nothing.
fn closed_because(evaluation: &Evaluation) -> String {
    let denies_all = |layer: &&std::sync::Arc<EgressLayer>| layer.mode == Mode::DenyAll;
    let granted = reach(&evaluation.egress, evaluation.tunnels.value, None);
    match (&evaluation.ask, evaluation.egress.iter().find(denies_all)) {
        (Err(_), _) => "spec.egress of the run cannot be read".to_owned(),
        _ if evaluation.egress.is_empty() => {
            "no policy in force sets limits.egress, and a value that no policy allows is refused".to_owned()
        }
        (_, Some(layer)) => format!("{layer} denies all egress"),
        (Ok(Some(_)), None) if !granted.is_empty() => {
            "the run's own spec.egress leaves nothing of what policies grant".to_owned()
        }
        _ => "the policies in force grant no host and port in common".to_owned(),
    }
}

/// Name of the policy that a run is under.
pub fn policy_name(run: &AgentRun) -> &str {
    run.spec.policy_name()
}
