//! Agents that policies offer by a name: a run of four fields, and what a namespace's own profile cannot get.

use std::time::Duration;

use cofferdam_api::{AgentRun, ClusterSandboxPolicy, Reason};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{ATTACKER, Run, Space, default_limits, forget_ceiling, merge, repository, until};

/// The image of the tests by its digest, as `tests/install.sh` names it in the node's store.
async fn pinned(space: &Space) -> String {
    // A run by tag, of which the node says what it is.
    let run = space
        .script("which-digest", ATTACKER, "sh", "true\n", json!({}))
        .await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let images = status.resolved.unwrap().images;
    let agent = images.into_iter().find(|image| image.name == "agent").unwrap();
    let (_, digest) = agent
        .image_id
        .rsplit_once('@')
        .unwrap_or_else(|| panic!("{} has no digest", agent.image_id));
    format!("cofferdam.test/attacker@{digest}")
}

fn profile(image: &str, script: &str) -> Value {
    json!({"name": "worker", "description": "Writes what it was told", "image": image, "command": ["sh", "-c"], "args": [script],
        "env": [{"name": "FROM", "value": "profile"}, {"name": "KEPT", "value": "yes"}]})
}

/// Writes the prompt and its variables into the work tree, and says what it reaches.
const WRITES: &str = r#"cd /workspace/app && { cat "$COFFERDAM_PROMPT_FILE"; echo; echo "FROM=$FROM KEPT=$KEPT"; } > told.txt
curl -sf --max-time 10 http://allowed.internet.test/ >/dev/null && echo allowed >> told.txt || echo closed >> told.txt"#;

async fn offer(space: &Space, profile: &Value) {
    // The scheduler counts requests, not what is used.
    let resources = json!({"requests": {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "64Mi"}});
    let spec =
        json!({"limits": default_limits(), "defaults": {"resources": resources}, "agentProfiles": [profile]});
    space.policy_of("default", spec).await;
}

/// A run of name, profile, repository and prompt.
async fn short(space: &Space, name: &str, more: Value) -> Run {
    let mut spec = json!({
        "agentProfile": "worker",
        "repositories": [repository("app", "two-first", "ReadWrite")],
        "task": {"prompt": "Write this down."},
    });
    merge(&mut spec, &more);
    space.run(name, spec).await
}

#[tokio::test]
async fn a_run_of_four_fields_works_and_its_status_says_what_was_started() {
    let space = Space::open("agent-profiles").await;
    let image = pinned(&space).await;
    offer(&space, &profile(&image, WRITES)).await;

    let run = short(&space, "plain", json!({})).await;
    let ended = run.ends(Reason::Completed).await;
    assert_eq!(
        run.added("told.txt").await,
        ["Write this down.", "FROM=profile KEPT=yes", "allowed"]
    );
    let resolved = ended.status.unwrap().resolved.unwrap();
    let used = resolved.agent_profile.expect("the status says which profile");
    assert_eq!(
        (
            used.name.as_str(),
            used.policy_kind.as_str(),
            used.policy_name.as_str()
        ),
        ("worker", "SandboxPolicy", "default")
    );
    assert_eq!(resolved.image, image);

    // Its variables add to those of the profile, and its egress takes the place of what the profile asks for.
    let own = json!({"agent": {"env": [{"name": "FROM", "value": "run"}]}, "egress": {"mode": "DenyAll"}});
    let narrowed = short(&space, "narrowed", own).await;
    narrowed.ends(Reason::Completed).await;
    assert_eq!(
        narrowed.added("told.txt").await,
        ["Write this down.", "FROM=run KEPT=yes", "closed"]
    );
    space.close().await;
}

/// A namespace's profile against a cluster policy over it, with the same profile under a cluster policy that allows it as the control.
#[tokio::test]
async fn a_profile_gets_nothing_that_a_cluster_policy_denies() {
    let space = Space::open("profile-ceiling").await;
    let image = pinned(&space).await;
    let mut asking = profile(&image, WRITES);
    asking["egress"] = json!({"mode": "AllowList", "rules": [{"name": "out", "hosts": ["allowed.internet.test"], "ports": [80]}]});
    offer(&space, &asking).await;

    // The control: nothing of it is denied yet.
    let open = short(&space, "open", json!({})).await;
    open.ends(Reason::Completed).await;
    assert_eq!(open.added("told.txt").await.last().unwrap(), "allowed");

    let ceiling = format!("{}-above", space.name);
    let no_egress = json!({"egress": {"mode": "AllowList", "rules": [
        {"name": "other", "hosts": ["*.internet.test"], "addresses": ["203.0.113.30/32"], "ports": [443], "tls": "Tunnel"}]}});
    space.ceiling(&ceiling, no_egress).await;
    let closed = short(&space, "closed", json!({})).await;
    closed.ends(Reason::Completed).await;
    assert_eq!(
        closed.added("told.txt").await.last().unwrap(),
        "closed",
        "a profile opens no host"
    );

    // Wide enough that the namespace's own list is no mistake, and without the profile's image.
    let other_images = json!({"images": {"mode": "AllowList", "allowed": ["cofferdam.test/busybox", "cofferdam.test/mini-swe-agent"]}});
    let other_name = format!("{}-images", space.name);
    space.ceiling(&other_name, other_images).await;
    let said = short(&space, "image", json!({}))
        .await
        .ends_saying(Reason::ImageDenied)
        .await;
    assert!(
        said.contains("agentProfiles[worker].image of SandboxPolicy/default")
            && said.contains(&format!("ClusterSandboxPolicy/{other_name}")),
        "{said}"
    );

    // A name that means two things is refused, whoever offers the second.
    let mut second = asking.clone();
    second["args"] = json!(["true"]);
    let twice = format!("{}-twice", space.name);
    space.ceiling(&twice, json!({})).await;
    let offers = json!({"spec": {"agentProfiles": [second]}});
    Api::<ClusterSandboxPolicy>::all(space.client.clone())
        .patch(&twice, &PatchParams::default(), &Patch::Merge(offers))
        .await
        .expect("the ceiling is ours");
    let said = short(&space, "twice", json!({}))
        .await
        .ends_saying(Reason::PolicyDenied)
        .await;
    assert!(said.contains("offers another agent under this name"), "{said}");
    for name in [ceiling, other_name, twice] {
        forget_ceiling(&space.client, &name).await;
    }
    space.close().await;
}

/// The profile of the moment at which a run starts counts, as every policy of that moment does.
#[tokio::test]
async fn a_profile_that_changes_while_a_run_waits_is_the_one_that_is_started() {
    let space = Space::open("profile-changes").await;
    let image = pinned(&space).await;
    offer(&space, &profile(&image, "exit 3")).await;
    let held = short(&space, "held", json!({"suspend": true})).await;
    let gone = short(&space, "gone", json!({"suspend": true})).await;
    for run in [&held, &gone] {
        until("it is held", Duration::from_secs(30), || async {
            let status = run.get().await.status;
            let reason = status.as_ref().and_then(|status| status.reason.clone());
            if reason.as_deref() == Some("Suspended") {
                Ok(())
            } else {
                Err(status)
            }
        })
        .await;
    }
    let resume = |run: &Run| {
        let (api, name) = (space.api::<AgentRun>(), run.name.clone());
        async move {
            let go = json!({"spec": {"suspend": false}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(go))
                .await
                .expect("suspend can change");
        }
    };
    offer(&space, &profile(&image, WRITES)).await;
    resume(&held).await;
    held.ends(Reason::Completed).await;

    let mut none = profile(&image, WRITES);
    none["name"] = json!("another");
    offer(&space, &none).await;
    resume(&gone).await;
    let said = gone.ends_saying(Reason::PolicyDenied).await;
    assert!(
        said.contains("no policy in force offers an agent of this name") && said.contains("another"),
        "{said}"
    );
    space.close().await;
}
