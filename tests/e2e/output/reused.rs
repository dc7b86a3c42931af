//! A namespace that is deleted and made again under its name is another tenant's.

use std::path::Path;
use std::time::Duration;

use cofferdam_api::{AgentRun, Reason};
use kube::api::DeleteParams;
use serde_json::json;

use super::user::Someone;
use crate::harness::{BUSYBOX, Space, until};

const GROUP: &str = "/apis/output.cofferdam.dev/v1alpha1/namespaces";
/// What a file of the former tenant has in it.
const SECRET: &str = "of-the-former-tenant";

async fn leaves(space: &Space, name: &str, text: &str) -> String {
    let script = format!("echo {text} > file");
    let run = space.script(name, BUSYBOX, "sh", &script, json!({})).await;
    run.ends(Reason::Completed).await.metadata.uid.unwrap()
}

/// Deletes the object of a run; what it left stays in the archive.
async fn forget(space: &Space, name: &str) {
    let runs = space.api::<AgentRun>();
    runs.delete(name, &DeleteParams::default()).await.unwrap();
    until("the object is gone", Duration::from_mins(1), || async {
        match runs.get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(run) => Err(run.metadata),
        }
    })
    .await;
}

/// Every way to ask for what a run of this name left.
fn spellings(space: &Space, uid: &str) -> Vec<String> {
    let of = |name: &str, rest: &str| format!("{GROUP}/{}/agentruns/{name}{rest}", space.name);
    let parts = ["summary", "patch", "records", "statement", "log"];
    let mut paths: Vec<String> = vec![format!("{GROUP}/{}/agentruns", space.name), of("job", "")];
    for part in parts {
        for query in ["", "?uid=", "?from=0", "?follow=true", "?repository=work"] {
            let uid = if query == "?uid=" { uid } else { "" };
            paths.push(of("job", &format!("/{part}{query}{uid}")));
        }
        paths.push(of(uid, &format!("/{part}")));
    }
    paths
}

#[tokio::test]
async fn who_makes_a_namespace_again_gets_nothing_of_the_tenant_before() {
    let former = Space::open("reused").await;
    let kim = Someone::with_edit(&former, "reused-kim").await;
    let uid = leaves(&former, "job", SECRET).await;
    forget(&former, "job").await;
    // The control: who still has the namespace reads what the run left, in every part.
    let path = |part: &str| format!("{GROUP}/{}/agentruns/job/{part}", former.name);
    for (part, text) in [
        ("patch", SECRET),
        ("records", "\"Sealed\""),
        ("statement", "payloadType"),
        ("summary", &uid),
    ] {
        let (code, said, told) = kim.kubectl(&["get", "--raw", &path(part)]).await;
        assert_eq!((code, said.contains(text)), (0, true), "{part}: {said}{told}");
    }
    let (code, said, told) = kim.says(&["diff", "job"], "", Path::new("/")).await;
    assert_eq!((code, said.contains(SECRET)), (0, true), "{told}");

    // Opening the space deletes the namespace and makes it again.
    let next = Space::open("reused").await;
    let eve = Someone::with_edit(&next, "reused-eve").await;
    let nothing = async |paths: Vec<String>| {
        for path in paths {
            let (_, said, told) = eve.kubectl(&["get", "--raw", &path]).await;
            let all = format!("{said}{told}");
            assert!(
                !all.contains(SECRET) && !all.contains("\"prev\"") && !all.contains("payloadType"),
                "{path}: {all}"
            );
            assert!(!said.contains(&uid), "{path}: {all}");
        }
    };
    nothing(spellings(&next, &uid)).await;
    for command in ["diff", "verify", "describe", "logs"] {
        let (code, said, told) = eve.says(&[command, "job"], "", Path::new("/")).await;
        assert!(code != 0, "{command}: {said}{told}");
    }
    let (code, said, told) = eve.says(&["list"], "", Path::new("/")).await;
    assert!(!format!("{said}{told}").contains("job"), "{code} {said}{told}");

    // Under the same name as the former tenant's run: with and without its object, it is hers that she reads.
    let own = leaves(&next, "job", "of-the-next-one").await;
    let by_uid = |paths: Vec<String>| paths.into_iter().filter(|path| path.contains(&uid)).collect();
    for gone in [false, true] {
        if gone {
            forget(&next, "job").await;
        }
        let (code, said, told) = eve.kubectl(&["get", "--raw", &path("patch")]).await;
        assert_eq!((code, said.contains("of-the-next-one")), (0, true), "{told}");
        let (code, said, told) = eve.kubectl(&["get", "--raw", &path("summary")]).await;
        assert_eq!((code, said.contains(&own)), (0, true), "{told}");
        nothing(by_uid(spellings(&next, &uid))).await;
    }
    next.close().await;
}
