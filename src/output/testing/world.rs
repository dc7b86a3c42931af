//! The world around the role.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use cofferdam_identity::Verifier;
use cofferdam_identity::testing::{FixedKeys, Issuer};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body as KubeBody;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::{Authority, Card};
use crate::access::Access;
use crate::archive::Archive;
use crate::front::Front;
use crate::front::trust::{Trust, parse};
use crate::locate::Runs;
use crate::serve::Output;
use cofferdam_service::client::{Call, Client as Http};
use cofferdam_wire::archive::{RUN_HEADER, STREAM_HEADER, output_path, records_path};

pub const NAMESPACE: &str = "cofferdam-system";
/// The run `team-a/fix`, whose object is there.
pub const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";
/// Uid of the namespace `team-a` that lives.
pub const NAMESPACE_UID: &str = "5d1e0f77-7777-4222-8333-444455556666";
/// A run of the same name, whose object is gone.
pub const OTHER_UID: &str = "0b7c9f3e-9999-4222-8333-444455556666";

/// A patch of so many bytes.
pub fn patch(length: usize) -> Vec<u8> {
    b"diff --git a/x b/x\n+\x1b[2J\xff\n"
        .iter()
        .copied()
        .cycle()
        .take(length)
        .collect()
}

pub struct World {
    pub front: Arc<Front>,
    pub authority: Authority,
    pub serving: Authority,
    pub tls: tempfile::TempDir,
    pub reviews: Arc<Mutex<Vec<Value>>>,
    /// Whether the object `team-a/fix` is over; absent: there is none.
    pub object: Arc<Mutex<Option<bool>>>,
    address: SocketAddr,
    archive: String,
    issuer: Issuer,
    stop: CancellationToken,
    archive_task: tokio::task::JoinHandle<std::io::Result<()>>,
    _data: tempfile::TempDir,
}

/// What the API server publishes.
pub fn published(authority: &Authority) -> BTreeMap<String, String> {
    let list = |words: &[&str]| json!(words).to_string();
    BTreeMap::from([
        (
            "requestheader-client-ca-file".to_owned(),
            authority.pem().to_owned(),
        ),
        ("requestheader-allowed-names".to_owned(), list(&["front-proxy"])),
        (
            "requestheader-username-headers".to_owned(),
            list(&["X-Remote-User"]),
        ),
        (
            "requestheader-group-headers".to_owned(),
            list(&["X-Remote-Group"]),
        ),
        ("requestheader-uid-headers".to_owned(), list(&["X-Remote-Uid"])),
        (
            "requestheader-extra-headers-prefix".to_owned(),
            list(&["X-Remote-Extra-"]),
        ),
    ])
}

pub fn trust(authority: &Authority) -> Trust {
    parse(&published(authority)).unwrap()
}

/// Lets anna read in team-a, the user `cached` in team-c, and everybody in group `readers` everywhere.
fn api_server(reviews: Arc<Mutex<Vec<Value>>>, object: Arc<Mutex<Option<bool>>>) -> Client {
    let service = tower::service_fn(move |request: Request<KubeBody>| {
        let (reviews, object) = (Arc::clone(&reviews), Arc::clone(&object));
        async move {
            let path = request.uri().path().to_owned();
            let sent = request.into_body().collect_bytes().await.unwrap();
            let (code, body) = if path.ends_with("subjectaccessreviews") {
                let review: Value = serde_json::from_slice(&sent).unwrap();
                let spec = review["spec"].clone();
                let namespace = &spec["resourceAttributes"]["namespace"];
                let in_team = (namespace == "team-a" && spec["user"] == "anna")
                    || (namespace == "team-c" && spec["user"] == "cached");
                let reader = spec["groups"]
                    .as_array()
                    .is_some_and(|groups| groups.contains(&json!("readers")));
                reviews.lock().push(spec);
                (
                    201,
                    json!({"metadata": {}, "spec": {}, "status": {"allowed": in_team || reader}}),
                )
            } else if path.ends_with("/namespaces/team-a/agentruns/fix") && object.lock().is_some() {
                let over = object.lock().unwrap_or_default();
                let status = if over { "True" } else { "False" };
                (
                    200,
                    json!({"metadata": {"uid": UID}, "status": {"conditions": [{"type": "Complete", "status": status}]}}),
                )
            } else if path == "/api/v1/namespaces/team-a" {
                (
                    200,
                    json!({"metadata": {"uid": NAMESPACE_UID, "creationTimestamp": "2020-01-01T00:00:00Z"}}),
                )
            } else {
                (
                    404,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "none"}),
                )
            };
            let body = KubeBody::from(body.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    Client::new(service, "default")
}

impl World {
    pub async fn start() -> Self {
        let (authority, serving) = (Authority::new("front-proxy-ca"), Authority::new("serving-ca"));
        let (tls, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        serving.server().write(tls.path());
        let issuer = Issuer::new("key-1");
        let token = issuer.pod_token(
            "cofferdam-archive",
            NAMESPACE,
            "output",
            ("output-1", "output-uid"),
        );
        let token_file = data.path().join("token");
        std::fs::write(&token_file, token).unwrap();
        let archive_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let archive = format!("http://{}", archive_listener.local_addr().unwrap());
        let verifier = Verifier::new(FixedKeys::of(&issuer));
        let directory = data.path().join("archive");
        std::fs::create_dir(&directory).unwrap();
        let archive_task = tokio::spawn(async move {
            cofferdam_archive::testing::serve(&directory, verifier, NAMESPACE, archive_listener).await
        });
        let (reviews, object) = (Arc::default(), Arc::new(Mutex::new(Some(true))));
        let client = api_server(Arc::clone(&reviews), Arc::clone(&object));
        let output = Output {
            access: Access::new(client.clone()),
            archive: Archive::new(archive.clone(), token_file),
            runs: Runs::new(client),
        };
        let front = Arc::new(Front::new(trust(&authority), tls.path().to_owned()));
        front.refresh().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(crate::front::listen::serve(
            listener,
            Arc::clone(&front),
            Arc::new(output),
            stop.clone(),
        ));
        Self {
            front,
            authority,
            serving,
            tls,
            reviews,
            object,
            address,
            archive,
            issuer,
            stop,
            archive_task,
            _data: data,
        }
    }

    /// Ends the archive.
    pub async fn without_archive(&mut self) {
        self.archive_task.abort();
        // It holds its port until then.
        let _ = (&mut self.archive_task).await;
    }

    async fn as_gateway(&self, method: Method, path: &str, name: &str, body: Vec<u8>) -> u16 {
        self.as_role("gateway", method, path, name, body).await
    }

    async fn as_role(&self, role: &str, method: Method, path: &str, name: &str, body: Vec<u8>) -> u16 {
        let token = self
            .issuer
            .pod_token("cofferdam-archive", NAMESPACE, role, ("pod-1", "pod-uid"));
        let call = Call::new(method, &format!("{}{path}", self.archive))
            .unwrap()
            .bearer(&token)
            .unwrap();
        let call = call
            .header(RUN_HEADER, name)
            .unwrap()
            .header(STREAM_HEADER, "0000000000000007-1")
            .unwrap();
        Http::new().send(call.body(body)).await.unwrap().status().as_u16()
    }

    /// Stores record `number` of a run.
    pub async fn record(&self, uid: &str, number: u64) {
        let line = json!({"sourceSeq": number, "time": "2026-11-26T10:00:00Z", "version": 3, "type": "StreamOpened"});
        let status = self
            .as_gateway(
                Method::POST,
                &records_path(uid),
                "",
                format!("{line}\n").into_bytes(),
            )
            .await;
        assert_eq!(status, 204);
    }

    /// Has the controller tell in which namespace a run was admitted.
    pub async fn admitted(&self, uid: &str, name: &str, namespace_uid: &str) {
        let data = json!({"run": name, "namespaceUid": namespace_uid});
        let line = json!({"sourceSeq": 1, "time": "2026-11-26T10:00:00Z", "version": 3, "type": "Admitted", "data": data});
        let line = format!("{line}\n").into_bytes();
        let path = records_path(uid);
        let status = self.as_role("controller", Method::POST, &path, "", line).await;
        assert_eq!(status, 204);
    }

    /// Stores an output.
    pub async fn output(&self, uid: &str, name: &str, patches: &[(&str, Vec<u8>)]) {
        let entries: Vec<Value> = patches
            .iter()
            .map(|(repository, bytes)| {
                json!({"repository": repository, "baseCommit": "c0ffee", "bytes": bytes.len(), "digest": cofferdam_api::names::digest(bytes),
                    "files": 1, "insertions": 1, "deletions": 0, "snapshot": "Final"})
            })
            .collect();
        let manifest = json!({"version": 1, "stopped": null, "refused": [], "patches": entries});
        let mut body = format!("{manifest}\n").into_bytes();
        for (_, bytes) in patches {
            body.extend_from_slice(bytes);
        }
        assert_eq!(
            self.as_gateway(Method::PUT, &output_path(uid), name, body).await,
            201
        );
    }

    /// A request on a connection that shows `card`; an error: there is no connection.
    pub async fn send(
        &self,
        card: Option<&Card>,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> std::io::Result<(u16, HeaderMap, Bytes)> {
        let mut roots = RootCertStore::empty();
        roots
            .add(rustls::pki_types::pem::PemObject::from_pem_slice(self.serving.pem().as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match card {
            Some(card) => builder.with_client_auth_cert(card.chain(), card.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(self.address).await?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = sender
            .send_request(request.body(Empty::<Bytes>::new()).unwrap())
            .await
            .map_err(std::io::Error::other)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok((head.status.as_u16(), head.headers, body))
    }

    /// A request of the API server on behalf of `user`.
    pub async fn get(&self, user: &str, path: &str) -> (u16, HeaderMap, Bytes) {
        let card = self.authority.client("front-proxy");
        let headers = [("x-remote-user", user), ("x-remote-group", "team")];
        self.send(Some(&card), Method::GET, path, &headers).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        self.archive_task.abort();
    }
}
