//! Which run a name means: the object that is there, else the newest of the archive that had this name.

use kube::Client;
use kube::api::{GetParams, Request as Ask};
use serde::Deserialize;

use crate::archive::Archive;
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

    /// The run of this name; `uid` says which where there were several.
    ///
    /// # Errors
    /// There is none, or it cannot be found out.
    pub async fn find(
        &self,
        archive: &Archive,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
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
        let mut named = archive.named(namespace, name).await?.into_iter();
        let run = named.find(|run| uid.is_none_or(|uid| uid == run.run_uid));
        run.map(|run| found(run.run_uid, true)).ok_or_else(|| {
            Failure::not_found(match uid {
                Some(uid) => format!("neither the cluster nor the archive has an AgentRun {namespace}/{name} of uid {uid}"),
                None => format!(
                    "there is no AgentRun {namespace}/{name}, and the archive holds no output of one; records of a run that left \
                     no output are served as long as its object exists"
                ),
            })
        })
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
