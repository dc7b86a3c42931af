//! Manifests as people and programs spell them: `explain` on files says of each what the API server says. What the API
//! server takes `explain` finds no fault with; what it refuses `explain` does not allow. Both read the same text, the API
//! server by kubectl.

mod texts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::process::Command;

use self::texts::{Read, Spelt, all};
use crate::harness::{Space, default_limits};

/// As many there are at least.
const LEAST: usize = 500;
/// Of each verdict there are so many at least: who says the same of everything is found.
const LEAST_OF_EACH: usize = 100;
/// Programs at a time.
const CONCURRENCY: usize = 3;

/// What `explain` says of a manifest.
struct Explained {
    allowed: bool,
    problems: Vec<Value>,
    said: String,
}

#[tokio::test]
#[ignore = "two thousand programs or so, which take the whole node for a minute or two"]
async fn explain_reads_manifests_as_the_api_server_does() {
    let space = Space::open_bare("manifests-spellings").await;
    let directory = tempfile::tempdir().expect("a directory");
    let place = Place {
        root: directory.path(),
        namespace: &space.name,
    };
    let all = all(&space.name);
    assert!(all.len() >= LEAST, "{}", all.len());
    place.write(&all);
    let refused = place.refused_by_the_api_server(all.len()).await;

    let explained = futures::stream::iter(all.iter().enumerate())
        .map(|(index, spelt)| place.explain(index, spelt))
        .buffered(CONCURRENCY)
        .collect::<Vec<_>>()
        .await;
    let mut wrong = Vec::new();
    for (index, (spelt, explained)) in all.iter().zip(&explained).enumerate() {
        let is_refused = refused.contains(&index);
        let is_told = if is_refused {
            !explained.allowed
        } else {
            explained.problems.is_empty()
        };
        if !is_told {
            let verdict = if is_refused { "refuses" } else { "takes" };
            wrong.push(format!(
                "the API server {verdict} {}:\n{}\n{}",
                spelt.what, spelt.text, explained.said
            ));
        }
    }
    space.close().await;
    println!("{} manifests, {} refused", all.len(), refused.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(refused.len() >= LEAST_OF_EACH && all.len() - refused.len() >= LEAST_OF_EACH);
    let allowed = explained.iter().filter(|explained| explained.allowed).count();
    assert!(
        allowed >= LEAST_OF_EACH && all.len() - allowed >= LEAST_OF_EACH,
        "{allowed}"
    );
}

/// Where the manifests stand.
struct Place<'a> {
    root: &'a Path,
    namespace: &'a str,
}

impl Place<'_> {
    fn file(&self, index: usize) -> PathBuf {
        self.root.join(format!("all/{index:04}.yaml"))
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, all: &[Spelt]) {
        std::fs::create_dir(self.root.join("all")).expect("a directory");
        for (index, spelt) in all.iter().enumerate() {
            std::fs::write(self.file(index), &spelt.text).expect("a manifest");
        }
        let policy = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxPolicy",
            "metadata": {"name": "default", "namespace": self.namespace}, "spec": {"limits": default_limits()},
        });
        std::fs::write(self.beside("policy.yaml"), policy.to_string()).expect("a policy");
        // A tunnel needs the consent of a cluster policy, which no policy of a namespace can give.
        let consent = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy",
            "metadata": {"name": "tunnels"}, "spec": {"namespaceSelector": {}, "limits": {"tunnels": "Allow"}},
        });
        std::fs::write(self.beside("consent.yaml"), consent.to_string()).expect("a cluster policy");
        std::fs::write(self.beside("run.yaml"), texts::run(self.namespace, "")).expect("a run");
    }

    /// Which manifests the API server refuses. kubectl goes through all of them and names the file of each refusal.
    async fn refused_by_the_api_server(&self, count: usize) -> BTreeSet<usize> {
        let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
        let output = Command::new(PathBuf::from(state).join("bin/kubectl"))
            .args(["create", "--dry-run=server", "-f"])
            .arg(self.root.join("all"))
            .output()
            .await
            .expect("kubectl runs");
        let (taken, refusals) = (text(&output.stdout), text(&output.stderr));
        let named = |index: &usize| refusals.contains(&format!("/{index:04}.yaml"));
        let refused: BTreeSet<usize> = (0..count).filter(named).collect();
        let taken = taken
            .lines()
            .filter(|line| line.ends_with("(server dry run)"))
            .count();
        assert_eq!(
            taken + refused.len(),
            count,
            "each is taken or refused by name: {refusals}"
        );
        refused
    }

    async fn explain(&self, index: usize, spelt: &Spelt) -> Explained {
        let (run, policy, more) = match spelt.read {
            Read::AsRun => (self.file(index), self.beside("policy.yaml"), None),
            Read::AsPolicy => (self.beside("run.yaml"), self.file(index), None),
            Read::BesidePolicy => (
                self.beside("run.yaml"),
                self.beside("policy.yaml"),
                Some(self.file(index)),
            ),
        };
        let mut command = Command::new(plugin());
        command
            .args(["explain", "-o", "json", "-f"])
            .arg(run)
            .arg("--policy")
            .arg(policy)
            .arg("--policy")
            .arg(self.beside("consent.yaml"));
        if let Some(more) = more {
            command.arg("--policy").arg(more);
        }
        let output = command.output().await.expect("the plugin runs");
        explained(&output)
    }
}

fn explained(output: &Output) -> Explained {
    let said = text(&output.stdout);
    let document: Value = serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{error}: {said}\n{}", text(&output.stderr)));
    Explained {
        allowed: output.status.code() == Some(0),
        problems: document["problems"].as_array().cloned().unwrap_or_default(),
        said: format!(
            "explain: {} {} {}",
            document["verdict"], document["problems"], document["message"]
        ),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The plugin that was built beside this test program: `make e2e` builds it first.
fn plugin() -> PathBuf {
    crate::explain::plugin::plugin()
}
