//! What a run is tagged with: who asked for it, by which policy, with which image, on which commits. A chain says each once,
//! in records of the controller; an event stands alone and has all of them.

use serde_json::{Value, json};

use crate::audit::whole::Whole;
use crate::failure::Failure;
use crate::output::Spool;
use cofferdam_wire::run_record::RunEvent;

/// The tags of a run, as far as its records have told them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    run: Option<String>,
    requester: Option<String>,
    on_behalf_of: Option<String>,
    policy_hash: Option<String>,
    image: Option<String>,
    image_digest: Option<String>,
    prompt_digest: Option<String>,
    commits: Vec<String>,
}

/// What the sources of the controller's records begin with: nobody else's word counts for a run.
const CONTROLLER: &str = "controller/";

impl Tags {
    /// Those that the records of a whole chain tell.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn of(records: &mut Spool) -> Result<Self, Failure> {
        let (mut tags, mut whole) = (Self::default(), Whole::default());
        records.each_piece(|piece| {
            whole.take(piece, |line| {
                tags.take(line);
                Ok(())
            })
        })?;
        Ok(tags)
    }

    /// Takes what a line of the chain says of its run.
    pub fn take(&mut self, line: &[u8]) {
        let Ok(value) = serde_json::from_slice::<Value>(line) else {
            return;
        };
        let source = value.get("source").and_then(Value::as_str).unwrap_or_default();
        if !source.starts_with(CONTROLLER) {
            return;
        }
        match serde_json::from_value::<RunEvent>(
            json!({"type": value.get("type"), "data": value.get("data")}),
        ) {
            Ok(RunEvent::Admitted {
                run,
                requested_by,
                on_behalf_of,
                policy_hash,
                image,
                ..
            }) => {
                self.run = Some(run);
                self.requester = requested_by;
                self.on_behalf_of = on_behalf_of;
                self.policy_hash = Some(policy_hash);
                self.image = Some(image);
            }
            Ok(RunEvent::Prepared { commits, .. }) => self.commits = commits,
            Ok(RunEvent::Ended {
                run,
                images,
                prompt_digest,
                ..
            }) => {
                self.run = Some(run);
                self.prompt_digest = prompt_digest;
                let agent = images.iter().find_map(|image| image.strip_prefix("agent "));
                self.image_digest = agent.map(str::to_owned);
            }
            Ok(RunEvent::Document { .. }) | Err(_) => {}
        }
    }

    /// `namespace/name` of the run; its uid is what records have.
    pub fn run(&self) -> &str {
        self.run.as_deref().unwrap_or("unknown")
    }

    /// Who asked for it.
    pub fn requester(&self) -> Option<&str> {
        self.requester.as_deref()
    }

    /// The policy, by its hash.
    pub fn policy(&self) -> Option<Value> {
        let hash = self.policy_hash.as_ref()?;
        Some(json!({"uid": hash, "is_applied": true}))
    }

    /// The run as a resource.
    pub fn resource(&self, uid: &str) -> Value {
        let (namespace, name) = self.run().split_once('/').unwrap_or(("", self.run()));
        json!({"type": "AgentRun", "uid": uid, "name": name, "namespace": namespace})
    }

    /// As key and value.
    pub fn values(&self) -> Vec<Value> {
        let one = |name: &str, value: &Option<String>| {
            let value = value.as_ref()?;
            Some(json!({"name": name, "value": value}))
        };
        let mut tags: Vec<Value> = [
            one("run", &self.run),
            one("requester", &self.requester),
            one("onBehalfOf", &self.on_behalf_of),
            one("policyHash", &self.policy_hash),
            one("image", &self.image),
            one("imageID", &self.image_digest),
            one("promptDigest", &self.prompt_digest),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !self.commits.is_empty() {
            tags.push(json!({"name": "commits", "values": self.commits}));
        }
        tags
    }
}
