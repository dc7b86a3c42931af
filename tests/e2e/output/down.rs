//! The archive is down. Ignored by default, for no run of the cluster ends well meanwhile; `make e2e` runs it alone, by name.

use std::path::Path;
use std::time::Duration;

use cofferdam_api::Reason;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::user::Someone;
use crate::harness::{BUSYBOX, OPERATOR_NAMESPACE, Space, eventually};

/// The archive is one, and so is the test that has it down.
pub static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Scales the archive, and waits until that is so.
pub async fn replicas(client: &Client, wanted: i32) {
    let api: Api<StatefulSet> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": wanted}}));
    api.patch("cofferdam-archive", &PatchParams::default(), &patch)
        .await
        .expect("the archive is scaled");
    eventually(
        "the archive is as many as it should be",
        Duration::from_mins(2),
        || async {
            let status = api.get("cofferdam-archive").await.unwrap().status.unwrap();
            status.replicas == wanted && status.ready_replicas.unwrap_or_default() == wanted
        },
    )
    .await;
}

/// The cluster without its archive, until this is dropped: what fails meanwhile must not leave it so.
pub struct Gone;

impl Drop for Gone {
    fn drop(&mut self) {
        let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
        let scaled = std::process::Command::new(Path::new(&state).join("bin/kubectl"))
            .args([
                "-n",
                OPERATOR_NAMESPACE,
                "scale",
                "statefulset/cofferdam-archive",
                "--replicas=1",
            ])
            .status();
        assert!(
            scaled.is_ok_and(|status| status.success()),
            "the archive is not given back"
        );
    }
}

#[tokio::test]
#[ignore = "takes the archive from the whole cluster and gives it back"]
async fn an_archive_that_is_down_costs_outputs_and_not_the_cluster() {
    let _alone = ALONE.lock().await;
    let space = Space::open("archive-down").await;
    let kim = Someone::with_edit(&space, "down-kim").await;
    let run = space
        .script("mine", BUSYBOX, "sh", "echo x > file", json!({}))
        .await;
    run.ends(Reason::Completed).await;
    let diff = async || kim.says(&["diff", "mine"], "", Path::new("/")).await;
    let (code, patch, told) = diff().await;
    assert_eq!(code, 0, "the control: {told}");

    let gone = Gone;
    replicas(&space.client, 0).await;
    let (code, said, told) = diff().await;
    assert_eq!((code, said.as_str()), (2, ""), "{told}");
    assert!(told.contains("the archive does not answer"), "{told}");
    for arguments in [&["api-resources"][..], &["get", "all"], &["get", "agentruns"]] {
        let (code, _, told) = kim.kubectl(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {told}");
        assert!(!told.contains("output.cofferdam.dev"), "{arguments:?}: {told}");
    }
    // A namespace is deleted as ever: this waits until it is gone.
    Space::open_with("archive-down-other", &json!({}))
        .await
        .close()
        .await;

    drop(gone);
    replicas(&space.client, 1).await;
    let (code, again, told) = diff().await;
    assert_eq!((code, again == patch), (0, true), "{told}");
    space.close().await;
}
