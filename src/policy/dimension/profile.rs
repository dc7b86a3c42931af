//! Agents that policies offer by a name. A profile allows nothing: what it says takes the place of what the run leaves out, and the
//! run is judged with that as if it had said so itself.

use std::borrow::Cow;
use std::sync::Arc;

use crate::layer::parsed::ParsedPolicy;
use crate::refusal::{Layer, Refusal};
use crate::source::{Source, Sourced};
use cofferdam_api::{
    AgentProfile, AgentRun, AgentRunSpec, ClusterSandboxPolicy, Reason, ResolvedAgentProfile, SandboxPolicy,
    canonical, names,
};

/// Where a run names one.
pub const FIELD: &str = "spec.agentProfile";
/// Where policies offer them.
const RULE: &str = "agentProfiles";

/// A profile that a run names, and the policy that offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The first policy, in canonical order, that offers it.
    pub layer: Layer,
    /// What it says.
    pub profile: AgentProfile,
}

impl Offered {
    /// The profile as canonical JSON, by which its digest is made.
    pub fn text(&self) -> String {
        // A profile has whole numbers alone, so there is always a canonical form.
        canonical::to_string(&self.profile).unwrap_or_default()
    }

    /// For the status of a run.
    pub fn resolved(&self) -> ResolvedAgentProfile {
        ResolvedAgentProfile {
            name: self.profile.name.clone(),
            policy_kind: self.layer.kind.as_str().to_owned(),
            policy_name: self.layer.name.clone(),
            digest: names::digest(self.text().as_bytes()),
        }
    }

    /// The spec with what the profile says where the run says nothing.
    fn written_out(&self, spec: &AgentRunSpec) -> AgentRunSpec {
        // Without `..`: a field of a profile that is not taken over does not compile.
        let AgentProfile {
            name: _,
            description: _,
            image,
            command,
            args,
            env,
            egress,
        } = &self.profile;
        let mut spec = spec.clone();
        spec.agent.image = Some(image.clone());
        spec.agent.command.clone_from(command);
        if spec.agent.args.is_empty() {
            spec.agent.args.clone_from(args);
        }
        let own = std::mem::take(&mut spec.agent.env);
        let kept = env
            .iter()
            .filter(|variable| own.iter().all(|of_run| of_run.name != variable.name));
        spec.agent.env = kept.cloned().chain(own.iter().cloned()).collect();
        if spec.egress.is_none() {
            spec.egress.clone_from(egress);
        }
        spec
    }

    /// A refusal of what the run written out says, at the place where it stands: in the run or in the profile.
    pub(crate) fn place(&self, mut refusal: Refusal, run: &AgentRunSpec) -> Refusal {
        let of_run = |part: &str| match part {
            part if part.starts_with("args") => !run.agent.args.is_empty(),
            part if part.starts_with("env[") => run
                .agent
                .env
                .iter()
                .any(|variable| part == format!("env[{}]", variable.name)),
            _ => false,
        };
        let of_profile = match refusal.field.strip_prefix("spec.agent.") {
            Some(part) => (!of_run(part)).then(|| part.to_owned()),
            None => refusal
                .field
                .strip_prefix("spec.egress")
                .filter(|_| run.egress.is_none())
                .map(|part| format!("egress{part}")),
        };
        if let Some(part) = of_profile {
            refusal.field = format!("{RULE}[{}].{part} of {}", self.profile.name, self.layer);
        }
        refusal
    }
}

/// A run as it is judged: with the values of the profile that it names.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    /// Its spec.
    pub spec: Cow<'a, AgentRunSpec>,
    /// The profile; absent: the run names none, or one that cannot be had.
    pub offered: Option<Offered>,
}

impl Asked<'_> {
    /// A refusal at the place where the value stands.
    pub fn place(&self, refusal: Refusal, run: &AgentRunSpec) -> Refusal {
        match &self.offered {
            Some(offered) => offered.place(refusal, run),
            None => refusal,
        }
    }
}

/// The profile that the run names, if it names one.
///
/// # Errors
/// `PolicyDenied`: no policy offers it, or policies offer different ones under its name.
pub(crate) fn decide(
    spec: &AgentRunSpec,
    layers: &[Arc<ParsedPolicy>],
) -> Result<Sourced<Option<Offered>>, Refusal> {
    let name = match (spec.agent_profile.as_deref(), &spec.agent.image) {
        (None, Some(_)) => return Ok(Sourced::built_in(None)),
        (Some(name), None) => name,
        // The API server refuses both; files that nobody showed to it come here.
        (None, None) => return Err(unnamed("the run names neither an image nor a profile", "")),
        (Some(name), Some(_)) => {
            return Err(unnamed("the run names an image too, and a profile has one", name));
        }
    };
    let refusal = |layer: Option<&Layer>, allowed, why: String, help: String| Refusal {
        reason: Reason::PolicyDenied,
        layer: layer.cloned(),
        field: FIELD.to_owned(),
        rule: layer.map(|_| RULE.to_owned()),
        offered: name.to_owned(),
        allowed,
        why,
        help,
    };
    let all = || {
        layers
            .iter()
            .flat_map(|layer| layer.profiles.iter().map(move |profile| (&layer.layer, profile)))
    };
    let mut of_name = all().filter(|(_, profile)| profile.name == name);
    let Some((layer, profile)) = of_name.next() else {
        let mut offered: Vec<String> = all().map(|(_, profile)| profile.name.clone()).collect();
        offered.sort();
        offered.dedup();
        let (why, help) = if offered.is_empty() {
            (
                "no policy in force offers agents by name",
                "leave agentProfile out and name an image in spec.agent.image, or ask the owner of the policies to offer the agent",
            )
        } else {
            (
                "no policy in force offers an agent of this name",
                "name one that is offered, or leave agentProfile out and name an image in spec.agent.image",
            )
        };
        return Err(refusal(None, offered, why.to_owned(), help.to_owned()));
    };
    if let Some((other, _)) = of_name.find(|(_, another)| *another != profile) {
        return Err(refusal(
            Some(other),
            Vec::new(),
            format!("{layer} offers another agent under this name"),
            format!("ask the owner of {other} to give it another name"),
        ));
    }
    let offered = Offered {
        layer: layer.clone(),
        profile: profile.clone(),
    };
    Ok(Sourced::by(Some(offered), layer, &format!("{RULE}[{name}]")))
}

/// A run whose agent is not named, or twice.
fn unnamed(why: &str, offered: &str) -> Refusal {
    Refusal {
        reason: Reason::PolicyDenied,
        layer: None,
        field: FIELD.to_owned(),
        rule: None,
        offered: offered.to_owned(),
        allowed: Vec::new(),
        why: why.to_owned(),
        help: "write exactly one of agent.image and agentProfile".to_owned(),
    }
}

/// The run with the values of the profile that was decided.
pub(crate) fn asked<'a>(
    spec: &'a AgentRunSpec,
    decided: &Result<Sourced<Option<Offered>>, Refusal>,
) -> Asked<'a> {
    let offered = decided.as_ref().ok().and_then(|decided| decided.value.clone());
    Asked {
        spec: match &offered {
            Some(offered) => Cow::Owned(offered.written_out(spec)),
            None => Cow::Borrowed(spec),
        },
        offered,
    }
}

/// Images that a run may come to under these policies: the one that it names, or those of all profiles of the name.
pub fn images<'a>(
    run: &'a AgentRun,
    policy: Option<&'a SandboxPolicy>,
    cluster_policies: &'a [ClusterSandboxPolicy],
) -> Vec<&'a str> {
    let spec = &run.spec;
    let own = policy.iter().flat_map(|policy| &policy.spec.agent_profiles);
    let above = cluster_policies
        .iter()
        .flat_map(|policy| &policy.spec.agent_profiles);
    let of_profiles = own
        .chain(above)
        .filter(|profile| Some(&profile.name) == spec.agent_profile.as_ref())
        .map(|profile| profile.image.as_str());
    spec.agent
        .image
        .as_deref()
        .into_iter()
        .chain(of_profiles)
        .collect()
}

/// Who offers the profile, for findings.
pub(crate) fn source(decided: &Sourced<Option<Offered>>) -> Option<(&Offered, &Source)> {
    Some((decided.value.as_ref()?, &decided.source))
}
