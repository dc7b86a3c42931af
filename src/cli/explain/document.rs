//! What `-o json` writes. The document is stable: fields are added, and only a new `apiVersion` takes one away.

use serde::Serialize;

use super::presets::PresetUse;
use crate::manifest::Problem;
use cofferdam_api::Reason;
use cofferdam_api::queue::Place;
use cofferdam_policy::explain::asked::{Let, Refused};
use cofferdam_policy::explain::exfiltration::Exfiltration;
use cofferdam_policy::explain::findings::Finding;
use cofferdam_policy::explain::reach::Reached;
use cofferdam_policy::pattern::host::Host;

/// Version of the document.
pub const API_VERSION: &str = "explain.cofferdam.dev/v1";

/// An explanation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// [`API_VERSION`].
    pub api_version: &'static str,
    /// Always `Explanation`.
    pub kind: &'static str,
    /// The run; absent: no run could be read.
    pub run: Option<RunName>,
    /// Where the facts come from.
    pub facts: FactsFrom,
    /// The answer.
    pub verdict: Answer,
    /// Reason with which the run would end; absent: it would not be refused, or not by policy.
    pub reason: Option<Reason>,
    /// Message with which it would end, in one line as in `status.message`.
    pub message: Option<String>,
    /// What is wrong with the manifests.
    pub problems: Vec<Problem>,
    /// What had to be known and could not be found out.
    pub unknown: Vec<Unknown>,
    /// Every governed field but egress, with the value that applies and who decided, or with its refusal.
    pub findings: Vec<Finding>,
    /// What the run would reach; absent: there was no policy to judge by.
    pub egress: Option<Egress>,
    /// What becomes of each request that was asked about (`--request`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestAnswer>,
    /// The credentials that the run needs, as the cluster says that they are now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialState>,
    /// What was taken to be so.
    pub assumed: Vec<String>,
    /// What the API server said to objects that it was asked not to store.
    pub dry_runs: Vec<DryRun>,
    /// Where the run of this name waits for a slot now; absent: it does not, or nobody could be asked.
    pub queue: Option<Queue>,
}

/// Where a run waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Its place; absent: the namespace's runs may not be read.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What it waits for, in the words of its status.
    pub message: String,
}

/// Name of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunName {
    /// Its namespace.
    pub namespace: String,
    /// Its name, or `generateName`.
    pub name: String,
}

/// Where facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FactsFrom {
    /// Files and flags.
    Files,
    /// A cluster, with the rights of whoever asks.
    Cluster,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Answer {
    /// The run may start.
    Allowed,
    /// It may not.
    Refused,
    /// Something that had to be known is not.
    CannotTell,
}

impl Answer {
    /// Exit code of the command, for a run that is asked about alone.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Allowed => 0,
            Self::Refused => 1,
            Self::CannotTell => 2,
        }
    }
}

impl Explanation {
    /// Exit code of the command: a run that may start and a request that it may not make are a refusal too.
    pub fn exit_code(&self) -> u8 {
        let is_denied = |answer: &RequestAnswer| matches!(answer.outcome, RequestOutcome::Denied(_));
        match self.verdict {
            Answer::Allowed if self.requests.iter().any(is_denied) => Answer::Refused.exit_code(),
            verdict => verdict.exit_code(),
        }
    }
}

/// Something that could not be found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// What had to be known.
    pub what: String,
    /// Why it is not.
    pub why: String,
    /// What to do.
    pub help: String,
}

/// What a run would reach.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Egress {
    /// The worst class of any host; `Closed`: the agent reaches nothing.
    pub exfiltration: Exfiltration,
    /// Why it reaches nothing, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_because: Option<String>,
    /// What the agent reaches.
    pub hosts: Vec<EgressHost>,
    /// The presets that policies use, and what each comes to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<PresetUse>,
    /// From where repositories are cloned before the agent starts. The agent reaches them only if `hosts` has them.
    pub repositories: Vec<RepositoryHost>,
}

/// Hosts that the agent reaches.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressHost {
    /// Which, at which ports, by which rules.
    #[serde(flatten)]
    pub reached: Reached,
    /// Whether more than the server name is looked at.
    pub inspected: bool,
    /// Whether the agent spends there, with a credential, what nothing of Cofferdam's limits.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unlimited_spending: bool,
    /// Who can receive what is sent there.
    pub exfiltration: Exfiltration,
    /// Why.
    pub why: String,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestAnswer {
    /// The method and the URL.
    pub request: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub outcome: RequestOutcome,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome")]
pub enum RequestOutcome {
    /// It gets out.
    Allowed(Let),
    /// The gateway denies it.
    Denied(Refused),
}

/// Whether a credential can be sent now. A run waits for one that cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CredentialState {
    /// Its name.
    pub name: String,
    /// Status of its condition `Ready`: `True`, `False` or `Unknown`.
    pub ready: String,
    /// Why.
    pub reason: String,
    /// What to do.
    pub message: String,
}

/// From where a repository is cloned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RepositoryHost {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// What the API server said to an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// Kind of the object.
    pub kind: &'static str,
    /// What it said.
    pub outcome: Outcome,
    /// In its own words, or why it was not asked; absent: nothing to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What an API server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// It would take the object.
    Accepted,
    /// It would not.
    Refused,
    /// It was not asked.
    NotAsked,
}
