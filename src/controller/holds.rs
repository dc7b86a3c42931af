//! What must be kept whatever its age: the label `cofferdam.dev/legal-hold` of runs and of namespaces, told to the archive.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Resource, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::stores::Stores;
use cofferdam_api::names::{LABEL_LEGAL_HOLD, LEGAL_HOLD};
use cofferdam_wire::hold::{HeldNamespace, Holds};

/// How often the archive is told: it removes nothing when it was not told for an hour.
const PERIOD: Duration = Duration::from_mins(1);

/// Tells the archive until `stop`.
pub async fn follow(archive: &Archive, stores: &Stores, stop: CancellationToken) {
    loop {
        if let Err(error) = archive.hold(&held(stores)).await {
            tracing::debug!(%error, "the archive was not told what is held");
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn held(stores: &Stores) -> Holds {
    let namespaces = stores.namespaces.state_filter(is_held);
    let runs = stores.runs.state_filter(is_held);
    Holds {
        namespaces: namespaces
            .iter()
            .filter_map(|namespace| named(namespace))
            .collect(),
        runs: runs.iter().filter_map(|run| run.meta().uid.clone()).collect(),
    }
}

fn named(namespace: &Namespace) -> Option<HeldNamespace> {
    Some(HeldNamespace {
        name: namespace.metadata.name.clone()?,
        uid: namespace.metadata.uid.clone()?,
    })
}

/// Whether an object says that what it stands for is held.
pub fn is_held(object: &impl Resource) -> bool {
    object.labels().get(LABEL_LEGAL_HOLD).map(String::as_str) == Some(LEGAL_HOLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn only_the_value_true_holds() {
        let mut run = testing::run();
        assert!(!is_held(&run));
        for (value, held) in [("true", true), ("True", false), ("", false), ("false", false)] {
            run.labels_mut()
                .insert(LABEL_LEGAL_HOLD.to_owned(), value.to_owned());
            assert_eq!(is_held(&run), held, "{value}");
        }
    }
}
