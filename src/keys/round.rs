//! Reads what this role keeps up, and writes what is not as it should be. It creates nothing: the chart does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use cofferdam_api::names;
use cofferdam_wire::keys::PublicKeys;

use crate::inspection::{self, Data, InspectionError};
use crate::serving::{self, ServingError};
use crate::signing::{self, SigningError};

/// Why something is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The chart has not made it.
    #[error("{kind} {name} is missing: install the chart again")]
    Missing { kind: String, name: &'static str },
    /// The API server.
    #[error("{kind} {name} cannot be {done}: {source}")]
    Api {
        kind: String,
        name: &'static str,
        done: &'static str,
        source: kube::Error,
    },
    /// The key of statements.
    #[error("Secret {name}: {source}", name = names::SIGNING_SECRET, source = .0)]
    Signing(#[from] SigningError),
    /// The gateway's authorities.
    #[error("Secret {name}: {source}", name = names::INSPECTION_SECRET, source = .0)]
    Inspection(#[from] InspectionError),
    /// The certificate of the role `output`.
    #[error("Secret {name}: {source}", name = names::OUTPUT_SECRET, source = .0)]
    Serving(#[from] ServingError),
    /// The list of public keys.
    #[error("the public keys cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// What an installation wants kept up besides the key of statements.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The gateway's authorities.
    pub inspection_ca: bool,
    /// The certificate of the role `output`.
    pub output: bool,
}

/// The objects that this role keeps up.
pub struct Objects {
    secrets: Api<Secret>,
    maps: Api<ConfigMap>,
    services: Api<APIService>,
    /// Names of the role `output` as the API server calls it.
    hosts: Vec<String>,
    wanted: Wanted,
}

impl Objects {
    /// Those of the operator's namespace.
    pub fn new(client: &Client, namespace: &str, wanted: Wanted) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            maps: Api::namespaced(client.clone(), namespace),
            services: Api::all(client.clone()),
            hosts: vec![format!("{}.{namespace}.svc", names::OUTPUT_SERVICE)],
            wanted,
        }
    }

    /// Looks at each of them once. What is wrong with one keeps nobody from the others.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub async fn look(&self, now: Timestamp) -> Result<(), RoundError> {
        let signing = self.signing(now).await;
        let inspection = if self.wanted.inspection_ca {
            let kept = self
                .secret(names::INSPECTION_SECRET, |data| {
                    Ok(inspection::kept_up(data, now)?)
                })
                .await;
            kept.map(drop)
        } else {
            Ok(())
        };
        let output = if self.wanted.output {
            self.output(now).await
        } else {
            Ok(())
        };
        signing.and(inspection).and(output)
    }

    /// The certificate of the role `output`, and then what the API server trusts of it.
    async fn output(&self, now: Timestamp) -> Result<(), RoundError> {
        let data = self
            .secret(names::OUTPUT_SECRET, |data| {
                Ok(serving::kept_up(data, &self.hosts, now)?)
            })
            .await?;
        let name = names::OUTPUT_API_SERVICE;
        let service = read(&self.services, name).await?;
        let bundle = data.get(serving::AUTHORITIES);
        if service.spec.as_ref().and_then(|spec| spec.ca_bundle.as_ref()) == bundle {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"spec": {"caBundle": bundle}}));
        self.services
            .patch(name, &PatchParams::default(), &patch)
            .await
            .map_err(failed::<APIService>(name, "patched"))?;
        tracing::info!(kind = "APIService", name, "patched");
        Ok(())
    }

    /// The key of statements, and then the list by which they are verified.
    async fn signing(&self, now: Timestamp) -> Result<(), RoundError> {
        let data = self
            .secret(names::SIGNING_SECRET, |data| Ok(signing::kept_up(data, now)?))
            .await?;
        let Some(keys) = signing::published(&data)? else {
            return Ok(());
        };
        let wanted = published_files(&keys)?;
        let mut map = read(&self.maps, names::PUBLIC_KEYS).await?;
        if map.data.as_ref() != Some(&wanted) {
            map.data = Some(wanted);
            write(&self.maps, names::PUBLIC_KEYS, &map).await?;
        }
        Ok(())
    }

    /// Gives the content of a Secret, after it was brought up to date.
    async fn secret(
        &self,
        name: &'static str,
        kept_up: impl FnOnce(&Data) -> Result<Option<Data>, RoundError>,
    ) -> Result<Data, RoundError> {
        let mut secret = read(&self.secrets, name).await?;
        let data = secret.data.take().unwrap_or_default();
        let Some(wanted) = kept_up(&data)? else {
            return Ok(data);
        };
        secret.data = Some(wanted.clone());
        write(&self.secrets, name, &secret).await?;
        Ok(wanted)
    }
}

/// The list for programs, and each key as a file for tools that take one.
fn published_files(keys: &PublicKeys) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let mut files: BTreeMap<String, String> = keys
        .keys
        .iter()
        .map(|key| (format!("{}.pem", key.key_id), key.public_key.clone()))
        .collect();
    files.insert("keys.json".to_owned(), serde_json::to_string(keys)?);
    Ok(files)
}

async fn read<K>(api: &Api<K>, name: &'static str) -> Result<K, RoundError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let found = api.get_opt(name).await.map_err(failed::<K>(name, "read"))?;
    found.ok_or_else(|| RoundError::Missing {
        kind: K::kind(&()).into_owned(),
        name,
    })
}

/// Writes it, unless somebody changed it since it was read.
async fn write<K>(api: &Api<K>, name: &'static str, object: &K) -> Result<(), RoundError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    api.replace(name, &PostParams::default(), object)
        .await
        .map_err(failed::<K>(name, "written"))?;
    tracing::info!(kind = %K::kind(&()), name, "written");
    Ok(())
}

fn failed<K: Resource<DynamicType = ()>>(
    name: &'static str,
    done: &'static str,
) -> impl FnOnce(kube::Error) -> RoundError {
    move |source| RoundError::Api {
        kind: K::kind(&()).into_owned(),
        name,
        done,
        source,
    }
}
