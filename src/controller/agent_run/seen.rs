//! What is known of a run: the caches, and the answers to what a step asks. Nothing else of this reconciler reads.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt};

use super::ask::{self, read_job};
use super::call::{Call, CallError, failed};
use super::cleanup::PolicyTtl;
use super::context::{Context, Installation};
use super::decide::Facts;
use super::observe;
use super::status;
use crate::evidence::seal::SealOutcome;
use crate::fence;
use crate::memory::Remembered;
use crate::pod_view::is_over;
use crate::run_pod::RunPod;
use crate::slots::Answer;
use crate::space;
use crate::verdict::{Gap, Verdict};
use cofferdam_api::names::workload_name;
use cofferdam_api::{AgentRun, AgentRunStatus, LiveReason, Reason};
use cofferdam_policy::dimension::credentials;
use cofferdam_policy::dimension::profile;
use cofferdam_policy::dimension::vulnerabilities::{self, Reports};
use cofferdam_policy::layer::layers::ttl_ceiling;
use cofferdam_policy::source::Sourced;
use cofferdam_wire::record::RunRecord;

/// After this time a chain is sealed although somebody may still have records for it.
const INCOMPLETE_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// The Job of a run.
#[derive(Clone, Debug)]
pub enum SeenJob {
    /// There has been none.
    None,
    /// The API server refused to create it.
    Refused(Verdict),
    /// There was one.
    Gone,
    /// It exists.
    Present(Arc<Job>),
}

/// Everything that a step rests on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The run's uid.
    pub run_uid: String,
    /// Its Job.
    pub job: SeenJob,
    /// Its pods, oldest first, those that are over too.
    pub pods: Vec<Arc<RunPod>>,
    /// Where the gateway is.
    pub gateway: Option<SocketAddr>,
    /// A NetworkPolicy that widens the fence; looked for only while the Job exists.
    pub foreign: Option<Gap>,
    /// How long policies let a finished run be kept.
    pub policy_ttl: PolicyTtl,
    /// What this process remembers of the run.
    pub remembered: Remembered,
    /// What every sandbox has in common.
    pub installation: Arc<Installation>,
    /// The answers so far.
    pub answers: Answers,
}

/// Something that a step has to know first.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// What does the decision to start rest on?
    Facts,
    /// Is there a slot under this ceiling?
    Slot(Sourced<i32>),
    /// What do the API server or the archive say of the workload?
    Observed(observe::Question),
    /// Where does the chain of a run end that ends with this status?
    Seal(Box<AgentRunStatus>),
}

/// The answer to [`Question::Seal`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sealing {
    /// When it was asked for the first time.
    pub since: Timestamp,
    /// What came of it.
    pub outcome: SealOutcome,
}

/// The answers to the questions of one reconcile.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// To [`Question::Facts`].
    pub facts: Option<Box<Facts>>,
    /// To [`Question::Slot`].
    pub slot: Option<Answer>,
    /// To [`observe::Question::Admission`].
    pub admission: Option<Result<(), String>>,
    /// To [`observe::Question::Changes`].
    pub changes: Option<Vec<String>>,
    /// To [`observe::Question::Warnings`].
    pub warnings: Option<Vec<String>>,
    /// To [`observe::Question::Record`].
    pub record: Option<Result<RunRecord, String>>,
    /// To [`Question::Seal`].
    pub sealing: Option<Sealing>,
}

impl Seen {
    /// Reads the caches, and past them where they may be behind.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn of(run: &AgentRun, run_uid: &str, context: &Context) -> Result<Self, CallError> {
        let namespace = run.namespace().unwrap_or_default();
        let stores = &context.stores;
        let remembered = context.effects.memory.of(run_uid);
        let is_finished = run.is_finished();
        let job = match stores.job_of(run, run_uid) {
            Some(job) => SeenJob::Present(job),
            None if is_finished => SeenJob::Gone,
            None => uncached_job(run, run_uid, &remembered, context).await?,
        };
        let is_live = matches!(job, SeenJob::Present(_)) && !is_finished;
        Ok(Self {
            run_uid: run_uid.to_owned(),
            pods: stores.pods_of(&namespace, run_uid),
            gateway: stores.gateway(),
            foreign: is_live.then(|| fence::foreign_gap(stores, &namespace)).flatten(),
            policy_ttl: if is_finished {
                policy_ttl(run, &namespace, context)
            } else {
                PolicyTtl::default()
            },
            job,
            remembered,
            installation: Arc::clone(&context.installation),
            answers: Answers::default(),
        })
    }

    /// Whether a pod of the run runs or will run.
    pub fn has_live_pods(&self) -> bool {
        self.pods.iter().any(|pod| !is_over(pod))
    }

    /// Finds the answer to a question.
    ///
    /// # Errors
    /// The API server did not answer. An archive that does not is an answer.
    pub async fn answer(
        &mut self,
        question: Question,
        run: &AgentRun,
        context: &Context,
        now: Timestamp,
    ) -> Result<(), CallError> {
        let answers = &mut self.answers;
        match question {
            Question::Facts => answers.facts = Some(Box::new(facts(run, context, now))),
            Question::Slot(ceiling) => {
                answers.slot = Some(context.effects.take_slot(run, &ceiling));
            }
            Question::Observed(observe::Question::Admission) => {
                let answer = match &self.job {
                    SeenJob::Present(job) => ask::admission(&context.effects.client, run, job).await?,
                    _ => Ok(()),
                };
                answers.admission = Some(answer);
            }
            Question::Observed(observe::Question::Changes) => {
                let pod = self.pods.first();
                let found = match (&self.job, pod) {
                    (SeenJob::Present(job), Some(pod)) => {
                        ask::changes(&context.effects.client, run, job, pod).await
                    }
                    _ => Ok(Vec::new()),
                };
                // The places are for people: not knowing them holds up nothing.
                answers.changes = Some(found.unwrap_or_default());
            }
            Question::Observed(observe::Question::Warnings) => {
                answers.warnings = Some(match self.pods.first() {
                    Some(pod) => ask::warnings(&context.effects.client, pod).await?,
                    None => Vec::new(),
                });
            }
            Question::Observed(observe::Question::Record) => {
                let record = context.archive.record(&self.run_uid).await;
                answers.record = Some(record.map_err(|error| error.to_string()));
            }
            Question::Seal(status) => {
                let since = context.effects.memory.note_sealing(&self.run_uid, now);
                let is_late = now.duration_since(since) >= INCOMPLETE_AFTER;
                let told = answers.record.as_ref().and_then(|record| record.as_ref().ok());
                let attempt = u32::try_from(status.attempt.unwrap_or(1)).unwrap_or(1);
                let admitted = told.is_some_and(|record| record.admitted >= attempt);
                let sealer = &context.effects.sealer;
                let status = status::ended_at(&status, since);
                let outcome = sealer.seal(run, &self.run_uid, &status, admitted, is_late).await;
                answers.sealing = Some(Sealing { since, outcome });
            }
        }
        Ok(())
    }
}

/// Reads the run past the cache; `None`: it is gone, or another one has its name now.
///
/// # Errors
/// The API server did not answer.
pub async fn fresh_run(run: &AgentRun, context: &Context) -> Result<Option<AgentRun>, CallError> {
    let api: Api<AgentRun> = Api::namespaced(
        context.effects.client.clone(),
        &run.namespace().unwrap_or_default(),
    );
    let found = api
        .get_opt(&run.name_any())
        .await
        .map_err(failed(Call::ReadRun))?;
    Ok(found.filter(|found| found.metadata.uid == run.metadata.uid))
}

/// A Job that should exist and is not in the cache.
async fn uncached_job(
    run: &AgentRun,
    run_uid: &str,
    remembered: &Remembered,
    context: &Context,
) -> Result<SeenJob, CallError> {
    if !has_begun(run) && remembered.job_uid.is_none() {
        return Ok(SeenJob::None);
    }
    let name = workload_name(&run.name_any(), run_uid);
    let job = read_job(&context.effects.client, run, &name).await?;
    Ok(job.map_or(SeenJob::Gone, |job| SeenJob::Present(Arc::new(job))))
}

/// Whether the run's status names a Job.
fn has_begun(run: &AgentRun) -> bool {
    run.status
        .as_ref()
        .is_some_and(|status| status.workload.is_some())
}

/// What the policies in force say of how long the run is kept after its end.
fn policy_ttl(run: &AgentRun, namespace: &str, context: &Context) -> PolicyTtl {
    let stores = &context.stores;
    let policy = stores.policy(namespace, run.spec.policy_name());
    let cluster_policies = stores.cluster_policies().unwrap_or_default();
    let labels = stores.namespace_labels(namespace);
    PolicyTtl {
        ceiling: ttl_ceiling(&labels, &cluster_policies, policy.as_ref()),
        default: policy
            .and_then(|policy| policy.spec.defaults)
            .and_then(|defaults| defaults.ttl_seconds_after_finished),
    }
}

/// What the decision about a run without a Job rests on.
fn facts(run: &AgentRun, context: &Context, now: Timestamp) -> Facts {
    let namespace = run.namespace().unwrap_or_default();
    let stores = &context.stores;
    let policy = stores.policy(&namespace, run.spec.policy_name());
    let cluster_policies = stores.cluster_policies();
    let reports =
        if vulnerabilities::is_asked(policy.as_ref(), cluster_policies.as_deref().unwrap_or_default()) {
            stores.scanner.on(&profile::images(
                run,
                policy.as_ref(),
                cluster_policies.as_deref().unwrap_or_default(),
            ))
        } else {
            Some(Reports::new())
        };
    let named = credentials::named_by(policy.as_ref(), cluster_policies.as_deref().unwrap_or_default());
    let credentials = stores.credentials(&named);
    Facts {
        namespace_labels: stores.namespace_labels(&namespace),
        policy,
        cluster_policies,
        runtime_classes: stores.runtime_classes(),
        reports,
        credentials,
        credential_health: stores.credential_health.told(),
        gateway: stores.gateway().ok_or_else(|| no_gateway(&context.installation)),
        guard_gap: context.guard.gap(),
        fence_gap: fence::gap(stores, &namespace, &context.installation.operator_namespace),
        space_gap: space::gap(
            stores.archive_space.get().as_ref().as_ref(),
            &namespace,
            stores.namespace_uid(&namespace).as_deref(),
        ),
        waiting_since: status::waiting_since(run, now),
        readings: Arc::clone(&stores.readings),
    }
}

fn no_gateway(installation: &Installation) -> Gap {
    let Installation {
        operator_namespace: namespace,
        gateway_service: service,
        ..
    } = installation;
    Gap {
        reason: LiveReason::GatewayNotReady,
        ends_with: Reason::StartTimeout,
        message: format!(
            "The Service {service} has no cluster IP. Check `kubectl -n {namespace} get svc,deploy`."
        ),
        actionable: true,
    }
}
