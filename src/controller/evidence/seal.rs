//! Seals the chain of a run and signs its statement, at the archive. Doing it twice is harmless.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt as _};

use super::records::{self, Before};
use super::signer::Signer;
use super::statement::{self, Origin};
use crate::archive::{Archive, ArchiveError};
use cofferdam_api::names::{FROZEN_POLICY_KEY, frozen_policy_name};
use cofferdam_api::{AgentRun, AgentRunStatus};
use cofferdam_wire::record::{ProcessId, StreamId};
use cofferdam_wire::run_record::RunEvent;
use cofferdam_wire::seal::{Seal, SealCause, SealEntry, SealRequest, VERSION};
use cofferdam_wire::statement::Statement;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum SealOutcome {
    /// The chain has its last record.
    Sealed {
        /// Where it ends.
        seal: Box<Seal>,
        /// Why the archive has no statement of it; absent: it has.
        unsigned: Option<String>,
    },
    /// Somebody may still have records, or an output, of the run.
    Open(String),
    /// The archive did not answer, or could not.
    Unavailable(String),
    /// The archive takes no seal for this run: its chain is corrupt or full.
    Refused(String),
}

/// Seals runs.
#[derive(Clone)]
pub struct Sealer {
    archive: Archive,
    signer: Signer,
    origin: Arc<Origin>,
    policies: Api<ConfigMap>,
    namespaces: Store<Namespace>,
    process: ProcessId,
    streams: Arc<AtomicU64>,
}

impl Sealer {
    /// A sealer of this process, for runs whose frozen policies are `policies`, in these namespaces.
    pub fn new(
        archive: Archive,
        signer: Signer,
        origin: Origin,
        policies: Api<ConfigMap>,
        namespaces: Store<Namespace>,
        process: ProcessId,
    ) -> Self {
        Self {
            archive,
            signer,
            origin: Arc::new(origin),
            policies,
            namespaces,
            process,
            streams: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Uid of the namespace of a run. A later namespace of that name has another one.
    pub fn namespace_uid(&self, run: &AgentRun) -> Option<String> {
        let namespace = self.namespaces.get(&ObjectRef::new(&run.namespace()?))?;
        // The caches do not move together: that of runs may still have one whose namespace was made anew meanwhile.
        let is_its_own =
            namespace.metadata.creation_timestamp.as_ref()? <= run.metadata.creation_timestamp.as_ref()?;
        is_its_own.then(|| namespace.metadata.uid.clone()).flatten()
    }

    /// Tells the archive what was admitted, without waiting for it. What the archive does not take is told again with
    /// the seal.
    pub fn tell_admitted(&self, run_uid: &str, events: &[RunEvent]) {
        let (stream, archive, run_uid) = (self.stream(), self.archive.clone(), run_uid.to_owned());
        let lines = entries(events, Timestamp::now()).map(|entries| {
            let lines = entries
                .into_iter()
                .map(|entry| serde_json::to_string(&entry.record));
            lines
                .map(|line| line.map(|line| line + "\n"))
                .collect::<Result<String, _>>()
        });
        tokio::spawn(async move {
            let told = match lines {
                Ok(Ok(lines)) => archive.append(&run_uid, &stream, lines.into_bytes()).await,
                Ok(Err(error)) | Err(error) => Err(error.into()),
            };
            if let Err(error) = told {
                tracing::warn!(run = run_uid, %error, "the archive was not told of the admission; it is told at the run's end");
            }
        });
    }

    /// Seals a run that ends with `status`. `incomplete`: also if somebody may still have records of it.
    pub async fn seal(
        &self,
        run: &AgentRun,
        run_uid: &str,
        status: &AgentRunStatus,
        admitted: bool,
        incomplete: bool,
    ) -> SealOutcome {
        let policy = match &status.resolved {
            Some(resolved) if !admitted => self.policy(&resolved.policy_hash).await,
            _ => None,
        };
        let namespace_uid = self.namespace_uid(run);
        let before = Before {
            namespace_uid: namespace_uid.as_deref(),
            admitted,
            policy: policy.as_deref(),
        };
        let events = records::ended(run, status, before);
        let sealed = self
            .close(run_uid, SealCause::RunEnded, incomplete, &events)
            .await;
        match sealed {
            Ok(seal) => {
                let statement = statement::of_run(run, status, &seal, &self.origin);
                self.sign(run_uid, seal, &statement).await
            }
            Err(error) => not_sealed(&error),
        }
    }

    /// Seals what is left of a run that is gone.
    pub async fn seal_gone(&self, run_uid: &str) -> SealOutcome {
        match self.close(run_uid, SealCause::RunDeleted, true, &[]).await {
            Ok(seal) => {
                let statement = statement::of_chain(run_uid, &seal, &self.origin);
                self.sign(run_uid, seal, &statement).await
            }
            Err(error) => not_sealed(&error),
        }
    }

    async fn close(
        &self,
        run_uid: &str,
        cause: SealCause,
        incomplete: bool,
        events: &[RunEvent],
    ) -> Result<Seal, ArchiveError> {
        let request = SealRequest {
            version: VERSION,
            cause,
            incomplete,
            stream: self.stream().as_str().to_owned(),
            records: entries(events, Timestamp::now())?,
        };
        self.archive.seal(run_uid, &request).await
    }

    async fn sign(&self, run_uid: &str, seal: Seal, statement: &Statement) -> SealOutcome {
        let unsigned = if seal.signed {
            None
        } else {
            match self.signer.sign(statement).await {
                Ok(envelope) => {
                    let kept = self.archive.keep_statement(run_uid, &envelope).await;
                    kept.err().map(|error| error.to_string())
                }
                Err(error) => Some(error.to_string()),
            }
        };
        SealOutcome::Sealed {
            seal: Box::new(seal),
            unsigned,
        }
    }

    /// The text of a frozen policy, if it is still there.
    async fn policy(&self, hash: &str) -> Option<String> {
        let found = self.policies.get_opt(&frozen_policy_name(hash)).await;
        let map = found.inspect_err(|error| tracing::debug!(%error, "a policy was not read"));
        map.ok()??.data?.remove(FROZEN_POLICY_KEY)
    }

    fn stream(&self) -> StreamId {
        StreamId::new(self.process, self.streams.fetch_add(1, Ordering::Relaxed))
    }
}

fn entries(events: &[RunEvent], now: Timestamp) -> Result<Vec<SealEntry>, serde_json::Error> {
    let time = now.to_string();
    let numbered = events.iter().zip(1_u64..);
    numbered
        .map(|(event, number)| {
            Ok(SealEntry {
                class: event.class(),
                record: event.record(number, &time)?,
            })
        })
        .collect()
}

fn not_sealed(error: &ArchiveError) -> SealOutcome {
    let text = error.to_string();
    match error.code() {
        Some("StreamsOpen" | "OutputBusy") => SealOutcome::Open(text),
        Some("RecordsCorrupt" | "RecordsFull" | "Invalid") => SealOutcome::Refused(text),
        _ => SealOutcome::Unavailable(text),
    }
}
