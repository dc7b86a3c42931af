//! What an agent's image finds in a sandbox, and what becomes of one that cannot work there (docs/agent-image.md).

use std::time::Duration;

use cofferdam_api::{Reason, Snapshot};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::{ATTACKER, BUSYBOX, Run, Space, eventually, repository};

/// A run of one container command, in a work tree.
async fn command(space: &Space, name: &str, agent: Value) -> Run {
    let spec = json!({
        "task": {"prompt": "nothing"}, "agent": agent,
        "repositories": [repository("work", "two-first", "ReadWrite")],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "64Mi"}},
    });
    space.run(name, spec).await
}

/// Kubernetes puts in the values of variables before any shell sees the words, as in every container.
#[tokio::test]
async fn names_in_parentheses_are_what_kubernetes_makes_of_them() {
    let space = Space::open("image-names").await;
    let agent = json!({
        "image": BUSYBOX,
        "command": ["sh", "-c"],
        "args": ["echo $(HOME) $$(HOME) $(NONE) $(COFFERDAM_PROMPT_FILE) $(B) >words"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)/$$(A)"}],
    });
    let run = command(&space, "words", agent).await;
    run.ends(Reason::Completed).await;
    // A shell takes what is left of a `$(…)` for a command, and none is called so.
    assert_eq!(run.added("words").await, ["/home/agent /cofferdam/prompt 1/"]);
    space.close().await;
}

/// A file that is not there, or that uid 65532 may not execute, is the agent's failure and names the file.
#[tokio::test]
async fn an_entrypoint_that_cannot_be_executed_is_the_agents_failure() {
    let space = Space::open("image-entry").await;
    for (name, path) in [("absent", "/no/such/agent"), ("locked", "/usr/bin")] {
        let run = command(&space, name, json!({"image": ATTACKER, "command": [path]})).await;
        let status = run.ends(Reason::AgentFailed).await.status.unwrap();
        let message = status.message.unwrap();
        assert!(message.contains(path), "{message}");
    }
    space.close().await;
}

/// Who it is there, that names of hosts are answered at once, and that what means the pod itself goes past the proxy.
const FINDS: &str = "import getpass, http.server, os, socket, subprocess, threading, urllib.request
def said(call):
    try:
        return str(call())
    except Exception as error:
        return type(error).__name__
def asked(host):
    url = f'http://{host}:8080/'
    return urllib.request.urlopen(url, timeout=10).status
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('0.0.0.0', 8080), Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
lines = [
    f'uid {os.getuid()} home {os.environ[\"HOME\"]} writable {os.access(os.environ[\"HOME\"], os.W_OK)}',
    f'name {said(getpass.getuser)}',
    # Within the time that a person waits, not the resolver's 10 s and more.
    f'names {subprocess.run([\"timeout\", \"4\", \"getent\", \"hosts\", \"allowed.internet.test\"]).returncode}',
]
lines += [f'{host} {said(lambda: asked(host))}' for host in ['localhost', '127.0.0.1', '0.0.0.0']]
open('finds', 'w').write('\\n'.join(lines) + '\\n')
";

#[tokio::test]
async fn an_agent_finds_what_the_page_says() {
    let space = Space::open("image-finds").await;
    let run = space.script("finds", ATTACKER, "python3", FINDS, json!({})).await;
    run.ends(Reason::Completed).await;
    let found = run.added("finds").await;
    assert_eq!(
        found,
        [
            "uid 65532 home /home/agent writable True",
            // As its image's /etc/passwd says.
            "name agent",
            // Not found, and not 124, which is the end of the time.
            "names 2",
            "localhost 200",
            "127.0.0.1 200",
            "0.0.0.0 200",
        ]
    );
    space.close().await;
}

const WORK: &str = "echo changed >>README.md
mkdir many; i=0; while [ $i -lt 4000 ]; do echo $i >many/$i; i=$((i+1)); done
echo ready
trap '' TERM; while :; do sleep 1; done
";

/// A node that goes away gives its pods seconds. What can be kept in them is kept, and the end is not called a success.
#[tokio::test]
async fn the_notice_of_a_node_that_goes_is_enough_for_the_work() {
    let space = Space::open("image-notice").await;
    let run = space.script("noticed", BUSYBOX, "sh", WORK, json!({})).await;
    run.in_phase("Running").await;
    let pod = run
        .pod()
        .await
        .and_then(|pod| pod.metadata.name)
        .expect("its pod");
    eventually("the agent has done its work", Duration::from_mins(2), || async {
        run.log("agent").await.contains("ready")
    })
    .await;
    let notice = DeleteParams::default().grace_period(15);
    let deleted = space.api::<Pod>().delete(&pod, &notice).await;
    deleted.map(drop).expect("a pod may be deleted");
    let status = run.ends(Reason::WorkloadDeleted).await.status.unwrap();
    let patch = &status.outputs.expect("what was kept").patches[0];
    assert_eq!(patch.snapshot, Snapshot::Live);
    // Tracked changes come first, whatever the time sufficed for.
    assert!(patch.files >= 1, "{patch:?}");
    assert_eq!(run.added("README.md").await, ["changed"]);
    space.close().await;
}
