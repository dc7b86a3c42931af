//! Tokens of GitHub Apps: made for a run's repositories, used, kept, and revoked at its end.

use super::inspected::certificate;
use super::*;
use crate::credentials::app::jwt::testing::PKCS1;
use crate::credentials::app::tokens;
use crate::credentials::store::testing::{secret, store};
use cofferdam_api::{AppPermission, Tunnels};
use cofferdam_policy::dimension::credentials::{App, Credential, Injection, SecretKey};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex as Locked;
use rstest::rstest;
use serde_json::{Value, json};

const FORGE: &str = "forge.internet.test";
const API: &str = "api.internet.test";
const TOKEN: &str = "ghs_0123456789abcdef0123456789abcdef";

fn credential() -> Credential {
    Credential {
        name: "github".to_owned(),
        hosts: vec![FORGE.parse().unwrap()],
        secret: SecretKey {
            name: "of-github".to_owned(),
            key: "key.pem".to_owned(),
        },
        app: Some(App {
            id: 7,
            installation: None,
            forge: FORGE.parse().unwrap(),
            api_host: API.parse().unwrap(),
            port: 443,
            api_path: "/api/v3".to_owned(),
            addresses: vec!["203.0.113.0/24".parse().unwrap()],
            permissions: [("contents".to_owned(), AppPermission::Read)].into(),
            repositories: Vec::new(),
        }),
        inject: Injection::Basic {
            username: "x-access-token".to_owned(),
        },
        placeholder: None,
    }
}

fn of_run() -> Credential {
    let mut credential = credential();
    let app = credential.app.as_mut().unwrap();
    app.repositories = vec!["team/one".to_owned(), "team/two".to_owned()];
    credential
}

fn policy_of_app() -> FrozenPolicy {
    let rule = EgressRule {
        name: "fetch".to_owned(),
        hosts: vec![FORGE.parse().unwrap()],
        addresses: vec!["203.0.113.0/24".parse().unwrap()],
        ports: vec![443],
        tls: TlsMode::Inspect,
        methods: vec!["POST".parse().unwrap()],
        paths: vec!["/*/*/git-upload-pack".parse().unwrap()],
        credential: Some("github".to_owned()),
        service: None,
    };
    let layers = vec![Arc::new(EgressLayer {
        kind: LayerKind::SandboxPolicy,
        name: "default".to_owned(),
        mode: Mode::AllowList,
        rules: vec![rule],
    })];
    FrozenPolicy::new(layers, Tunnels::Deny, None, Vec::new()).with_credentials(vec![of_run()])
}

/// The status of what is never answered.
const NEVER: u16 = 0;

/// What GitHub's API answers, by the beginning of the request.
type Answers = Arc<Locked<Vec<(&'static str, u16, Value)>>>;
/// Every request, with its body.
type Asked = Arc<Locked<Vec<String>>>;

struct Forge {
    fixture: Fixture,
    answers: Answers,
    api: Asked,
    repositories: Asked,
}

fn granting(expires: Timestamp) -> Vec<(&'static str, u16, Value)> {
    let named = [json!({"full_name": "team/one"}), json!({"full_name": "team/two"})];
    vec![
        (
            "GET /api/v3/repos/team/one/installation",
            200,
            json!({"id": 11, "suspended_at": null}),
        ),
        (
            "POST /api/v3/app/installations/11/access_tokens",
            201,
            json!({"token": TOKEN, "expires_at": expires.to_string(), "repositories": named,
                   "permissions": {"contents": "read", "metadata": "read"}}),
        ),
        ("DELETE /api/v3/installation/token", 204, Value::Null),
    ]
}

fn in_an_hour() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(1)
}

impl Forge {
    async fn start(answers: Vec<(&'static str, u16, Value)>) -> Self {
        let values = vec![secret(
            "of-github",
            &[("key.pem", std::str::from_utf8(PKCS1).unwrap())],
        )];
        let credentials = store(&[credential()], values);
        let capacity = Capacity::of(20_000, 512 << 20);
        let fixture = Fixture::start_under(&policy_of_app(), credentials, capacity).await;
        let answers: Answers = Arc::new(Locked::new(answers));
        let (api, forge) = (Asked::default(), Asked::default());
        for (host, address, asked) in [(API, "203.0.113.80", &api), (FORGE, "203.0.113.81", &forge)] {
            fixture.net.name(host, &[address]);
            let config = certificate(&fixture.internet, host, (-1, 1));
            let (answers, asked) = (Arc::clone(&answers), Arc::clone(asked));
            fixture.tls_server(&format!("{address}:443"), config, move |stream| {
                answer(stream, Arc::clone(&answers), Arc::clone(&asked))
            });
        }
        Self {
            fixture,
            answers,
            api,
            repositories: forge,
        }
    }

    /// Fetches from a repository and gives the whole answer.
    async fn fetch(&self, repository: &str) -> String {
        let mut stream = self
            .fixture
            .inside_tls(FORGE, FORGE, &["http/1.1"])
            .await
            .unwrap();
        let request = format!(
            "POST /{repository}/git-upload-pack HTTP/1.1\r\nHost: {FORGE}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The first lines of what the API was asked.
    fn asked(&self) -> Vec<String> {
        let lines = self.api.lock().clone();
        lines
            .iter()
            .map(|request| {
                let line = request.lines().next().unwrap_or_default();
                line.trim_end_matches(" HTTP/1.1").to_owned()
            })
            .collect()
    }

    async fn revoke_all(&self) {
        tokens::revoke(&self.fixture.rooms.upstreams, |_| false).await;
    }
}

async fn answer(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    answers: Answers,
    asked: Asked,
) {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let whole = format!("{head}{}", String::from_utf8(body).unwrap());
    let found = {
        let answers = answers.lock();
        let known = answers.iter().find(|(begins, ..)| whole.starts_with(begins));
        known.map_or((200, Value::Null), |(_, status, body)| (*status, body.clone()))
    };
    asked.lock().push(whole);
    let (status, body) = found;
    if status == NEVER {
        return std::future::pending().await;
    }
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// The header with [`TOKEN`].
fn basic() -> String {
    use base64::Engine as _;
    let pair = format!("x-access-token:{TOKEN}");
    let word = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("authorization: Basic {word}\r\n")
}

#[tokio::test]
async fn a_token_is_made_once_for_the_runs_repositories_and_revoked_at_its_end() {
    let world = Forge::start(granting(in_an_hour())).await;
    for repository in ["team/one.git", "team/two", "team/one.git"] {
        let answer = world.fetch(repository).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.contains(TOKEN));
    }
    let issued = [
        "GET /api/v3/repos/team/one/installation",
        "POST /api/v3/app/installations/11/access_tokens",
    ];
    assert_eq!(world.asked(), issued, "three requests, one token");
    let body = world.api.lock()[1].split("\r\n\r\n").nth(1).unwrap().to_owned();
    let body: Value = serde_json::from_str(&body).unwrap();
    let scoped = json!({"repositories": ["one", "two"], "permissions": {"contents": "read"}});
    assert_eq!(body, scoped);
    for request in world.repositories.lock().iter() {
        assert!(request.contains(&basic()), "{request}");
    }
    assert!(world.fixture.rooms.upstreams.tokens.has(RUN_UID));
    world.revoke_all().await;
    assert_eq!(world.asked()[2..], ["DELETE /api/v3/installation/token"]);
    assert!(world.api.lock()[2].contains(&format!("authorization: Bearer {TOKEN}\r\n")));
    assert!(!world.fixture.rooms.upstreams.tokens.has(RUN_UID));
    let records = world.fixture.recorded().await;
    let of_token: Vec<&RecordEvent> = records
        .iter()
        .map(|record| &record.event)
        .filter(|event| {
            matches!(
                event,
                RecordEvent::CredentialIssued { .. } | RecordEvent::CredentialRevoked { .. }
            )
        })
        .collect();
    let repositories = vec!["team/one".to_owned(), "team/two".to_owned()];
    assert!(
        matches!(of_token.as_slice(), [
            RecordEvent::CredentialIssued { repositories: made, permissions, .. },
            RecordEvent::CredentialRevoked { repositories: ended, .. },
        ] if *made == repositories && *ended == repositories && *permissions == ["contents: read"]),
        "{of_token:?}"
    );
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains(TOKEN), "{text}");
}

#[tokio::test]
async fn a_token_about_to_end_is_renewed_and_the_one_before_is_revoked() {
    let soon = Timestamp::now() + SignedDuration::from_mins(4);
    let world = Forge::start(granting(soon)).await;
    world.fetch("team/one").await;
    *world.answers.lock() = granting(in_an_hour());
    world.fetch("team/one").await;
    let made = "POST /api/v3/app/installations/11/access_tokens";
    assert_eq!(world.asked()[3..], [made], "the request waits for no revocation");
    tokens::revoke(&world.fixture.rooms.upstreams, |_| true).await;
    assert_eq!(world.asked()[4..], ["DELETE /api/v3/installation/token"]);
    tokens::revoke(&world.fixture.rooms.upstreams, |_| true).await;
    assert_eq!(world.asked().len(), 5, "the one that is held stays");
    // What cannot be renewed goes on as long as it lasts.
    *world.answers.lock() = granting(soon);
    let other = Forge::start(granting(soon)).await;
    other.fetch("team/one").await;
    *other.answers.lock() = vec![("GET", 503, json!({})), ("POST /api", 503, json!({}))];
    let answer = other.fetch("team/one").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn no_request_waits_for_the_end_of_the_token_before() {
    let world = Forge::start(granting(Timestamp::now() + SignedDuration::from_mins(4))).await;
    world.fetch("team/one").await;
    let mut answers = granting(in_an_hour());
    answers.insert(0, ("DELETE", NEVER, Value::Null));
    *world.answers.lock() = answers;
    world.fetch("team/one").await;
    let upstreams = &world.fixture.rooms.upstreams;
    let answered = async {
        while !world.asked().iter().any(|line| line.starts_with("DELETE")) {
            tokio::task::yield_now().await;
        }
        world.fetch("team/one").await
    };
    tokio::select! {
        () = tokens::revoke(upstreams, |_| true) => panic!("the request waited for it"),
        answer = answered => assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}"),
    }
}

#[tokio::test]
async fn a_repository_that_the_run_does_not_name_gets_a_token_of_its_own() {
    let mut answers = granting(in_an_hour());
    answers.insert(
        0,
        ("GET /api/v3/repos/team/sub/installation", 200, json!({"id": 11})),
    );
    answers[2].2["repositories"] = json!([{"full_name": "team/sub"}]);
    let world = Forge::start(answers).await;
    let answer = world.fetch("team/sub.git").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(world.api.lock()[1].contains(r#""repositories":["sub"]"#));
}

#[rstest]
#[case::not_installed(("GET /api", 404, json!({"message": "Not Found"})), "is not installed at team/one")]
#[case::suspended(("GET /api", 200, json!({"id": 11, "suspended_at": "2026-11-25T10:00:00Z"})), "is suspended")]
#[case::suspended_later(("POST /api", 403, json!({"message": "This installation has been suspended"})), "is suspended")]
#[case::outside(("POST /api", 422, json!({"message": "There is at least one repository that does not exist or is not accessible to the parent installation."})), "does not cover all of team/one, team/two")]
#[case::permission(("POST /api", 422, json!({"message": "The permissions requested are not granted to this installation."})), "does not grant contents: read")]
#[case::bad_key(("GET /api", 401, json!({"message": "A JSON web token could not be decoded"})), "does not take the App's signature")]
#[case::limited(("POST /api", 429, json!({"message": "slow down"})), "takes no more requests of the App for 60 s")]
#[case::broken(("POST /api", 201, json!({"token": TOKEN})), "cannot be used")]
#[case::wider_permissions(("POST /api", 201, json!({"token": TOKEN, "expires_at": "2999-01-01T00:00:00Z",
    "repositories": [{"full_name": "team/one"}], "permissions": {"contents": "write"}})), "permissions that were not asked for")]
#[case::wider_repositories(("POST /api", 201, json!({"token": TOKEN, "expires_at": "2999-01-01T00:00:00Z",
    "repositories": [{"full_name": "team/other"}], "permissions": {"contents": "read"}})), "not for the repositories")]
#[case::all_repositories(("POST /api", 201, json!({"token": TOKEN, "expires_at": "2999-01-01T00:00:00Z",
    "permissions": {"contents": "read"}})), "not for the repositories")]
#[case::without_an_end(("POST /api", 201, json!({"token": TOKEN, "expires_at": "soon",
    "repositories": [{"full_name": "team/one"}], "permissions": {"contents": "read"}})), "its token has no end")]
#[tokio::test]
async fn each_reason_why_there_is_no_token_is_told_and_nothing_goes_out(
    #[case] first: (&'static str, u16, Value),
    #[case] words: &str,
) {
    let mut answers = granting(in_an_hour());
    let is_too_wide = first.1 == 201 && first.2.get("expires_at").is_some();
    answers.insert(0, first);
    let world = Forge::start(answers).await;
    let answer = world.fetch("team/one").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 CredentialUnavailable"),
        "{answer}"
    );
    assert!(answer.contains(words) && !answer.contains(TOKEN), "{answer}");
    assert!(world.repositories.lock().is_empty());
    let revoked = world.asked().iter().any(|line| line.starts_with("DELETE"));
    assert_eq!(revoked, is_too_wide, "a token that may do more is ended at once");
    // A run cannot turn its requests into requests to GitHub.
    let before = world.asked().len();
    world.fetch("team/one").await;
    assert_eq!(world.asked().len(), before);
    let health = world.fixture.credentials.health(Instant::now()).unwrap();
    let expected = if words.contains("signature") {
        "Rejected"
    } else {
        "Ready"
    };
    assert_eq!(health[0].reason.to_string(), expected, "{:?}", health[0]);
}

#[tokio::test]
async fn what_cannot_be_revoked_is_said() {
    let mut answers = granting(in_an_hour());
    answers.insert(0, ("DELETE", 500, json!({})));
    let world = Forge::start(answers).await;
    world.fetch("team/one").await;
    world.revoke_all().await;
    let events = world.fixture.events().await;
    let said = events.iter().any(|event| {
        matches!(event, RecordEvent::RevocationUnknown { message, expires, .. }
            if message.contains("500") && !expires.is_empty())
    });
    assert!(said, "{events:?}");
}

#[tokio::test]
async fn a_revocation_that_is_given_up_is_taken_up_again() {
    let mut answers = granting(in_an_hour());
    answers.insert(0, ("DELETE", NEVER, Value::Null));
    let world = Forge::start(answers).await;
    world.fetch("team/one").await;
    let upstreams = &world.fixture.rooms.upstreams;
    let deletes = |world: &Forge| {
        world
            .asked()
            .iter()
            .filter(|line| line.starts_with("DELETE"))
            .count()
    };
    tokio::select! {
        () = world.revoke_all() => panic!("it was not answered"),
        () = async { while deletes(&world) == 0 { tokio::task::yield_now().await } } => {}
    }
    assert!(upstreams.tokens.has(RUN_UID), "it is not lost");
    tokens::give_up(upstreams);
    world.answers.lock().remove(0);
    world.revoke_all().await;
    assert!(!upstreams.tokens.has(RUN_UID));
    assert_eq!(deletes(&world), 2);
    let events = world.fixture.events().await;
    let unknown = |event: &&RecordEvent| matches!(event, RecordEvent::RevocationUnknown { message, .. } if message.contains("the gateway ended"));
    assert_eq!(events.iter().filter(unknown).count(), 1, "{events:?}");
    let revoked = |event: &&RecordEvent| matches!(event, RecordEvent::CredentialRevoked { .. });
    assert_eq!(events.iter().filter(revoked).count(), 1, "{events:?}");
}
