//! Somebody with a kubeconfig, and the command that was built beside this program.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::explain::plugin::plugin;
use crate::harness::{Space, eventually};

/// Somebody, by impersonation, and the namespace of their context.
pub struct Someone {
    home: TempDir,
}

impl Someone {
    /// A user without any right of their own.
    pub fn stranger(space: &Space, name: &str) -> Self {
        let admins = std::env::var("KUBECONFIG").expect("the embedded cluster's kubeconfig");
        let text = std::fs::read_to_string(admins).expect("the kubeconfig can be read");
        let mut config: Value = serde_saphyr::from_str(&text).expect("it is YAML");
        config["users"][0]["user"]["as"] = json!(name);
        config["users"][0]["user"]["as-groups"] = json!(["system:authenticated"]);
        config["contexts"][0]["context"]["namespace"] = json!(space.name);
        let home = tempfile::tempdir().expect("a home");
        std::fs::write(home.path().join("config"), config.to_string()).expect("a kubeconfig");
        Self { home }
    }

    /// A user with `edit` in the namespace, and the use of its policies.
    pub async fn with_edit(space: &Space, name: &str) -> Self {
        for role in ["edit", "cofferdam-user"] {
            let binding = json!({
                "metadata": {"name": format!("{name}-{role}")},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
            });
            space
                .api::<RoleBinding>()
                .create(&PostParams::default(), &serde_json::from_value(binding).unwrap())
                .await
                .expect("a RoleBinding");
        }
        // The API server's authorizer knows a binding a moment later.
        let review = json!({"metadata": {}, "spec": {"user": name, "resourceAttributes": {"namespace": space.name, "verb": "use",
            "group": "cofferdam.dev", "resource": "sandboxpolicies", "name": "default"}}});
        let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
        let api: Api<SubjectAccessReview> = Api::all(space.client.clone());
        eventually(
            &format!("{name} may use the policy"),
            Duration::from_secs(30),
            || async {
                let answer = api
                    .create(&PostParams::default(), &review)
                    .await
                    .expect("an answer");
                answer.status.is_some_and(|status| status.allowed)
            },
        )
        .await;
        Self::stranger(space, name)
    }

    /// What the command says to them: exit code, standard output, standard error.
    pub async fn says(&self, arguments: &[&str], input: &str, directory: &Path) -> (i32, String, String) {
        self.runs(&plugin(), arguments, input, directory).await
    }

    /// What kubectl says to them.
    pub async fn kubectl(&self, arguments: &[&str]) -> (i32, String, String) {
        let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
        self.runs(
            &Path::new(&state).join("bin/kubectl"),
            arguments,
            "",
            Path::new("/"),
        )
        .await
    }

    async fn runs(
        &self,
        program: &Path,
        arguments: &[&str],
        input: &str,
        directory: &Path,
    ) -> (i32, String, String) {
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .env("KUBECONFIG", self.home.path().join("config"))
            .env("HOME", self.home.path())
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut pipe = child.stdin.take().expect("its input");
        // Whoever does not read has ended.
        let _ = pipe.write_all(input.as_bytes()).await;
        drop(pipe);
        let output = child.wait_with_output().await.expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().expect("it ends by itself"),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

/// Git in a checkout, with this on its standard input.
pub fn git(directory: &Path, arguments: &[&str], input: &str) {
    let mut child = std::process::Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .spawn()
        .expect("git runs");
    child
        .stdin
        .take()
        .expect("its input")
        .write_all(input.as_bytes())
        .expect("git reads");
    assert!(child.wait().expect("git ends").success(), "git {arguments:?}");
}
