use super::*;
use crate::clone::bytes;
use crate::clone::{Transport, clone};
use crate::deadline::Deadline;
use crate::testing::sh;
use crate::work_tree;
use cofferdam_api::Access;
use cofferdam_api::CloneOptions;
use cofferdam_wire::control::{IsolationLost, OUTPUT, STATE};
use cofferdam_wire::output::OutputManifest;
use cofferdam_wire::runner::{Probe, ProbeProtocol, RepositorySpec, RunIdentity};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Control routes of a gateway, and what they got.
#[derive(Clone, Default)]
struct Gateway {
    state: Arc<Mutex<RunState>>,
    outputs: Arc<Mutex<Vec<Bytes>>>,
    lost: Arc<Mutex<Vec<IsolationLost>>>,
    /// Answers that uploads get, the last for ever.
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Gateway {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let gateway = gateway.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| gateway.answer(request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        address
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_eq!(request.headers()["authorization"], "Bearer collect");
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let (status, answer) = match path.as_str() {
            STATE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                (200, serde_json::to_string(&*self.state.lock().unwrap()).unwrap())
            }
            OUTPUT => {
                self.outputs.lock().unwrap().push(body);
                let mut answers = self.answers.lock().unwrap();
                let status = if answers.len() > 1 {
                    answers.remove(0)
                } else {
                    *answers.first().unwrap_or(&201)
                };
                (status, String::new())
            }
            _ => {
                self.lost
                    .lock()
                    .unwrap()
                    .push(serde_json::from_slice(&body).unwrap());
                (204, String::new())
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(answer)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok(response)
    }

    fn set(&self, change: impl FnOnce(&mut RunState)) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        change(&mut state);
    }
}

/// A pod's volumes after `prepare`: repository `app`, which the agent may write to.
fn prepared() -> (tempfile::TempDir, Paths) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    sh(
        root,
        "git init -q -b main remote; cd remote; echo one >a; git add a; git commit -qm base
         cd ..; mkdir -p workspace/tree cofferdam/git tmp var/run/cofferdam
         printf collect >var/run/cofferdam/collect; printf egress >var/run/cofferdam/egress",
    );
    let paths = Paths::new(root);
    let (pristine, deadline) = (paths.pristine("app"), Deadline::after(Duration::from_secs(30)));
    let transport = Transport {
        proxy: None,
        certificates: None,
        protocols: "file",
    };
    let cloned = clone(
        &format!("file://{}/remote", root.display()),
        None,
        &CloneOptions::default(),
        &pristine,
        &transport,
        &deadline,
    )
    .unwrap();
    work_tree::make(
        &work_tree::Place {
            pristine: &pristine,
            tree: &paths.work_tree("tree"),
            url: "https://git.test/app",
        },
        &cloned,
        &CloneOptions::default(),
        &bytes::Bytes::new(u64::MAX),
        &deadline,
    )
    .unwrap();
    (directory, paths)
}

fn spec(gateway: SocketAddr, probed: SocketAddr) -> SidecarSpec {
    SidecarSpec {
        version: VERSION,
        run: RunIdentity {
            namespace: "team".to_owned(),
            name: "fix".to_owned(),
            uid: "u-1".to_owned(),
        },
        gateway: gateway.to_string(),
        probes: vec![Probe {
            name: "canary".to_owned(),
            address: probed.to_string(),
            protocol: ProbeProtocol::Tcp,
        }],
        node_access_allowed: false,
        repositories: vec![RepositorySpec {
            name: "app".to_owned(),
            url: "https://git.test/app".to_owned(),
            reference: None,
            directory: "tree".to_owned(),
            access: Access::ReadWrite,
            clone: cofferdam_api::CloneOptions::default(),
            credential: None,
            exclude: cofferdam_wire::runner::Exclude::default(),
        }],
        active_deadline_seconds: 60,
        print_patches: false,
    }
}

async fn shut() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

async fn status(health: SocketAddr, path: &str) -> u16 {
    let call = cofferdam_service::client::Call::get(&format!("http://{health}{path}")).unwrap();
    cofferdam_service::client::Client::new()
        .send(call)
        .await
        .unwrap()
        .status()
        .as_u16()
}

struct Running {
    health: SocketAddr,
    forwarder: SocketAddr,
    terminated: CancellationToken,
    report: tokio::sync::oneshot::Receiver<SidecarReport>,
    done: tokio::task::JoinHandle<()>,
}

async fn start(spec: SidecarSpec, paths: &Paths) -> Running {
    let listeners = Listeners {
        forwarder: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        health: TcpListener::bind("127.0.0.1:0").await.unwrap(),
    };
    let health = listeners.health.local_addr().unwrap();
    let forwarder = listeners.forwarder.local_addr().unwrap();
    let (send, report) = tokio::sync::oneshot::channel();
    let (terminated, paths) = (CancellationToken::new(), paths.clone());
    let token = terminated.clone();
    let done = tokio::spawn(async move {
        run(&spec, None, &paths, listeners, token, |report| {
            send.send(report.clone()).unwrap();
        })
        .await
        .unwrap();
    });
    Running {
        health,
        forwarder,
        terminated,
        report,
        done,
    }
}

fn split(output: &Bytes) -> (OutputManifest, String) {
    let end = output.iter().position(|byte| *byte == b'\n').unwrap();
    let manifest = serde_json::from_slice(&output[..end]).unwrap();
    (manifest, String::from_utf8(output[end + 1..].to_vec()).unwrap())
}

#[tokio::test]
async fn when_the_agent_ends_its_work_is_handed_over_once() {
    let (_directory, paths) = prepared();
    let gateway = Gateway::default();
    let running = start(spec(gateway.start().await, shut().await), &paths).await;
    assert_eq!(status(running.health, "/ready").await, 200);
    assert_eq!(status(running.health, "/agent").await, 200);
    std::fs::write(paths.work_tree("tree").join("a"), "two\n").unwrap();
    gateway.set(|state| state.agent_ended = true);
    let report = running.report.await.unwrap();
    assert_eq!(
        report,
        SidecarReport {
            version: VERSION,
            failure: None,
            stopped: None
        }
    );
    let outputs = gateway.outputs.lock().unwrap().clone();
    let (manifest, patch) = split(&outputs[0]);
    assert_eq!(outputs.len(), 1);
    assert_eq!(
        (manifest.patches[0].insertions, manifest.patches[0].deletions),
        (1, 1)
    );
    assert_eq!(manifest.patches[0].snapshot, Snapshot::Final);
    assert_eq!(manifest.patches[0].bytes, patch.len() as u64);
    assert_eq!(
        manifest.patches[0].digest,
        cofferdam_api::names::digest(patch.as_bytes())
    );
    assert!(patch.ends_with("@@ -1 +1 @@\n-one\n+two\n"), "{patch}");
    running.done.await.unwrap();
}

#[tokio::test]
async fn a_stop_takes_the_work_first_and_then_lets_the_agent_be_ended() {
    let (_directory, paths) = prepared();
    let gateway = Gateway::default();
    gateway.answers.lock().unwrap().extend([503, 409]);
    let running = start(spec(gateway.start().await, shut().await), &paths).await;
    let tree = paths.work_tree("tree");
    // It comes last, after enough to keep the walker busy.
    std::fs::write(tree.join("new"), "x\n").unwrap();
    for number in 0..2_000 {
        std::fs::write(tree.join(format!("b{number}")), "filler\n").unwrap();
    }
    // Its exit has closed before that, an open connection and the port.
    let (health, forwarder) = (running.health, running.forwarder);
    let mut open = TcpStream::connect(forwarder).await.unwrap();
    // An agent that destroys its work as soon as it is to end.
    let agent = tokio::spawn(async move {
        while status(health, "/agent").await == 200 {}
        assert!(matches!(open.read(&mut [0]).await, Ok(0) | Err(_)));
        assert!(TcpStream::connect(forwarder).await.is_err());
        std::fs::remove_file(tree.join("new")).unwrap();
    });
    gateway.set(|state| state.stop = Some(Reason::Cancelled));
    let report = running.report.await.unwrap();
    agent.await.unwrap();
    assert_eq!((report.failure, report.stopped), (None, Some(Reason::Cancelled)));
    assert_eq!(status(running.health, "/agent").await, 503);
    assert!(
        !running.done.is_finished(),
        "it holds the probe's port while the agent may live"
    );
    gateway.set(|state| state.agent_ended = true);
    running.done.await.unwrap();
    let outputs = gateway.outputs.lock().unwrap().clone();
    assert_eq!(outputs.len(), 2, "a busy gateway is tried again");
    let (manifest, patch) = split(&outputs[1]);
    assert_eq!(manifest.stopped, Some(Reason::Cancelled));
    assert_eq!(manifest.patches[0].snapshot, Snapshot::Live);
    assert!(
        patch.contains("+++ b/new"),
        "the work was taken after the agent was told"
    );
}

#[tokio::test]
async fn a_hole_closes_the_exit_and_stops_the_agent() {
    let (_directory, paths) = prepared();
    let gateway = Gateway::default();
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let running = start(spec(gateway.start().await, open.local_addr().unwrap()), &paths).await;
    let report = running.report.await.unwrap();
    assert_eq!(report.stopped, Some(Reason::EgressNotEnforced));
    assert_eq!(status(running.health, "/agent").await, 503);
    assert_eq!(gateway.lost.lock().unwrap()[0].probe, "canary");
}

#[tokio::test]
async fn a_tree_that_cannot_be_collected_is_reported_in_the_upload() {
    let (_directory, paths) = prepared();
    let gateway = Gateway::default();
    let running = start(spec(gateway.start().await, shut().await), &paths).await;
    sh(&paths.work_tree("tree"), "mkdir .GIT; echo x >.GIT/config");
    running.terminated.cancel();
    assert_eq!(running.report.await.unwrap().failure, None);
    let (manifest, patch) = split(&gateway.outputs.lock().unwrap()[0]);
    assert_eq!((manifest.patches.len(), patch.len()), (0, 0));
    assert_eq!(manifest.refused[0].code, "DotGitAlias");
    running.done.await.unwrap();
}

#[tokio::test]
async fn an_upload_that_is_refused_is_a_failure() {
    let (_directory, paths) = prepared();
    let gateway = Gateway::default();
    gateway.answers.lock().unwrap().push(413);
    let running = start(spec(gateway.start().await, shut().await), &paths).await;
    gateway.set(|state| state.agent_ended = true);
    let failure = running.report.await.unwrap().failure.unwrap();
    assert_eq!(failure.reason, Reason::CollectFailed);
    assert!(failure.message.contains("413"), "{failure:?}");
}

#[tokio::test]
async fn git_applies_the_whole_log() {
    let (directory, paths) = prepared();
    std::fs::write(paths.work_tree("tree").join("a"), "two").unwrap();
    std::fs::write(paths.work_tree("tree").join("bytes"), b"\0\x01\xff").unwrap();
    let repositories = spec(shut().await, shut().await).repositories;
    let output = output::snapshot(
        &repositories,
        &paths,
        Snapshot::Final,
        None,
        &CancellationToken::new(),
    )
    .await
    .unwrap();
    let mut log = b"{\"level\":\"WARN\",\"message\":\"of the sidecar\"}\n".to_vec();
    output::print(&output, &mut log).unwrap();
    std::fs::write(directory.path().join("log"), log).unwrap();
    sh(
        directory.path(),
        "cd remote; git apply --index ../log; test \"$(cat a)\" = two; test \"$(wc -c <bytes)\" = 3",
    );
}
