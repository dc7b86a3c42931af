//! What must not be had: another namespace's output, and the word of anybody but the API server about who asks.

use std::path::Path;
use std::process::Command;

use cofferdam_api::Reason;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::json;

use super::user::Someone;
use crate::harness::{BUSYBOX, OPERATOR_NAMESPACE, Space, client};

const GROUP: &str = "/apis/output.cofferdam.dev/v1alpha1/namespaces";

async fn patched(space: &Space, name: &str) {
    let run = space
        .script(name, BUSYBOX, "sh", "echo secret > file", json!({}))
        .await;
    run.ends(Reason::Completed).await;
}

#[tokio::test]
async fn a_user_of_one_namespace_gets_nothing_of_another() {
    let (ours, theirs) = (
        Space::open("output-ours").await,
        Space::open("output-theirs").await,
    );
    let kim = Someone::with_edit(&ours, "output-kim").await;
    tokio::join!(patched(&ours, "mine"), patched(&theirs, "not-mine"));
    let runs = theirs.api::<cofferdam_api::AgentRun>();
    let uid = runs.get("not-mine").await.unwrap().metadata.uid.unwrap();
    let get = async |path: String| kim.kubectl(&["get", "--raw", &path]).await;

    let (code, said, told) = get(format!("{GROUP}/{}/agentruns/mine/patch", ours.name)).await;
    assert_eq!((code, said.contains("secret")), (0, true), "the control: {told}");
    for path in [
        format!("{GROUP}/{}/agentruns/not-mine/patch", theirs.name),
        format!("{GROUP}/{}/agentruns/not-mine/summary", theirs.name),
        format!("{GROUP}/{}/agentruns/not-mine/records", theirs.name),
        format!("{GROUP}/{}/agentruns/mine/patch?uid={uid}", ours.name),
        format!("{GROUP}/{}/agentruns/not-mine/patch?uid={uid}", ours.name),
        format!("{GROUP}/{}/agentruns/{uid}/patch", ours.name),
        format!(
            "{GROUP}/{}/agentruns/..%2F..%2F{}%2Fagentruns%2Fnot-mine/patch",
            ours.name, theirs.name
        ),
        format!(
            "{GROUP}/{}/agentruns/mine/../../../{}/agentruns/not-mine/patch",
            ours.name, theirs.name
        ),
        format!(
            "{GROUP}/{}%2F..%2F{}/agentruns/not-mine/patch",
            ours.name, theirs.name
        ),
    ] {
        let (code, said, told) = get(path.clone()).await;
        assert!(code != 0 && !said.contains("secret"), "{path}: {said}{told}");
    }
    let stranger = Someone::stranger(&ours, "output-stranger");
    let (code, _, told) = stranger.says(&["diff", "mine"], "", Path::new("/")).await;
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("forbidden"), "{told}");

    // Impersonation is the API server's: who may not impersonate does not become anybody here either.
    let (code, _, told) = kim
        .kubectl(&[
            "get",
            "--raw",
            &format!("{GROUP}/{}/agentruns/mine/patch", ours.name),
            "--as",
            "output-stranger",
        ])
        .await;
    assert!(code != 0, "{told}");
    ours.close().await;
    theirs.close().await;
}

/// A request from the node straight to the role, past the API server, with a certificate of the cluster's own authority.
fn straight(address: &str, path: &str, certificate: Option<&str>) -> (String, String) {
    let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
    let program = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("target/cluster");
    let mut command = Command::new(program);
    command.args([
        "exec",
        "--",
        "curl",
        "--silent",
        "--insecure",
        "--max-time",
        "10",
        "--write-out",
        "\n%{http_code}",
    ]);
    command.args([
        "-H",
        "X-Remote-User: kubernetes-admin",
        "-H",
        "X-Remote-Group: system:masters",
    ]);
    if let Some(name) = certificate {
        command.args([
            "--cert",
            &format!("{state}/pki/{name}.crt"),
            "--key",
            &format!("{state}/pki/{name}.key"),
        ]);
    }
    let output = command
        .arg(format!("https://{address}{path}"))
        .output()
        .expect("curl in the node");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').expect("a code");
    (code.to_owned(), body.to_owned())
}

#[tokio::test]
async fn nobody_but_the_front_proxy_says_who_asks() {
    let space = Space::open("output-forged").await;
    patched(&space, "mine").await;
    let services: Api<Service> = Api::namespaced(client().await, OPERATOR_NAMESPACE);
    let service = services.get("cofferdam-output").await.unwrap();
    let address = service.spec.unwrap().cluster_ip.unwrap();
    let path = format!("{GROUP}/{}/agentruns/mine/patch", space.name);
    // Certificates of the same authority: of a cluster admin, of a kubelet, of the API server itself; and none.
    for certificate in [
        Some("admin"),
        Some("kubelet"),
        Some("kube-apiserver-kubelet-client"),
        None,
    ] {
        let (code, body) = straight(&address, &path, certificate);
        assert_eq!(code, "401", "{certificate:?}: {body}");
        assert!(body.contains("\"reason\":\"Unauthorized\""), "{body}");
    }
    let (code, body) = straight(&address, &path, Some("front-proxy"));
    assert_eq!(
        (code.as_str(), body.contains("secret")),
        ("200", true),
        "the control: {body}"
    );
    space.close().await;
}
