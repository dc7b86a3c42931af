//! The plugin as a user runs it: the built program, a kubeconfig of the user's own, a file.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// The plugin that was built beside this test program: `make e2e` builds it first.
pub fn plugin() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    let profile = program
        .ancestors()
        .nth(2)
        .expect("it is in target/<profile>/deps");
    profile.join("kubectl-cofferdam")
}

/// A user of the embedded cluster with a home.
pub struct User {
    home: TempDir,
}

impl User {
    /// A user by this name and in this group.
    pub fn new(name: &str, group: &str) -> Self {
        let admins = std::env::var("KUBECONFIG").expect("the embedded cluster's kubeconfig");
        let text = std::fs::read_to_string(admins).expect("the kubeconfig can be read");
        let mut config: Value = serde_saphyr::from_str(&text).expect("it is YAML");
        let user = &mut config["users"][0]["user"];
        user["as"] = json!(name);
        user["as-groups"] = json!([group, "system:authenticated"]);
        let home = tempfile::tempdir().expect("a home");
        std::fs::write(home.path().join("config"), config.to_string()).expect("a kubeconfig");
        Self { home }
    }

    /// What `explain -o json` says to this user, with its exit code.
    pub async fn explains(&self, run: &Value) -> (i32, Value) {
        let file = self.manifest(run);
        let arguments = ["explain", "-o", "json", "-f"].map(Path::new);
        let output = self.run(&plugin(), &[&arguments[..], &[&file]].concat()).await;
        let said = String::from_utf8_lossy(&output.stdout);
        let document = serde_json::from_str(&said)
            .unwrap_or_else(|error| panic!("{error}: {said}\n{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().expect("it ended by itself"), document)
    }

    /// What `kubectl cofferdam explain` writes for people, with its exit code: kubectl finds the plugin by its name.
    pub async fn kubectl_explains(&self, run: &Value) -> (i32, String) {
        let file = self.manifest(run);
        let arguments = ["cofferdam", "explain", "-f"].map(Path::new);
        let kubectl = state().join("bin/kubectl");
        let output = self.run(&kubectl, &[&arguments[..], &[&file]].concat()).await;
        let said = [output.stdout, output.stderr].concat();
        let code = output.status.code().expect("it ended by itself");
        (code, String::from_utf8_lossy(&said).into_owned())
    }

    fn manifest(&self, run: &Value) -> PathBuf {
        let file = self.home.path().join("run.yaml");
        std::fs::write(&file, run.to_string()).expect("a manifest");
        file
    }

    async fn run(&self, program: &Path, arguments: &[&Path]) -> Output {
        let beside = plugin()
            .parent()
            .map(Path::to_path_buf)
            .expect("it is in a directory");
        Command::new(program)
            .args(arguments)
            .env("KUBECONFIG", self.home.path().join("config"))
            .env("HOME", self.home.path())
            .env("PATH", beside)
            .output()
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    }
}

fn state() -> PathBuf {
    let state = std::env::var("COFFERDAM_STATE");
    PathBuf::from(state.unwrap_or_else(|_| "/var/tmp/cofferdam".into()))
}
