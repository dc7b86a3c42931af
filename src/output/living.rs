//! The namespace that has a name now, and whether a run of the archive ran in it.

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{GetParams, Request};
use serde::Deserialize;

use crate::status::Failure;
use cofferdam_wire::archive::NamedRun;

/// How far the archive's clock may be ahead of the API server's.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// The namespace that lives, if one does.
#[derive(Debug)]
pub struct Living(Option<Namespace>);

/// As much of a namespace as matters here.
#[derive(Debug, Deserialize)]
struct Namespace {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: String,
    creation_timestamp: Timestamp,
}

impl Living {
    /// Asks the API server, not a cache: one that lags names the former tenant's namespace. It is asked only about runs
    /// whose object is gone.
    ///
    /// # Errors
    /// It does not say.
    pub async fn read(client: &Client, namespace: &str) -> Result<Self, Failure> {
        let request = Request::new("/api/v1/namespaces")
            .get(namespace, &GetParams::default())
            .map_err(|error| Failure::bad_request(error.to_string()))?;
        match client.request::<Namespace>(request).await {
            Ok(namespace) => Ok(Self(Some(namespace))),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Self(None)),
            Err(error) => {
                tracing::warn!(%error, "a namespace cannot be read");
                Err(Failure::unavailable(
                    "the API server does not say whose namespace this is; try again",
                ))
            }
        }
    }

    /// Whether the run ran in this namespace. Of a run whose records name no uid it is known only by time: what was received
    /// after the namespace was made is of this one.
    pub fn is_of(&self, run: &NamedRun) -> bool {
        let Self(Some(Namespace { metadata })) = self else {
            return false;
        };
        if let Some(uid) = &run.namespace_uid {
            return *uid == metadata.uid;
        }
        let received: Option<Timestamp> = run.received_at.parse().ok();
        received.is_some_and(|at| at.duration_since(metadata.creation_timestamp) > CLOCKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn living(created: &str) -> Living {
        let document = serde_json::json!({"metadata": {"uid": "now", "creationTimestamp": created}});
        Living(Some(serde_json::from_value(document).unwrap()))
    }

    fn run(namespace_uid: Option<&str>, received_at: &str) -> NamedRun {
        NamedRun {
            run_uid: "r".to_owned(),
            received_at: received_at.to_owned(),
            namespace_uid: namespace_uid.map(str::to_owned),
            left_output: true,
        }
    }

    #[test]
    fn a_run_is_of_the_namespace_whose_uid_it_has_whenever_that_was() {
        let living = living("2026-11-26T10:00:00Z");
        for received in ["2026-11-26T09:00:00Z", "2026-11-26T11:00:00Z"] {
            assert!(living.is_of(&run(Some("now"), received)));
            assert!(!living.is_of(&run(Some("former"), received)));
            assert!(!living.is_of(&run(Some(""), received)));
            assert!(!Living(None).is_of(&run(Some("now"), received)));
            assert!(!Living(None).is_of(&run(None, received)));
        }
    }

    #[test]
    fn a_run_without_a_uid_is_of_a_namespace_that_was_there_before_it() {
        let living = living("2026-11-26T10:00:00Z");
        for (received, own) in [
            ("2026-11-26T09:59:59Z", false),
            ("2026-11-26T10:00:00Z", false),
            ("2026-11-26T10:05:00Z", false),
            ("2026-11-26T10:05:01Z", true),
            ("not a time", false),
        ] {
            assert_eq!(living.is_of(&run(None, received)), own, "{received}");
        }
    }
}
