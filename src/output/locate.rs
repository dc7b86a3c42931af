//! Which run a name means: the object that is there, else the newest of the archive that had this name.
//!
//! A namespace may be deleted and made again under its name, by another tenant. So a run whose object is gone is found only
//! by who has the namespace that it ran in: the uid that the archive keeps with a run is compared with that of the namespace
//! that lives now. Who may read in every namespace finds it all the same, where nobody else's is meant.

use kube::Client;
use kube::api::{GetParams, Request as Ask};
use serde::Deserialize;

use crate::archive::Archive;
use crate::living::Living;
use crate::status::Failure;
use cofferdam_api::stage::{COMPLETE, FAILED};
use cofferdam_wire::output_api::RunName;

/// The runs of the cluster.
pub struct Runs {
    client: Client,
}

/// A run that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub name: RunName,
    /// Whether nothing of it goes on.
    pub over: bool,
}

/// As much of an AgentRun as matters here, whatever its version.
#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

impl Object {
    fn is_over(&self) -> bool {
        let ends = |condition: &Condition| {
            [COMPLETE, FAILED].contains(&condition.r#type.as_str()) && condition.status == "True"
        };
        self.status.conditions.iter().any(ends)
    }
}

impl Runs {
    /// Reads `AgentRuns` by `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The run of this name; `uid` says which where there were several. `is_everywhere`: whether who asks may read in every
    /// namespace.
    ///
    /// # Errors
    /// There is none, or it cannot be found out.
    pub async fn find(
        &self,
        archive: &Archive,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        is_everywhere: impl Future<Output = Result<bool, Failure>>,
    ) -> Result<Found, Failure> {
        let found = |uid: String, over: bool| Found {
            name: RunName {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                uid,
            },
            over,
        };
        let object = self.object(namespace, name).await?;
        if let Some(object) = object
            && uid.is_none_or(|uid| uid == object.metadata.uid)
        {
            let over = object.is_over();
            return Ok(found(object.metadata.uid, over));
        }
        // By the name that the archive knows, so that nobody reads a run of another namespace by its uid.
        let mut named = archive.named(namespace, name).await?;
        named.retain(|run| uid.is_none_or(|uid| uid == run.run_uid));
        if named.is_empty() {
            return Err(none(namespace, name, uid));
        }
        let living = Living::read(&self.client, namespace).await?;
        let mut run = named.iter().find(|run| living.is_of(run));
        if run.is_none() && is_everywhere.await? {
            run = named.first();
        }
        run.map(|run| found(run.run_uid.clone(), true))
            .ok_or_else(|| none(namespace, name, uid))
    }

    /// The object, if there is one now.
    async fn object(&self, namespace: &str, name: &str) -> Result<Option<Object>, Failure> {
        let path = format!("/apis/cofferdam.dev/v1alpha1/namespaces/{namespace}/agentruns");
        let request = Ask::new(path)
            .get(name, &GetParams::default())
            .map_err(|error| Failure::bad_request(error.to_string()))?;
        match self.client.request::<Object>(request).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => {
                tracing::warn!(%error, "an AgentRun cannot be read");
                Err(Failure::unavailable(
                    "the API server does not say which run this is; try again",
                ))
            }
        }
    }

    /// Whether the run is over by now. A run that cannot be asked about is taken to go on.
    pub async fn is_over(&self, run: &RunName) -> bool {
        match self.object(&run.namespace, &run.name).await {
            Ok(Some(object)) => object.metadata.uid != run.uid || object.is_over(),
            Ok(None) => true,
            Err(_) => false,
        }
    }
}

/// The same words whether there was none or another tenant's.
fn none(namespace: &str, name: &str, uid: Option<&str>) -> Failure {
    Failure::not_found(match uid {
        Some(uid) => {
            format!("neither the cluster nor the archive has an AgentRun {namespace}/{name} of uid {uid}")
        }
        None => format!(
            "there is no AgentRun {namespace}/{name}, and the archive knows of none in this namespace"
        ),
    })
}
