//! Keeps the root over the heads of chains outside the archive: in one ConfigMap, and by its writes in the audit log of the API
//! server.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::archive::{Archive, ArchiveError};
use cofferdam_api::names::{FIELD_MANAGER, WITNESS};
use cofferdam_wire::witness::Witness;

/// How often.
const PERIOD: Duration = Duration::from_mins(1);

/// Why a root is kept nowhere.
#[derive(Debug, thiserror::Error)]
enum WitnessError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("the ConfigMap {WITNESS} cannot be written: {0}")]
    Write(#[from] kube::Error),
}

/// Keeps it each minute until `stop`.
pub async fn follow(archive: &Archive, client: &Client, namespace: &str, stop: CancellationToken) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = keep(archive, &maps).await {
            tracing::warn!(%error, "the heads of chains were not witnessed");
        }
    }
}

async fn keep(archive: &Archive, maps: &Api<ConfigMap>) -> Result<(), WitnessError> {
    // A minute in which nothing was recorded is no write.
    let Some(witness) = archive.witness().await? else {
        return Ok(());
    };
    let mut map = maps.get(WITNESS).await?;
    map.data = Some(data(&witness));
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    maps.replace(WITNESS, &params, &map).await?;
    Ok(())
}

fn data(witness: &Witness) -> BTreeMap<String, String> {
    let entry = |name: &str, value: String| (name.to_owned(), value);
    BTreeMap::from([
        entry("time", witness.time.clone()),
        entry("root", witness.root.clone()),
        entry("runs", witness.runs.to_string()),
    ])
}
