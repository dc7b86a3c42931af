//! Takes away frozen policies to which no run refers any more.
//!
//! A run may be about to refer to one just now. It looks for its policy, makes its Job, and then looks again
//! (`agent_run/apply.rs`); the sweep deletes the policy, and then looks for Jobs again. Whichever of the two looks
//! last sees what the other one did: if the Job came first, the sweep finds it and puts the policy back; if it came
//! later, the run finds the policy gone and makes it anew. Should either of them die in between, the gateway finds no
//! policy and lets that run reach nothing.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::api_server::{is_code, post};
use super::stores::Stores;
use cofferdam_api::names::{LABEL_FROZEN_POLICY, LABEL_POLICY_HASH, frozen_policy_name};

/// How often is swept.
const PERIOD: Duration = Duration::from_mins(10);
/// Younger policies are left alone: their run may not have its Job yet.
const KEPT: SignedDuration = SignedDuration::from_mins(10);
/// Policies that are taken away between two looks at what is in use.
const SLICE: usize = 100;

/// Sweeps now and then until `stop`.
pub async fn run(client: &Client, namespace: &str, stores: &Stores, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => return,
        }
        match in_slices(async || sweep(client, namespace, stores).await).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "frozen policies without a run were deleted"),
            Err(error) => {
                tracing::warn!(%error, "frozen policies could not be swept; tried again in 10 minutes");
            }
        }
    }
}

/// Goes on as long as slices are full: short runs, each with another `egress`, leave thousands of policies in ten minutes.
async fn in_slices<E>(mut slice: impl AsyncFnMut() -> Result<usize, E>) -> Result<usize, E> {
    let mut all = 0;
    loop {
        let count = slice().await?;
        all += count;
        if count < SLICE {
            return Ok(all);
        }
    }
}

async fn sweep(client: &Client, namespace: &str, stores: &Stores) -> kube::Result<usize> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let labelled = ListParams::default().labels(&format!("{LABEL_FROZEN_POLICY}=true"));
    let policies = api.list_metadata(&labelled).await?.items;
    let mut count = 0;
    for name in unused(&policies, &in_use(stores), Timestamp::now()) {
        count += usize::from(remove(client, namespace, &name).await?);
    }
    Ok(count)
}

/// Names of the policies that Jobs and pods refer to, ended ones too.
fn in_use(stores: &Stores) -> HashSet<String> {
    let jobs = stores.jobs.state();
    let pods = stores.pods.state();
    let hashes = jobs
        .iter()
        .filter_map(|job| job.labels().get(LABEL_POLICY_HASH))
        .chain(pods.iter().filter_map(|pod| pod.labels().get(LABEL_POLICY_HASH)));
    hashes.map(|hash| frozen_policy_name(hash)).collect()
}

/// The oldest policies that nothing refers to. Pure.
fn unused(
    policies: &[PartialObjectMeta<ConfigMap>],
    in_use: &HashSet<String>,
    now: Timestamp,
) -> Vec<String> {
    let mut unused: Vec<(Timestamp, String)> = policies
        .iter()
        .filter_map(|policy| Some((policy.metadata.creation_timestamp.as_ref()?.0, policy.name_any())))
        .filter(|(made, name)| now.duration_since(*made) >= KEPT && !in_use.contains(name))
        .collect();
    unused.sort();
    unused.truncate(SLICE);
    unused.into_iter().map(|(_, name)| name).collect()
}

/// Deletes a policy if no Job refers to it; gives whether it is gone.
pub(super) async fn remove(client: &Client, namespace: &str, name: &str) -> kube::Result<bool> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    if is_referred_to(client, name).await? {
        return Ok(false);
    }
    let Some(policy) = api.get_opt(name).await? else {
        return Ok(false);
    };
    let just_this = DeleteParams {
        preconditions: Some(Preconditions {
            uid: policy.uid(),
            resource_version: policy.resource_version(),
        }),
        ..DeleteParams::default()
    };
    match api.delete(name, &just_this).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(false),
        deleted => drop(deleted?),
    }
    match is_referred_to(client, name).await {
        Ok(false) => Ok(true),
        // In doubt it is put back.
        doubt => {
            put_back(&api, policy).await?;
            doubt.map(|_| false)
        }
    }
}

/// Asks the API server and not the cache, which may not show the newest Job.
async fn is_referred_to(client: &Client, name: &str) -> kube::Result<bool> {
    let Some(hash) = name.strip_prefix(&frozen_policy_name("")) else {
        return Ok(true);
    };
    let jobs: Api<Job> = Api::all(client.clone());
    let of_it = ListParams::default()
        .labels(&format!("{LABEL_POLICY_HASH}={hash}"))
        .limit(1);
    Ok(!jobs.list_metadata(&of_it).await?.items.is_empty())
}

async fn put_back(api: &Api<ConfigMap>, policy: ConfigMap) -> kube::Result<()> {
    let again = ConfigMap {
        metadata: ObjectMeta {
            name: policy.metadata.name,
            namespace: policy.metadata.namespace,
            labels: policy.metadata.labels,
            ..ObjectMeta::default()
        },
        ..policy
    };
    match api.create(&post(), &again).await {
        Err(error) if is_code(&error, 409) => Ok(()),
        created => created.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn policy(hash: &str, made: i64) -> PartialObjectMeta<ConfigMap> {
        PartialObjectMeta {
            metadata: ObjectMeta {
                name: Some(frozen_policy_name(hash)),
                creation_timestamp: Some(Time(at(made))),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        }
    }

    #[test]
    fn only_what_is_old_and_unused_goes_the_oldest_first() {
        let policies = vec![
            policy("young", 1),
            policy("used", -90),
            policy("old", 0),
            policy("older", -60),
        ];
        let used = HashSet::from([frozen_policy_name("used")]);
        let gone = |now| unused(&policies, &used, at(now));
        assert_eq!(gone(600), ["policy-older", "policy-old"]);
        assert_eq!(gone(599), ["policy-older"]);
        assert_eq!(gone(601), ["policy-older", "policy-old", "policy-young"]);
    }

    #[test]
    fn one_slice_is_bounded() {
        let many: Vec<_> = (0..250).map(|number| policy(&format!("p{number}"), 0)).collect();
        assert_eq!(unused(&many, &HashSet::new(), at(600)).len(), SLICE);
    }

    #[tokio::test]
    async fn it_is_swept_until_nothing_is_left() {
        let mut left = 2 * SLICE + 7;
        let mut slices = 0;
        let swept = in_slices(async || {
            slices += 1;
            let count = left.min(SLICE);
            left -= count;
            Ok::<_, std::convert::Infallible>(count)
        });
        assert_eq!(swept.await, Ok(2 * SLICE + 7));
        assert_eq!((left, slices), (0, 3));
    }
}
