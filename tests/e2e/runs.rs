//! Runs that do what they were made for.

use cofferdam_api::{Access, Reason, Snapshot, names};
use serde_json::json;

use crate::harness::{BUSYBOX, Space, is_true, merge, repository};

#[tokio::test]
async fn a_change_in_the_work_tree_becomes_a_patch() {
    let space = Space::open("happy").await;
    let run = space
        .script(
            "improve-readme",
            BUSYBOX,
            "sh",
            "set -e\necho 'a line by the agent' >> README.md\n",
            json!({}),
        )
        .await;
    let ended = run.ends(Reason::Completed).await;
    let status = ended.status.clone().unwrap();

    assert_eq!(run.added("README.md").await, ["a line by the agent"]);
    for kind in ["Ready", "Complete", "Admitted", "Isolated"] {
        assert!(is_true(&ended, kind), "{kind} in {:#?}", status.conditions);
    }
    assert_eq!(status.exit_code, Some(0));
    assert_eq!(status.observed_generation, ended.metadata.generation);
    let isolation = status.isolation.expect("proof of the sandbox");
    assert_eq!(
        (isolation.runtime_class_name.as_str(), isolation.fence.as_str()),
        ("gvisor", names::FENCE)
    );
    let resolved = status.resolved.expect("what the asks came to");
    assert!(
        resolved
            .prompt_digest
            .is_some_and(|digest| digest.starts_with("sha256:"))
    );
    assert_eq!(resolved.repositories.len(), 1);
    assert_eq!(resolved.repositories[0].commit.len(), 40);
    let patch = &status.outputs.expect("outputs").patches[0];
    assert_eq!(
        (
            patch.repository.as_str(),
            patch.files,
            patch.insertions,
            patch.deletions
        ),
        ("work", 1, 1, 0)
    );
    assert_eq!(patch.snapshot, Snapshot::Final);
    // Exactly one event at the end sums the run up.
    assert_eq!(
        run.event_reasons()
            .await
            .iter()
            .filter(|reason| *reason == "Completed")
            .count(),
        1
    );
    space.close().await;
}

#[tokio::test]
async fn an_inline_prompt_arrives_as_a_file_and_in_the_contract_environment() {
    let space = Space::open("inline-prompt").await;
    let script = "cat \"$COFFERDAM_PROMPT_FILE\" > seen; echo \"$HTTPS_PROXY $HOME $PWD\" >> seen; \
                  test -s /etc/ssl/certs/ca-certificates.crt && echo bundle >> seen";
    let run = space
        .run(
            "inline",
            json!({
                "task": {"prompt": "make it so\n"},
                "agent": {"image": BUSYBOX, "command": ["sh", "-c", script]},
                "repositories": [repository("work", "two-first", "ReadWrite")],
            }),
        )
        .await;
    run.ends(Reason::Completed).await;
    assert_eq!(
        run.added("seen").await,
        [
            "make it so",
            "http://127.0.0.1:3128 /home/agent /workspace/work",
            "bundle"
        ]
    );
    space.close().await;
}

#[tokio::test]
async fn of_two_repositories_the_read_only_one_cannot_be_written() {
    let space = Space::open("two-repositories").await;
    let script = "cd /workspace\n\
        echo changed > work/README.md && echo 'work: written' > work/result\n\
        if echo changed > reference/README.md; then echo 'reference: written'; else echo 'reference: refused'; fi >> work/result\n\
        cat reference/README.md > /tmp/copy && echo 'reference: read' >> work/result\n";
    let more = json!({"repositories": [
        repository("work", "two-first", "ReadWrite"),
        repository("reference", "two-second", "ReadOnly"),
    ]});
    let run = space.script("two", BUSYBOX, "sh", script, more).await;
    let ended = run.ends(Reason::Completed).await;
    assert_eq!(
        run.added("result").await,
        ["work: written", "reference: refused", "reference: read"]
    );
    let status = ended.status.unwrap();
    assert_eq!(status.resolved.unwrap().repositories.len(), 2);
    let patches = status.outputs.unwrap().patches;
    assert_eq!(
        patches
            .iter()
            .map(|patch| patch.repository.as_str())
            .collect::<Vec<_>>(),
        ["work"]
    );
    assert_eq!(ended.spec.repositories[1].access, Access::ReadOnly);
    space.close().await;
}

#[tokio::test]
async fn no_change_is_an_empty_patch_and_a_success() {
    let space = Space::open("no-change").await;
    let run = space.script("idle", BUSYBOX, "sh", "exit 0\n", json!({})).await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let patch = &status.outputs.unwrap().patches[0];
    assert_eq!((patch.bytes, patch.files), (0, 0));
    space.close().await;
}

#[tokio::test]
async fn a_run_without_repositories_runs() {
    let space = Space::open("no-repository").await;
    let run = space
        .script(
            "bare",
            BUSYBOX,
            "sh",
            "echo kept > /workspace/file\n",
            json!({"repositories": null}),
        )
        .await;
    run.ends(Reason::Completed).await;
    space.close().await;
}

#[tokio::test]
async fn an_allowed_host_answers_through_the_gateway_and_a_denied_one_does_not() {
    let space = Space::open("egress").await;
    let script = "import urllib.request, urllib.error\n\
        def get(url):\n    \
            try:\n        return urllib.request.urlopen(url, timeout=20).status\n    \
            except Exception as error:\n        return type(error).__name__ + ' ' + str(error)\n\
        with open('result', 'w') as out:\n    \
            for url in ['https://allowed.internet.test/', 'http://allowed.internet.test/', 'https://denied.internet.test/']:\n        \
                print(url, get(url), file=out)\n";
    let run = space
        .script(
            "two-hosts",
            crate::harness::ATTACKER,
            "python3",
            script,
            json!({}),
        )
        .await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let result = run.added("result").await;
    assert_eq!(result[0], "https://allowed.internet.test/ 200");
    assert_eq!(result[1], "http://allowed.internet.test/ 200");
    assert!(result[2].contains("HostNotAllowed"), "{result:?}");
    let usage = status.usage.expect("counters");
    assert!(
        usage.allowed_requests >= 2 && usage.denied_requests >= 1,
        "{usage:?}"
    );
    assert_eq!(status.last_denied[0].code, "HostNotAllowed");
    assert_eq!(status.last_denied[0].host, "denied.internet.test:443");
    space.close().await;
}

#[tokio::test]
async fn while_suspended_nothing_is_created_and_then_it_runs() {
    let space = Space::open("suspended").await;
    let run = space
        .script(
            "later",
            BUSYBOX,
            "sh",
            "echo late > file\n",
            json!({"suspend": true}),
        )
        .await;
    run.in_phase("Suspended").await;
    assert!(run.jobs().await.is_empty());
    run.change(json!({"suspend": false}))
        .await
        .expect("suspend may change before the start");
    run.ends(Reason::Completed).await;
    space.close().await;
}

#[tokio::test]
async fn a_finished_run_is_deleted_when_its_time_to_live_ends() {
    let space = Space::open("time-to-live").await;
    let mut spec = json!({
        "task": {"prompt": "nothing"},
        "agent": {"image": BUSYBOX, "command": ["true"]},
    });
    merge(&mut spec, &json!({"ttlSecondsAfterFinished": 3}));
    let run = space.run("brief", spec).await;
    crate::harness::eventually("the run is gone", std::time::Duration::from_mins(2), || async {
        space
            .api::<cofferdam_api::AgentRun>()
            .get_opt(&run.name)
            .await
            .unwrap()
            .is_none()
    })
    .await;
    space.close().await;
}
