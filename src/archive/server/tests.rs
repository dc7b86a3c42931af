use super::*;
use bytes::Bytes;
use cofferdam_identity::testing::{FixedKeys, Issuer};
use cofferdam_service::client::{Call, Client};
use cofferdam_wire::archive::{
    BATCH_LIMIT, Named, RUN_HEADER, STREAM_HEADER, UNSEALED_PATH, chain_path, named_path, output_path,
    patch_path, records_path, run_path, seal_path, statement_path,
};
use cofferdam_wire::chain::verify::{Expected, verify};
use cofferdam_wire::output::{OutputManifest, VERSION};
use cofferdam_wire::record::{RecordEvent, RunRecord};
use cofferdam_wire::seal::{SEAL_LIMIT, Seal};
use http::Method;
use rstest::rstest;

const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";
const NAMESPACE: &str = "cofferdam-system";

struct Fixture {
    base: String,
    issuer: Issuer,
    client: Client,
    _data: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let issuer = Issuer::new("key-1");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let store = Arc::new(Store::open(data.path()).unwrap());
        let verifier = Verifier::new(FixedKeys::of(&issuer));
        let archive = Archive::new(store, verifier, NAMESPACE.to_owned());
        tokio::spawn(serve(Arc::new(archive), listener, CancellationToken::new()));
        Self {
            base,
            issuer,
            client: Client::new(),
            _data: data,
        }
    }

    fn token(&self, audience: &str, namespace: &str, account: &str) -> String {
        self.issuer
            .pod_token(audience, namespace, account, ("some-pod", "some-uid"))
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: Vec<u8>) -> (u16, Bytes) {
        let call = Call::new(method, &format!("{}{path}", self.base)).unwrap();
        let call = call
            .bearer(token)
            .unwrap()
            .header(RUN_HEADER, "team-a/fix")
            .unwrap()
            .header(STREAM_HEADER, "0000000000000007-1")
            .unwrap()
            .body(body);
        let answer = self.client.send(call).await.unwrap();
        (answer.status().as_u16(), answer.into_body())
    }

    async fn as_role(&self, role: &str, method: Method, path: &str, body: Vec<u8>) -> (u16, Bytes) {
        self.call(
            method,
            path,
            &self.token("cofferdam-archive", NAMESPACE, role),
            body,
        )
        .await
    }
}

fn allowed() -> Vec<u8> {
    let event = RecordEvent::Allowed {
        host: "a.test:443".to_owned(),
        method: "CONNECT".to_owned(),
        path: None,
        address: "203.0.113.30:443".to_owned(),
        rules: Vec::new(),
        credential: None,
        by: "agent".to_owned(),
    };
    crate::log::testing::line(1, event)
}

fn empty_output() -> Vec<u8> {
    let manifest = OutputManifest {
        version: VERSION,
        patches: Vec::new(),
        stopped: None,
        refused: Vec::new(),
    };
    [serde_json::to_vec(&manifest).unwrap(), b"\n".to_vec()].concat()
}

#[tokio::test]
async fn a_run_from_its_first_record_to_its_receipt() {
    let fixture = Fixture::start().await;
    let (status, _) = fixture
        .as_role("gateway", Method::POST, &records_path(UID), allowed())
        .await;
    assert_eq!(status, 204);
    let (status, _) = fixture
        .as_role("gateway", Method::PUT, &output_path(UID), empty_output())
        .await;
    assert_eq!(status, 201);
    let (status, body) = fixture
        .as_role("gateway", Method::PUT, &output_path(UID), empty_output())
        .await;
    assert_eq!(
        (status, body.starts_with(b"{\"code\":\"OutputExists\"")),
        (409, true)
    );
    let (status, body) = fixture
        .as_role("controller", Method::GET, &run_path(UID), Vec::new())
        .await;
    let record: RunRecord = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, record.requests, record.receipt.is_some()),
        (200, 1, true)
    );
    let (status, _) = fixture
        .as_role("output", Method::GET, &patch_path(UID, "one"), Vec::new())
        .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_patch_comes_back_as_it_went_in() {
    let fixture = Fixture::start().await;
    let patch = vec![b'p'; 300_000];
    let manifest = format!(
        r#"{{"version":1,"stopped":null,"refused":[],"patches":[{{"repository":"one","baseCommit":"c","bytes":{},"digest":"{}","files":1,"insertions":1,"deletions":0,"snapshot":"Final"}}]}}"#,
        patch.len(),
        cofferdam_api::names::digest(&patch),
    );
    let body = [manifest.into_bytes(), b"\n".to_vec(), patch.clone()].concat();
    let (status, _) = fixture
        .as_role("gateway", Method::PUT, &output_path(UID), body)
        .await;
    assert_eq!(status, 201);
    let (status, body) = fixture
        .as_role("output", Method::GET, &patch_path(UID, "one"), Vec::new())
        .await;
    assert_eq!((status, body), (200, Bytes::from(patch)));
}

#[rstest]
#[case::reader_writes_its_own("cofferdam-archive", NAMESPACE, "controller", 204, 200)]
#[case::writer_reads("cofferdam-archive", NAMESPACE, "gateway", 204, 403)]
#[case::sandbox("cofferdam-archive", "team-a", "cofferdam-sandbox", 403, 403)]
#[case::a_tenants_account_of_the_name("cofferdam-archive", "team-a", "gateway", 403, 403)]
#[case::another_audience("cofferdam-egress", NAMESPACE, "gateway", 401, 401)]
#[case::the_archive_itself("cofferdam-archive", NAMESPACE, "archive", 403, 403)]
#[tokio::test]
async fn each_route_is_for_one_caller(
    #[case] audience: &str,
    #[case] namespace: &str,
    #[case] account: &str,
    #[case] write: u16,
    #[case] read: u16,
) {
    let fixture = Fixture::start().await;
    let token = fixture.token(audience, namespace, account);
    let (status, _) = fixture
        .call(Method::POST, &records_path(UID), &token, allowed())
        .await;
    assert_eq!(status, write);
    let (status, _) = fixture
        .call(Method::GET, &run_path(UID), &token, Vec::new())
        .await;
    assert_eq!(status, read);
    let (status, _) = fixture
        .call(Method::GET, &run_path(UID), "junk", Vec::new())
        .await;
    assert_eq!(status, 401);
}

#[rstest]
#[case(Method::GET, "/v1/runs/..%2f..%2fetc", 422)]
#[case(Method::GET, "/v1/runs/../../etc/passwd", 404)]
#[case(Method::GET, "/v1/runs/ffff/patches/..", 422)]
#[case(Method::GET, "/v1/runs/ffff/patches/..%2f..%2frecords.jsonl", 422)]
#[case(Method::GET, "/v1/runs/", 404)]
#[case(Method::GET, "/v1/runs/%ff", 422)]
#[case(Method::DELETE, "/v1/runs/ffff", 405)]
#[case(Method::POST, "/v1/runs/ffff/output", 405)]
#[case(Method::GET, "/", 404)]
#[case(Method::GET, "/v1/runs/ffff", 200)]
#[tokio::test]
async fn odd_paths(#[case] method: Method, #[case] path: &str, #[case] expected: u16) {
    let fixture = Fixture::start().await;
    let (status, _) = fixture.as_role("output", method, path, Vec::new()).await;
    assert_eq!(status, expected);
}

#[tokio::test]
async fn odd_bodies() {
    let fixture = Fixture::start().await;
    for (body, expected) in [
        (b"junk\n".to_vec(), 422),
        (Vec::new(), 422),
        (vec![b'x'; BATCH_LIMIT + 1], 400),
        (allowed(), 204),
    ] {
        let (status, _) = fixture
            .as_role("gateway", Method::POST, &records_path(UID), body)
            .await;
        assert_eq!(status, expected);
    }
    for (body, expected) in [
        (b"junk\n".to_vec(), 422),
        (Vec::new(), 422),
        (vec![b'x'; 100_000], 413),
    ] {
        let (status, _) = fixture
            .as_role("gateway", Method::PUT, &output_path(UID), body)
            .await;
        assert_eq!(status, expected);
    }
}

#[tokio::test]
async fn records_and_names_are_handed_to_the_output_role_alone() {
    let fixture = Fixture::start().await;
    fixture
        .as_role("gateway", Method::POST, &records_path(UID), allowed())
        .await;
    fixture
        .as_role("gateway", Method::PUT, &output_path(UID), empty_output())
        .await;
    let get = async |path: &str| fixture.as_role("output", Method::GET, path, Vec::new()).await;
    let (status, whole) = get(&chain_path(UID, 0)).await;
    assert_eq!(status, 200);
    let head = verify(UID, &whole, Expected::Nothing).unwrap().head;
    let (_, record) = get(&run_path(UID)).await;
    let chain = serde_json::from_slice::<RunRecord>(&record)
        .unwrap()
        .chain
        .unwrap();
    assert_eq!(
        (chain.head, chain.bytes, chain.fault),
        (Some(head), whole.len() as u64, None)
    );
    let (_, rest) = get(&chain_path(UID, 10)).await;
    assert_eq!(rest, whole.slice(10..));
    let (status, none) = get(&chain_path(UID, whole.len() as u64 + 5)).await;
    assert_eq!((status, none.len()), (200, 0));
    let (_, body) = get(&named_path("team-a", "fix")).await;
    let named: Named = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        named
            .runs
            .iter()
            .map(|run| run.run_uid.as_str())
            .collect::<Vec<_>>(),
        [UID]
    );
    for (namespace, name) in [
        ("team-a", "other"),
        ("team-b", "fix"),
        ("team-a%2Ffix", "x"),
        ("team-a", "fix%00"),
    ] {
        let (_, body) = get(&named_path(namespace, name)).await;
        assert_eq!(
            serde_json::from_slice::<Named>(&body).unwrap().runs,
            [],
            "{namespace}/{name}"
        );
    }
    for role in ["gateway", "controller", "archive", "default"] {
        for path in [
            chain_path(UID, 0),
            named_path("team-a", "fix"),
            patch_path(UID, "one"),
        ] {
            let (status, _) = fixture.as_role(role, Method::GET, &path, Vec::new()).await;
            assert_eq!(status, 403, "{role} {path}");
        }
    }
    let (status, _) = get("/v1/runs/../../records?from=0").await;
    assert_ne!(status, 200);
    let (status, _) = get(&format!("/v1/runs/{UID}/records?from=-1")).await;
    assert_eq!(status, 422);
}

/// Only the controller's word says in which namespace a run ran, with its record or with its seal.
#[rstest]
#[case::with_the_admission("controller", false, Some("n"))]
#[case::with_the_seal("controller", true, Some("n"))]
#[case::of_a_gateway("gateway", false, None)]
#[tokio::test]
async fn the_namespace_of_a_run_comes_from_the_controller(
    #[case] role: &str,
    #[case] with_seal: bool,
    #[case] told: Option<&str>,
) {
    let fixture = Fixture::start().await;
    let record =
        r#"{"sourceSeq":1,"time":"t","type":"Admitted","data":{"run":"team-a/fix","namespaceUid":"n"}}"#;
    let (path, body) = if with_seal {
        let entry = format!(r#"{{"class":"Observed","record":{record}}}"#);
        let request = format!(
            r#"{{"version":1,"cause":"RunEnded","incomplete":false,"stream":"a-1","records":[{entry}]}}"#
        );
        (seal_path(UID), request)
    } else {
        (records_path(UID), format!("{record}\n"))
    };
    let (_, _) = fixture
        .as_role("gateway", Method::PUT, &output_path(UID), empty_output())
        .await;
    let (status, _) = fixture
        .as_role(role, Method::POST, &path, body.into_bytes())
        .await;
    assert!(status < 300, "{status}");
    let path = named_path("team-a", "fix");
    let (_, body) = fixture.as_role("output", Method::GET, &path, Vec::new()).await;
    let named: Named = serde_json::from_slice(&body).unwrap();
    assert_eq!(named.runs[0].namespace_uid.as_deref(), told);
}

fn seal_request() -> Vec<u8> {
    let record = r#"{"sourceSeq":1,"time":"t","type":"Ended","data":{}}"#;
    format!(
        r#"{{"version":1,"cause":"RunEnded","incomplete":false,"stream":"a-1","records":[{{"class":"Observed","record":{record}}}]}}"#
    )
    .into_bytes()
}

#[tokio::test]
async fn a_run_is_sealed_and_takes_nothing_more() {
    let fixture = Fixture::start().await;
    let controller = async |method, path: &str, body| fixture.as_role("controller", method, path, body).await;
    let (status, body) = controller(Method::POST, &seal_path(UID), seal_request()).await;
    let seal: Seal = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, seal.head.seq, seal.signed), (200, 2, false));
    for (path, method, body) in [
        (records_path(UID), Method::POST, allowed()),
        (output_path(UID), Method::PUT, empty_output()),
    ] {
        let (status, body) = fixture.as_role("gateway", method, &path, body).await;
        assert_eq!(
            (status, body.starts_with(b"{\"code\":\"RunSealed\"")),
            (409, true)
        );
    }
    let (_, open) = controller(Method::GET, UNSEALED_PATH, Vec::new()).await;
    assert!(String::from_utf8_lossy(&open).contains(UID));
    let path = statement_path(UID);
    assert_eq!(controller(Method::GET, &path, Vec::new()).await.0, 404);
    assert_eq!(controller(Method::PUT, &path, b"{}".to_vec()).await.0, 204);
    for reader in ["controller", "output"] {
        let read = fixture.as_role(reader, Method::GET, &path, Vec::new()).await;
        assert_eq!(read, (200, Bytes::from("{}")), "{reader}");
    }
    assert_eq!(
        controller(Method::GET, UNSEALED_PATH, Vec::new()).await.1,
        Bytes::from("[]")
    );
    let (_, body) = controller(Method::POST, &seal_path(UID), seal_request()).await;
    let again: Seal = serde_json::from_slice(&body).unwrap();
    assert_eq!((again.head, again.signed), (seal.head, true));
}

#[rstest]
#[case::seal(Method::POST, seal_path(UID), "output")]
#[case::statement(Method::PUT, statement_path(UID), "output")]
#[case::unsealed(Method::GET, UNSEALED_PATH.to_owned(), "output")]
#[case::statement_read(Method::GET, statement_path(UID), "archive")]
#[tokio::test]
async fn only_the_controller_seals(#[case] method: Method, #[case] path: String, #[case] another: &str) {
    let fixture = Fixture::start().await;
    for account in ["gateway", "keys", another] {
        let (status, _) = fixture
            .as_role(account, method.clone(), &path, seal_request())
            .await;
        assert_eq!(status, 403, "{account}");
    }
}

#[rstest]
#[case::no_json(b"junk".to_vec(), 422)]
#[case::no_stream(String::from_utf8(seal_request()).unwrap().replace("a-1", "A/1").into_bytes(), 422)]
#[case::no_record(String::from_utf8(seal_request()).unwrap().replace("sourceSeq", "seq").into_bytes(), 422)]
#[case::too_long(vec![b' '; SEAL_LIMIT + 1], 400)]
#[tokio::test]
async fn odd_seals(#[case] body: Vec<u8>, #[case] expected: u16) {
    let fixture = Fixture::start().await;
    let (status, _) = fixture
        .as_role("controller", Method::POST, &seal_path(UID), body)
        .await;
    assert_eq!(status, expected);
}
