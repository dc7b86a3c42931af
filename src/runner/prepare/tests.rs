use super::*;
use cofferdam_wire::control::{Refusal, WhoAmI};
use cofferdam_wire::runner::{MountedPrompt, Probe, ProbeProtocol, PromptSpec, RepositorySpec, RunIdentity};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

type Answer = Arc<dyn Fn(&str) -> (u16, String) + Send + Sync>;

/// Control routes of a gateway.
async fn gateway(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let authorized = ["authorization", "proxy-authorization"].iter().any(|name| {
                        request
                            .headers()
                            .get(*name)
                            .is_some_and(|value| value == "Bearer token")
                    });
                    let (status, body) = if authorized {
                        answer(request.uri().path())
                    } else {
                        (401, String::new())
                    };
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    async { Ok::<_, Infallible>(response) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

fn run_identity() -> RunIdentity {
    RunIdentity {
        namespace: "team".to_owned(),
        name: "fix".to_owned(),
        uid: "u-1".to_owned(),
    }
}

fn whoami(peer: &str) -> String {
    serde_json::to_string(&WhoAmI {
        run: run_identity(),
        pod_uid: "p-1".to_owned(),
        pod_address: "10.0.0.7".to_owned(),
        peer_address: peer.to_owned(),
    })
    .unwrap()
}

fn spec(gateway: SocketAddr, probed: SocketAddr) -> PrepareSpec {
    PrepareSpec {
        version: VERSION,
        run: run_identity(),
        gateway: gateway.to_string(),
        probes: vec![Probe {
            name: "canary".to_owned(),
            address: probed.to_string(),
            protocol: ProbeProtocol::Tcp,
        }],
        node_access_allowed: false,
        repositories: Vec::new(),
        submodule_grants: Vec::new(),
        max_clone_bytes: 1 << 30,
        start_deadline_seconds: 60,
        gvisor_required: false,
        prompt: PromptSpec::Text("do it".to_owned()),
    }
}

pub fn root() -> (tempfile::TempDir, Paths) {
    let directory = tempfile::tempdir().unwrap();
    for each in [
        "cofferdam/contract",
        "cofferdam/ca",
        "cofferdam/input",
        "var/run/cofferdam",
        "etc/ssl/certs",
        "home/agent",
    ] {
        std::fs::create_dir_all(directory.path().join(each)).unwrap();
    }
    let paths = Paths::new(directory.path());
    std::fs::write(paths.system_roots(), "roots\n").unwrap();
    std::fs::write(paths.token("prepare"), "token\n").unwrap();
    (directory, paths)
}

async fn shut() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn a_run_without_repositories_is_prepared_once_the_gateway_knows_it() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let gateway = gateway(Arc::new(move |path| match path {
        "/v1/whoami" if counted.fetch_add(1, Ordering::Relaxed) < 2 => (425, String::new()),
        "/v1/whoami" => (200, whoami("10.0.0.7")),
        "/v1/trust" => (200, "ours\n".to_owned()),
        _ => (404, String::new()),
    }))
    .await;
    let (_directory, paths) = root();
    let report = run(&spec(gateway, shut().await), None, &paths).await;
    assert_eq!(report.failure, None);
    assert_eq!(report.node_open, Some(false));
    assert_eq!(report.probes_made, 2);
    assert!(asked.load(Ordering::Relaxed) >= 7);
    assert_eq!(
        std::fs::read_to_string(paths.contract().join("prompt")).unwrap(),
        "do it"
    );
    assert_eq!(
        std::fs::read_to_string(paths.contract().join("ca.pem")).unwrap(),
        "roots\nours\n"
    );
}

#[tokio::test]
async fn under_a_kernel_that_is_not_gvisors_nothing_is_asked_where_policy_demands_it() {
    for (sentry, required, ends) in [
        (false, true, Some(Reason::RuntimeUnavailable)),
        (true, true, None),
        (false, false, None),
    ] {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let gateway = gateway(Arc::new(move |path| {
            counted.fetch_add(1, Ordering::Relaxed);
            match path {
                "/v1/whoami" => (200, whoami("10.0.0.7")),
                _ => (200, "ours\n".to_owned()),
            }
        }))
        .await;
        let (directory, paths) = root();
        let proc = directory.path().join("proc");
        std::fs::create_dir(&proc).unwrap();
        let version = if sentry {
            std::fs::write(proc.join("sentry-meminfo"), "").unwrap();
            "Linux version 4.19.0-gvisor #1 SMP Sun Jan 10 15:06:54 PST 2016\n"
        } else {
            "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) (gcc-12) #1 SMP\n"
        };
        std::fs::write(proc.join("version"), version).unwrap();
        let mut spec = spec(gateway, shut().await);
        spec.gvisor_required = required;
        let report = run(&spec, None, &paths).await;
        assert_eq!(report.failure.as_ref().map(|failure| failure.reason), ends);
        assert_eq!(asked.load(Ordering::Relaxed) == 0, ends.is_some());
        if let Some(failure) = report.failure {
            assert!(failure.message.contains("6.1.0-28-amd64"), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn a_prompt_that_somebody_changed_ends_the_run() {
    for (there, ends) in [
        ("do it", None),
        ("do something else", Some(Reason::PromptChanged)),
    ] {
        let gateway = gateway(Arc::new(|path| match path {
            "/v1/whoami" => (200, whoami("10.0.0.7")),
            _ => (200, "ours\n".to_owned()),
        }))
        .await;
        let (_directory, paths) = root();
        std::fs::write(paths.input_prompt(), there).unwrap();
        let mut spec = spec(gateway, shut().await);
        spec.prompt = PromptSpec::Mounted(MountedPrompt {
            config_map: "tasks".to_owned(),
            key: "prompt".to_owned(),
            digest: cofferdam_api::names::digest(b"do it"),
        });
        let report = run(&spec, None, &paths).await;
        assert_eq!(report.failure.as_ref().map(|failure| failure.reason), ends);
        let given = std::fs::read_to_string(paths.contract().join("prompt")).ok();
        assert_eq!(given.as_deref(), ends.is_none().then_some("do it"));
    }
}

#[tokio::test]
async fn another_address_or_a_refusal_ends_the_run_with_its_reason() {
    let refusal = serde_json::to_string(&Refusal {
        code: "PodMutated".to_owned(),
        message: "it changed".to_owned(),
    })
    .unwrap();
    for (status, body, reason) in [
        (200, whoami("10.10.0.1"), Reason::PeerAddressRewritten),
        (403, refusal, Reason::PodMutated),
        (403, "<html>".to_owned(), Reason::InternalError),
    ] {
        let gateway = gateway(Arc::new(move |_| (status, body.clone()))).await;
        let (_directory, paths) = root();
        let report = run(&spec(gateway, shut().await), None, &paths).await;
        assert_eq!(report.failure.unwrap().reason, reason);
        assert_eq!(report.proven_time, None);
    }
}

/// A gateway that knows the pod and refuses every tunnel.
async fn refusing_gateway() -> SocketAddr {
    gateway(Arc::new(|path| match path {
        "/v1/whoami" => (200, whoami("10.0.0.7")),
        "/v1/trust" => (200, String::new()),
        _ => (403, "no".to_owned()),
    }))
    .await
}

fn repository() -> RepositorySpec {
    RepositorySpec {
        name: "app".to_owned(),
        url: "https://git.test/app".to_owned(),
        reference: None,
        directory: "app".to_owned(),
        access: cofferdam_api::Access::ReadWrite,
        clone: cofferdam_api::CloneOptions::default(),
        credential: None,
        exclude: cofferdam_wire::runner::Exclude::default(),
    }
}

#[tokio::test]
async fn a_clone_that_the_gateway_refuses_says_so_and_which_repository() {
    let (_directory, paths) = root();
    let mut spec = spec(refusing_gateway().await, shut().await);
    spec.repositories.push(repository());
    let report = run(&spec, None, &paths).await;
    let failure = report.failure.unwrap();
    assert_eq!(failure.reason, Reason::CloneFailed);
    assert!(
        failure
            .message
            .starts_with("repository app: https://git.test/app: no connection to the server was opened (403) (git ls-remote: "),
        "{failure:?}"
    );
    assert!(report.proven_time.is_some(), "the proof does not depend on it");
}

#[tokio::test]
async fn an_open_fence_is_the_reason_also_where_a_clone_failed_first() {
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_directory, paths) = root();
    let mut spec = spec(refusing_gateway().await, open.local_addr().unwrap());
    spec.repositories.push(RepositorySpec {
        reference: Some("a..b".to_owned()),
        ..repository()
    });
    let mut report = empty_report();
    let budget = Duration::from_millis(300);
    let error = steps(&spec, None, &paths, budget, &mut report).await.unwrap_err();
    assert_eq!(error.reason(), Reason::EgressNotEnforced, "{error}");
    assert_eq!((report.proven_time, report.commits), (None, Vec::new()));
}

#[test]
fn the_end_of_the_time_to_start_is_kept_for_saying_what_came_of_the_clones() {
    for (seconds, left) in [(4, 2), (10, 5), (60, 6), (600, 30), (86_400, 30)] {
        let clones = Duration::from_secs(u64::from(seconds - left));
        assert_eq!(time_for_clones(seconds), clones);
    }
}
