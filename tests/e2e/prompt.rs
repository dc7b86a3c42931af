//! What an agent is told is what its run was asked for with: a prompt in a ConfigMap is named by its digest.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason, names};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Space, eventually, prompt_from, repository};

const ASKED: &str = "echo what was asked for\n";
const SWAPPED: &str = "echo what an editor wrote\n";

/// A user with `edit` in this namespace and the use of no policy.
async fn editor(space: &Space) -> Client {
    let name = "prompt-mallory";
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    });
    space
        .api::<RoleBinding>()
        .create(&PostParams::default(), &serde_json::from_value(binding).unwrap())
        .await
        .expect("a RoleBinding");
    let mut config = Config::infer().await.expect("a kubeconfig");
    config.auth_info.impersonate = Some(name.to_owned());
    config.auth_info.impersonate_groups = Some(vec!["system:authenticated".to_owned()]);
    Client::try_from(config).expect("a client")
}

fn spec(task: &Value, suspend: bool) -> Value {
    json!({
        "task": task,
        "agent": {"image": BUSYBOX, "command": ["sh", "/cofferdam/prompt"]},
        "repositories": [repository("work", "two-first", "ReadWrite")],
        "suspend": suspend,
    })
}

fn digest_of(run: &AgentRun) -> Option<&str> {
    run.status.as_ref()?.resolved.as_ref()?.prompt_digest.as_deref()
}

#[tokio::test]
async fn a_prompt_that_an_editor_swaps_never_reaches_the_agent() {
    let space = Space::open("prompt-swapped").await;
    let (asked, swapped) = (names::digest(ASKED.as_bytes()), names::digest(SWAPPED.as_bytes()));
    let task = space.prompt("task", ASKED).await;
    let run = space.run("release", spec(&task, true)).await;
    run.in_phase("Suspended").await;

    let mallory = editor(&space).await;
    let maps: Api<ConfigMap> = Api::namespaced(mallory.clone(), &space.name);
    let swap = Patch::Merge(json!({"data": {"prompt": SWAPPED}}));
    eventually("an editor swaps the prompt", Duration::from_secs(30), || async {
        maps.patch("task", &PatchParams::default(), &swap).await.is_ok()
    })
    .await;
    let own: AgentRun = serde_json::from_value(json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
        "metadata": {"name": "own"}, "spec": spec(&prompt_from("task", "prompt", SWAPPED), false),
    }))
    .unwrap();
    let refused = Api::<AgentRun>::namespaced(mallory, &space.name)
        .create(&PostParams::default(), &own)
        .await
        .expect_err("an editor without `use` starts no run");
    assert!(refused.to_string().contains("use"), "{refused}");

    run.change(json!({"suspend": false}))
        .await
        .expect("a suspended run may start");
    let ended = run.ends(Reason::PromptChanged).await;
    assert_eq!(digest_of(&ended), Some(asked.as_str()));
    let status = ended.status.unwrap();
    assert_eq!(status.agent_start_time, None);
    let message = status.message.unwrap();
    for part in ["task", "prompt", &asked, &swapped] {
        assert!(message.contains(part), "{part} in: {message}");
    }

    // The control: who asks for the new text gets it.
    let task = prompt_from("task", "prompt", SWAPPED);
    let run = space.run("anew", spec(&task, false)).await;
    let ended = run.ends(Reason::Completed).await;
    assert_eq!(digest_of(&ended), Some(swapped.as_str()));
    assert_eq!(run.log("agent").await, "what an editor wrote\n");
    space.close().await;
}
