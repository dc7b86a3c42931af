//! Every dimension of a run as it was judged, and what comes of it.

use std::sync::Arc;

use super::Admitted;
use crate::dimension::egress::{EgressAsk, EgressLayer};
use crate::dimension::evidence::Evidence;
use crate::dimension::profile::Offered;
use crate::dimension::repositories::{self, Granted, Submodules};
use crate::dimension::runtime::Runtime;
use crate::dimension::times::Times;
use crate::dimension::vulnerabilities::Ceiling;
use crate::dimension::{credentials, resources};
use crate::frozen::FrozenPolicy;
use crate::pattern::image::ImageReference;
use crate::preset::Used;
use crate::refusal::Refusal;
use crate::source::Sourced;
use cofferdam_api::{
    Agent, PullPolicy, RequesterMode, ResolvedEvidence, ResolvedPolicy, Retry, SchedulingProfile, Tunnels,
};

/// Every dimension of a run, judged.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// What is wrong with the policies themselves, whatever the run asks.
    pub mistakes: Vec<Refusal>,
    /// Whether the run must say who asks.
    pub requester: Result<Sourced<RequesterMode>, Refusal>,
    /// The profile of its agent.
    pub profile: Result<Sourced<Option<Offered>>, Refusal>,
    /// What isolates it.
    pub runtime: Result<Runtime, Refusal>,
    /// The agent's image.
    pub agent_image: Result<Sourced<ImageReference>, Refusal>,
    /// The worst severity that the agent's image may have; absent: the image is refused.
    pub vulnerabilities: Option<Result<Ceiling, Refusal>>,
    /// When images are pulled.
    pub pull_policy: Sourced<Option<PullPolicy>>,
    /// Each repository, in the run's order.
    pub repositories: Vec<(String, Result<Granted, Refusal>)>,
    /// From where submodules may come; absent: no repository asks for any.
    pub submodules: Option<Submodules>,
    /// What the layers say of egress.
    pub egress: Vec<Arc<EgressLayer>>,
    /// The presets of these layers, which were expanded.
    pub presets: Vec<Used>,
    /// Whether anything of it may pass unread.
    pub tunnels: Sourced<Tunnels>,
    /// What becomes of its evidence.
    pub evidence: Evidence,
    /// What the run asks of it.
    pub ask: Result<Option<EgressAsk>, Refusal>,
    /// The credentials that its rules name.
    pub credentials: Result<Vec<credentials::Granted>, Refusal>,
    /// Whether what the run says in clear text is fit to be read by everyone.
    pub literals: Result<(), Refusal>,
    /// Its times.
    pub times: Times,
    /// Its resources.
    pub resources: Result<resources::Decided, Refusal>,
    /// How its pod is scheduled.
    pub scheduling: Result<Sourced<Option<SchedulingProfile>>, Refusal>,
    /// Runs of its namespace that may have a pod at a time.
    pub max_running: Sourced<i32>,
    /// Bytes that its clones come to at most.
    pub max_clone_bytes: Sourced<i64>,
    /// Whether it may be tried again.
    pub retry: Sourced<Retry>,
    pub(crate) agent: Agent,
    pub(crate) policies: Vec<ResolvedPolicy>,
    pub(crate) image_pull_secrets: Vec<String>,
}

impl Evaluation {
    /// What the run gets.
    ///
    /// # Errors
    /// The first refusal.
    pub fn admit(self) -> Result<Admitted, Refusal> {
        // Without `..`: a dimension that is judged and never asked here does not compile.
        let Self {
            mistakes,
            requester,
            profile,
            runtime,
            agent,
            agent_image,
            vulnerabilities,
            pull_policy,
            repositories,
            submodules,
            egress,
            // Expanded in the layers.
            presets: _,
            tunnels,
            evidence,
            ask,
            credentials,
            literals,
            times,
            resources,
            scheduling,
            max_running,
            max_clone_bytes,
            retry,
            policies,
            image_pull_secrets,
        } = self;
        if let Some(mistake) = mistakes.into_iter().next() {
            return Err(mistake);
        }
        let profile = profile?.value;
        literals?;
        // Optional or required: the run meets it, and gets nothing from it.
        let _: Sourced<RequesterMode> = requester?;
        let Runtime {
            class,
            node_access,
            run_as_user,
            user_namespace,
            kernel_check,
        } = runtime?;
        let agent_image = agent_image?.value;
        // The ceiling that the image was held to: the run gets nothing from it.
        let _: Option<Ceiling> = vulnerabilities.transpose()?;
        let granted = repositories
            .into_iter()
            .map(|(_, granted)| granted)
            .collect::<Result<Vec<_>, _>>()?;
        let ask = ask?;
        let Evidence {
            on_sink_failure,
            keep_records_days,
            keep_patches_days,
        } = evidence;
        let cloned = || granted.iter().map(|granted| &granted.repository);
        let credentials = credentials?
            .into_iter()
            .map(|granted| granted.credential.for_run(cloned()));
        let Times {
            start_deadline_seconds,
            active_deadline_seconds,
            ttl_seconds_after_finished,
        } = times;
        Ok(Admitted {
            frozen: FrozenPolicy::new(
                egress,
                tunnels.value,
                ask,
                repositories::git_hosts(&granted, submodules.as_ref()),
            )
            .with_credentials(credentials.collect())
            .on_sink_failure(on_sink_failure.value),
            agent,
            profile,
            agent_image,
            runtime_class: class.value,
            node_access: node_access.value,
            run_as_user: run_as_user.value,
            user_namespace: user_namespace.value,
            kernel_check: kernel_check.value,
            pull_policy: pull_policy.value,
            image_pull_secrets,
            start_deadline_seconds: start_deadline_seconds?.value,
            active_deadline_seconds: active_deadline_seconds?.value,
            ttl_seconds_after_finished: ttl_seconds_after_finished?.value,
            resources: resources?.resources,
            scheduling: scheduling?.value,
            max_running,
            retry: retry.value,
            repositories: granted.into_iter().map(|granted| granted.repository).collect(),
            submodules: submodules.map(|submodules| submodules.grants),
            max_clone_bytes: max_clone_bytes.value,
            evidence: ResolvedEvidence::of(
                on_sink_failure.value,
                keep_records_days.value,
                keep_patches_days.value,
            ),
            policies,
        })
    }
}
