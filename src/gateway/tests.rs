//! The whole gateway on loopback: real tokens, real TLS, a real archive, and a view that is filled by hand.

use std::collections::HashSet;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::caller::SandboxPod;
use super::caller::pods::testing::{RUN_UID, live_pod, preparing};
use super::caller::view::Source;
use super::caller::view::ceilings::Labels;
use super::egress::dial::testing::FakeNet;
use super::egress::frozen::testing::{Fixed, map_of};
use super::egress::services::testing::{FakeServices, rules as service_rules};
use super::evidence::testing::Memory;
use super::inspect::authority::Authority;
use super::inspect::testing::{Ca, CaOptions, ca, files};
use super::tunnel::hello::testing::{hello, names, real_hello};
use super::*;
use cofferdam_api::names::{
    AUDIENCE_COLLECT, AUDIENCE_EGRESS, AUDIENCE_PREPARE, LABEL_POLICY_HASH, SANDBOX_SERVICE_ACCOUNT, digest,
};
use cofferdam_api::{Mode, TlsMode, Tunnels};
use cofferdam_identity::testing::{FixedKeys, Issuer};
use cofferdam_policy::dimension::egress::{EgressLayer, EgressRule};
use cofferdam_policy::dimension::git::GitHost;
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::refusal::LayerKind;
use cofferdam_wire::record::{CloseCause, Record, RecordEvent};
use cofferdam_wire::runner::RunIdentity;

mod absolute;
mod apps;
mod clients;
mod credentialed;
mod denials;
mod evidence;
mod inspected;
mod killed;
mod pooled;
mod requests;
mod rolling;
mod routes;
mod services;
mod smuggling;
mod starving;
mod tunnels;

const ALLOWED: &str = "allowed.internet.test";
/// Its requests are inspected.
const READ: &str = "read.internet.test";
const GIT: &str = "git.internet.test";
const POD: &str = "agr-fix-0b7c9f3e-x7k2p";

struct Fixture {
    rooms: Rooms,
    address: SocketAddr,
    issuer: Issuer,
    net: FakeNet,
    services: FakeServices,
    records: Memory,
    policy_hash: String,
    inspection: Ca,
    internet: Ca,
    ending: CancellationToken,
    credentials: Arc<Credentials>,
    _archive_data: tempfile::TempDir,
}

fn policy() -> FrozenPolicy {
    let layers = vec![Arc::new(EgressLayer {
        kind: LayerKind::SandboxPolicy,
        name: "default".to_owned(),
        mode: Mode::AllowList,
        rules: vec![
            EgressRule {
                name: "allowed".to_owned(),
                hosts: vec![ALLOWED.parse().unwrap()],
                addresses: vec!["203.0.113.0/24".parse().unwrap()],
                ports: vec![80, 443],
                tls: TlsMode::Tunnel,
                methods: Vec::new(),
                paths: Vec::new(),
                credential: None,
                service: None,
            },
            EgressRule {
                name: "read".to_owned(),
                hosts: vec![READ.parse().unwrap()],
                addresses: vec!["203.0.113.0/24".parse().unwrap()],
                ports: vec![80, 443],
                tls: TlsMode::Inspect,
                methods: vec!["GET".parse().unwrap(), "POST".parse().unwrap()],
                paths: vec![
                    "/@scope%2Fname".parse().unwrap(),
                    "/repos/org/**".parse().unwrap(),
                    "/x?service=up".parse().unwrap(),
                ],
                credential: None,
                service: None,
            },
        ],
    })];
    let git = vec![GitHost {
        host: GIT.parse().unwrap(),
        port: 443,
        addresses: vec!["203.0.113.0/24".parse().unwrap()],
        repositories: Vec::new(),
    }];
    FrozenPolicy::new(layers, Tunnels::Allow, None, git)
}

/// An archive on loopback that believes `issuer`; its URL and the gateway's token for it.
async fn archive(issuer: &Issuer, data: &std::path::Path) -> (String, PathBuf) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (directory, verifier) = (data.to_owned(), Verifier::new(FixedKeys::of(issuer)));
    tokio::spawn(async move {
        cofferdam_archive::testing::serve(&directory, verifier, "cofferdam-system", listener)
            .await
            .unwrap();
    });
    let token = issuer.pod_token(
        "cofferdam-archive",
        "cofferdam-system",
        "gateway",
        ("gateway-1", "gateway-uid"),
    );
    let file = data.join("token");
    std::fs::write(&file, token).unwrap();
    (url, file)
}

impl Fixture {
    async fn start() -> Self {
        Self::start_with(Capacity::of(20_000, 512 << 20)).await
    }

    async fn start_with(capacity: Capacity) -> Self {
        Self::start_under(&policy(), Credentials::default(), capacity).await
    }

    async fn start_under(policy: &FrozenPolicy, credentials: Credentials, capacity: Capacity) -> Self {
        let issuer = Issuer::new("key-1");
        let data = tempfile::tempdir().unwrap();
        let (archive_url, token_file) = archive(&issuer, data.path()).await;
        let (map, policy_hash) = map_of(&policy.to_json());
        let (net, records) = (FakeNet::default(), Memory::default());
        let services = FakeServices::default();
        let ranges = Ranges::new(
            vec!["10.244.0.0/16".parse().unwrap()],
            "cofferdam-system".to_owned(),
        );
        ranges.replace_nodes([]);
        ranges.replace_services(vec!["203.0.113.200/32".parse().unwrap()]);
        let (inspection, internet) = (ca(CaOptions::default()), ca(CaOptions::default()));
        let ending = CancellationToken::new();
        let signing = Inspection::new(Bytes::from_static(b"-----BEGIN CERTIFICATE-----\n")).unwrap();
        let authority = Authority::read(&files(&inspection, None), time::OffsetDateTime::now_utc());
        signing.put(authority.unwrap());
        let credentials = Arc::new(credentials);
        let rooms = wiring::connect(Parts {
            verifier: Verifier::new(FixedKeys::of(&issuer)),
            policies: FrozenPolicies::new(Fixed(vec![map], Arc::default())),
            ranges,
            services: (Box::new(services.clone()), service_rules()),
            dialer: Box::new(net.clone()),
            recorder: Recorder::new(ProcessId(7), records.clone()),
            archive: ArchiveClient::new(&archive_url, token_file),
            inspection: Arc::new(signing),
            tls: UpstreamTls::new(internet.pem.as_bytes()).unwrap(),
            credentials: Arc::clone(&credentials),
            ending: ending.clone(),
            capacity,
        });
        let listener = sockets::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (serving, until) = (Arc::clone(&rooms.services), ending.clone());
        tokio::spawn(async move { listener::serve(serving, listener, &until).await });
        let fixture = Self {
            rooms,
            address,
            issuer,
            net,
            services,
            records,
            policy_hash,
            inspection,
            internet,
            ending,
            credentials,
            _archive_data: data,
        };
        fixture.put(live_pod("pod-1", "127.0.0.1"));
        fixture.rooms.view.set_run(run(), true);
        fixture.rooms.view.replace_cluster_policies(Vec::new());
        fixture
            .rooms
            .view
            .replace_namespaces([("team-a".to_owned(), Labels::new())]);
        for source in Source::ALL {
            fixture.rooms.view.set_open(source, true);
        }
        fixture.rooms.view.confirm(Instant::now());
        fixture
    }

    /// Shows the gateway a pod whose policy is the fixture's.
    fn put(&self, mut pod: k8s_openapi::api::core::v1::Pod) {
        use kube::ResourceExt;
        pod.labels_mut()
            .insert(LABEL_POLICY_HASH.to_owned(), self.policy_hash.clone());
        self.rooms.view.put_pod(SandboxPod::project(&pod).unwrap());
    }

    fn token(&self, audience: &str) -> String {
        self.issuer
            .pod_token(audience, "team-a", SANDBOX_SERVICE_ACCOUNT, (POD, "pod-1"))
    }

    async fn open(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads to the end.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.open().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is an end too.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn connect_as(&self, audience: &str, authority: &str) -> String {
        let token = self.token(audience);
        let request = format!("CONNECT {authority} HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
        let mut stream = self.open().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_head(&mut stream).await
    }

    /// An open tunnel, before its first bytes.
    async fn tunnel(&self, authority: &str) -> TcpStream {
        let token = self.token(AUDIENCE_EGRESS);
        let request = format!("CONNECT {authority} HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
        let mut stream = self.open().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream
    }

    /// A server that the gateway reaches at this address; it gives each connection to `serve`.
    fn server<F>(&self, address: &str, serve: impl Fn(TcpStream) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = sockets::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        self.net.route(address, listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    }

    async fn events(&self) -> Vec<RecordEvent> {
        self.recorded()
            .await
            .into_iter()
            .map(|record| record.event)
            .collect()
    }

    async fn recorded(&self) -> Vec<Record> {
        // A record is written after the connection that it is about has ended for its client.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.rooms.recorder.flush(RUN_UID).await;
        self.records.records()
    }

    async fn denied_codes(&self) -> Vec<String> {
        let events = self.events().await.into_iter();
        events
            .filter_map(|event| match event {
                RecordEvent::Denied { code, .. } => Some(code.to_string()),
                _ => None,
            })
            .collect()
    }
}

fn run() -> RunIdentity {
    RunIdentity {
        namespace: "team-a".to_owned(),
        name: "fix".to_owned(),
        uid: RUN_UID.to_owned(),
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
