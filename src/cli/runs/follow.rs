//! One run as it changes, for whoever has other things to wait for as well.

use kube::{Client, ResourceExt as _};
use tokio::sync::mpsc;

use super::Run;
use super::watch::{Change, Changes};
use crate::failure::Failure;
use cofferdam_api::AgentRun;

/// What is seen of a run.
pub enum Seen {
    /// How it stands.
    Changed(Box<AgentRun>),
    /// It was deleted.
    Deleted,
    /// Nobody can tell any more.
    Lost(Failure),
}

/// Sees how a run stands and its changes, until nobody listens.
pub fn follow(client: Client, namespace: String, run: &AgentRun) -> mpsc::Receiver<Seen> {
    let (told, listening) = mpsc::channel(8);
    let uid = run.uid().unwrap_or_default();
    let mut changes = Changes::of(client, namespace, run);
    tokio::spawn(async move {
        loop {
            let seen = match changes.next().await {
                Ok(Change::Is(now)) if now.metadata("uid") == uid => match Run::readable(*now) {
                    Ok(run) => Seen::Changed(Box::new(run)),
                    Err(failure) => Seen::Lost(failure),
                },
                Ok(Change::Gone(gone)) if gone.metadata("uid") == uid => Seen::Deleted,
                // Another run of that name.
                Ok(_) => continue,
                Err(failure) => Seen::Lost(failure),
            };
            let ends = !matches!(seen, Seen::Changed(_));
            if told.send(seen).await.is_err() || ends {
                return;
            }
        }
    });
    listening
}
