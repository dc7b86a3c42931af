//! Tells the archive whether each credential could be sent, for the controller, which reads no Secret: the gateway writes
//! no object of the cluster.

use std::time::{Duration, Instant};

use super::store::Credentials;
use crate::evidence::ArchiveClient;
use cofferdam_wire::credential::CredentialHealth;

/// How often is looked whether something changed.
const TICK: Duration = Duration::from_secs(1);
/// How often the same is told again: the archive keeps it in memory, and forgets what is not told any more.
const AGAIN: Duration = Duration::from_secs(15);

/// Tells for ever.
pub async fn run(credentials: &Credentials, archive: &ArchiveClient) {
    let mut told: Option<(Instant, Vec<CredentialHealth>)> = None;
    let mut failed = false;
    loop {
        tokio::time::sleep(TICK).await;
        let now = Instant::now();
        let Some(health) = credentials.health(now) else {
            continue;
        };
        let is_told = told
            .as_ref()
            .is_some_and(|(at, before)| *before == health && now.duration_since(*at) < AGAIN);
        if is_told {
            continue;
        }
        match archive.report_credentials(&health).await {
            Ok(()) => {
                told = Some((now, health));
                failed = false;
            }
            Err(error) => {
                // Once an outage, not once a second.
                if !failed {
                    tracing::warn!(%error, "the archive was not told which credentials are ready");
                }
                failed = true;
            }
        }
    }
}
