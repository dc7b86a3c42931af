//! Credentials that never enter the sandbox: the gateway adds them to what policy lists, and to nothing else; the agent, the
//! records and everything that is stored of the run are searched for their values.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason, names};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::harness::{
    ATTACKER, BUSYBOX, Credential, OPERATOR_NAMESPACE, Run, Space, default_limits, forget_secret, put_secret,
    state, until,
};

const HOST: &str = "allowed.internet.test";

/// A value that stands nowhere else.
fn value(name: &str) -> String {
    format!("e2e-{name}-{}", Timestamp::now().as_nanosecond())
}

/// Limits whose one host gets `credential` with POST and GET /whoami and GET /indiscreet, and nothing with GET /.
fn keyed(credential: &str) -> Value {
    let rule = |name: &str, paths: Value, methods: Value| {
        json!({"name": name, "hosts": [HOST], "addresses": ["203.0.113.30/32"], "ports": [80, 443], "paths": paths,
               "methods": methods})
    };
    let mut with = rule("keyed", json!(["/whoami", "/indiscreet"]), json!(["GET", "POST"]));
    with["credential"] = json!(credential);
    let mut limits = default_limits();
    limits["egress"] = json!({"mode": "AllowList", "rules": [
        with,
        rule("open", json!(["/", "/git/**"]), json!(["GET"])),
        {"name": "git", "hosts": ["git.internet.test"], "addresses": ["203.0.113.10/32"], "methods": ["GET"], "paths": ["/**"]},
    ]});
    limits
}

fn key_in_header() -> Value {
    json!({"hosts": [HOST], "inject": {"header": "x-api-key"}, "placeholder": {"env": "E2E_API_KEY", "prefix": "sk-e2e-"}})
}

/// All that the cluster and the archive hold of the test, as text.
async fn everything(space: &Space, run: &Run) -> String {
    let all = ListParams::default();
    let runs: Api<AgentRun> = space.api();
    let (jobs, pods, maps): (Api<Job>, Api<Pod>, Api<ConfigMap>) = (space.api(), space.api(), space.api());
    let events: Api<Event> = space.api();
    let frozen: Api<ConfigMap> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
    let mut text = vec![
        serde_json::to_string(&runs.list(&all).await.unwrap().items).unwrap(),
        serde_json::to_string(&jobs.list(&all).await.unwrap().items).unwrap(),
        serde_json::to_string(&pods.list(&all).await.unwrap().items).unwrap(),
        serde_json::to_string(&maps.list(&all).await.unwrap().items).unwrap(),
        serde_json::to_string(&events.list(&all).await.unwrap().items).unwrap(),
        serde_json::to_string(&frozen.list(&all).await.unwrap().items).unwrap(),
        run.patch().await,
    ];
    for container in ["prepare", "sidecar", "agent"] {
        text.push(run.log(container).await);
    }
    // The logs of every role.
    let roles: Api<Pod> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
    for role in roles.list(&all).await.unwrap().items {
        let name = role.metadata.name.unwrap();
        if let Ok(log) = roles.logs(&name, &kube::api::LogParams::default()).await {
            text.push(log);
        }
    }
    let uid = run.get().await.metadata.uid.unwrap();
    let chain = crate::evidence::chain(&uid).unwrap();
    text.push(std::fs::read_to_string(chain).unwrap());
    text.concat()
}

/// What an agent makes of a key that it does not have.
const USES: &str = r#"
{
  curl -s https://allowed.internet.test/whoami
  curl -s -X POST -H "X-Api-Key: $E2E_API_KEY" -H 'Authorization: Bearer own' -H 'Cookie: a=b' https://allowed.internet.test/whoami
  echo "cookie $(curl -s -D - -o /dev/null https://allowed.internet.test/whoami | grep -ci set-cookie)"
  echo "open $(curl -s -o /dev/null -w '%{http_code}' https://allowed.internet.test/)"
  echo "clear $(curl -s -o /dev/null -w '%{http_code}' http://allowed.internet.test/whoami)"
  echo "deleted $(curl -s -X DELETE -o /dev/null -w '%{http_code}' https://allowed.internet.test/whoami)"
  echo "indiscreet $(curl -s https://allowed.internet.test/indiscreet | grep -o CredentialEchoed)"
  echo "elsewhere $(curl -s -H "X-Api-Key: $E2E_API_KEY" https://git.internet.test/two-first.git/HEAD | grep -o PlaceholderLeaked)"
  [[ $E2E_API_KEY =~ ^sk-e2e-[a-z2-7]{52}$ ]] && echo shaped
} > result
env
"#;

#[tokio::test]
async fn a_credential_goes_out_with_listed_requests_and_is_seen_nowhere_else() {
    let space = Space::open_bare("credentials").await;
    let credential = Credential::apply(&space, "credentials", key_in_header()).await;
    let value = value("whoami");
    put_secret(&space.client, &credential.name, &value).await;
    credential.is_ready("Ready").await;
    space.policy("default", keyed(&credential.name)).await;
    let run = space.script("uses", ATTACKER, "bash", USES, json!({})).await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let known = format!("x-api-key {}", names::digest(value.as_bytes()));
    let expected = [
        known.as_str(),
        known.as_str(),
        "cookie 0",
        "open 200",
        "clear 403",
        "deleted 400",
        "indiscreet CredentialEchoed",
        "elsewhere PlaceholderLeaked",
        "shaped",
    ];
    assert_eq!(run.added("result").await, expected);
    let codes: Vec<&str> = status
        .last_denied
        .iter()
        .map(|denial| denial.code.as_str())
        .collect();
    for code in [
        "CredentialNeedsTls",
        "RequestNotAllowed",
        "CredentialEchoed",
        "PlaceholderLeaked",
    ] {
        assert!(codes.contains(&code), "{code} in {codes:?}");
    }
    let text = everything(&space, &run).await;
    assert!(
        !text.contains(&value),
        "the value is somewhere in what the run left"
    );
    // The controls: what the search looks through has the credential's name, and the placeholder.
    assert!(text.contains(&format!(r#""credential":"{}""#, credential.name)));
    assert!(text.contains("E2E_API_KEY=sk-e2e-"));
    credential.forget().await;
    space.close().await;
}

/// Asks again and again what the host knows; what it finds out goes to the result and, at once, to the log.
const FOLLOWS: &str = r#"
ask() { curl -s https://allowed.internet.test/whoami; }
tell() { echo "$1" | tee -a result; }
until asked=$(ask) && case $asked in x-api-key*) true ;; *) false ;; esac; do sleep 0.2; done
first=$asked
tell first
until asked=$(ask) && case $asked in x-api-key*) [ "$asked" != "$first" ] ;; *) false ;; esac; do sleep 0.2; done
tell changed
until ask | grep -q CredentialUnavailable; do sleep 0.2; done
tell gone
"#;

/// Waits until the agent has printed a line.
async fn says(run: &Run, line: &str) {
    until(
        &format!("{} says {line}", run.name),
        Duration::from_mins(1),
        || async {
            let log = run.log("agent").await;
            if log.lines().any(|said| said == line) {
                Ok(())
            } else {
                Err(log)
            }
        },
    )
    .await;
}

/// Waits until the run waits for this reason, and gives its message.
async fn waits_for(run: &Run, reason: &str) -> String {
    until(
        &format!("{} waits for {reason}", run.name),
        Duration::from_mins(1),
        || async {
            let status = run.get().await.status;
            match status {
                Some(status) if status.reason.as_deref() == Some(reason) => {
                    Ok(status.message.unwrap_or_default())
                }
                other => Err(other),
            }
        },
    )
    .await
}

#[tokio::test]
async fn a_secret_is_followed_while_a_run_lasts() {
    let space = Space::open_bare("rotated").await;
    let credential = Credential::apply(&space, "rotated", key_in_header()).await;
    space.policy("default", keyed(&credential.name)).await;

    // Without a value the run waits, and says what is missing.
    forget_secret(&space.client, &credential.name).await;
    let message = credential.is_ready("SecretMissing").await;
    assert!(
        message.contains(&credential.name) && message.contains("key token"),
        "{message}"
    );
    let run = space
        .script("follows", ATTACKER, "bash", FOLLOWS, json!({}))
        .await;
    let waiting = waits_for(&run, "CredentialUnavailable").await;
    assert!(waiting.contains(&credential.name), "{waiting}");

    put_secret(&space.client, &credential.name, &value("first")).await;
    run.in_phase("Running").await;
    says(&run, "first").await;
    put_secret(&space.client, &credential.name, &value("second")).await;
    says(&run, "changed").await;
    forget_secret(&space.client, &credential.name).await;
    run.ends(Reason::Completed).await;
    assert_eq!(run.added("result").await, ["first", "changed", "gone"]);
    credential.forget().await;
    space.close().await;
}

#[tokio::test]
async fn what_may_not_use_a_credential_does_not_start() {
    let space = Space::open_bare("uncredentialed").await;
    let elsewhere =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "e2e-nowhere"}}});
    let mut foreign = key_in_header();
    crate::harness::merge(&mut foreign, &elsewhere);
    let foreign = Credential::apply(&space, "foreign", foreign).await;
    let narrow = json!({"hosts": ["other.internet.test"], "inject": {"header": "x-api-key"}});
    let narrow = Credential::apply(&space, "narrow", narrow).await;
    let own = Credential::apply(&space, "own", key_in_header()).await;
    for (name, credential, more, words) in [
        (
            "of-others",
            foreign.name.as_str(),
            json!({}),
            "does not select the run's namespace",
        ),
        (
            "to-others",
            narrow.name.as_str(),
            json!({}),
            "is not among its hosts",
        ),
        (
            "its-own-key",
            own.name.as_str(),
            json!({"agent": {"env": [{"name": "E2E_API_KEY", "value": "x"}]}}),
            "sets this variable",
        ),
        (
            "a-real-key",
            own.name.as_str(),
            json!({"agent": {"env": [{"name": "TOKEN", "value": "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"}]}}),
            "looks like a key (GitHub)",
        ),
    ] {
        space.policy(name, keyed(credential)).await;
        let mut more = more;
        more["policyRef"] = json!({"name": name});
        let run = space.script(name, BUSYBOX, "sh", "true", more).await;
        let status = run.ends(Reason::PolicyDenied).await.status.unwrap();
        let message = status.message.unwrap();
        assert!(
            message.contains(words) && !message.contains("a1B2c3D4"),
            "{name}: {message}"
        );
    }
    space.policy("none", keyed("e2e-no-such-credential")).await;
    let run = space
        .script(
            "of-none",
            BUSYBOX,
            "sh",
            "true",
            json!({"policyRef": {"name": "none"}}),
        )
        .await;
    let status = run.ends(Reason::CredentialFailed).await.status.unwrap();
    assert!(
        status.message.unwrap().contains("there is no SandboxCredential"),
        "{:?}",
        status.reason
    );
    for credential in [foreign, narrow, own] {
        credential.forget().await;
    }
    space.close().await;
}

/// Limits under which one private repository is cloned and fetched with `credential`, or without.
fn private(credential: Option<&str>) -> Value {
    let mut clone = json!({"name": "private", "url": "https://git.internet.test/private/x-access-token/*",
        "addresses": ["203.0.113.10/32"]});
    let repository = "/private/x-access-token/two-first.git";
    let mut fetch = json!({"name": "fetch", "hosts": ["git.internet.test"], "addresses": ["203.0.113.10/32"],
        "methods": ["GET", "POST"],
        "paths": [format!("{repository}/info/refs?service=git-upload-pack"), format!("{repository}/git-upload-pack")]});
    if let Some(credential) = credential {
        clone["credential"] = json!(credential);
        fetch["credential"] = json!(credential);
    }
    let mut limits = default_limits();
    limits["repositories"] = json!({"mode": "AllowList", "clone": [clone]});
    limits["egress"] = json!({"mode": "AllowList", "rules": [fetch]});
    limits
}

/// What an agent makes of a repository that is not its own.
const FETCHES: &str = r#"
at=https://git.internet.test/private/x-access-token
{
  echo "listed $(git ls-remote $at/two-first.git HEAD | cut -f 2)"
  echo "fetched $(git fetch -q $at/two-first.git HEAD && git rev-parse -q --verify FETCH_HEAD > /dev/null && echo yes)"
  echo "another $(git ls-remote $at/two-second.git 2>&1 | grep -o 'remote: cofferdam: RequestNotAllowed' | head -n 1)"
  echo "pushed $(git push -q $at/two-first.git HEAD:refs/heads/x 2>&1 | grep -o 'remote: cofferdam: RequestNotAllowed' | head -n 1)"
  echo "kept $(grep -rl 'e2e-gi[t]-' /workspace /home/agent /cofferdam /tmp 2> /dev/null | wc -l)"
} > result
"#;

#[tokio::test]
async fn a_private_repository_is_cloned_and_fetched_and_not_pushed_to() {
    let space = Space::open_bare("private").await;
    let basic = json!({"hosts": ["git.internet.test"], "basic": {"username": "x-access-token"}});
    let credential = Credential::apply(&space, "private", basic).await;
    let value = value("git");
    put_secret(&space.client, &credential.name, &value).await;
    credential.is_ready("Ready").await;
    let own = json!({"repositories": [{"name": "work", "access": "ReadWrite",
        "url": "https://git.internet.test/private/x-access-token/two-first.git"}]});

    // The control: without it the server lets nobody in.
    space.policy("default", private(None)).await;
    let refused = space
        .script("without", ATTACKER, "bash", "true", own.clone())
        .await;
    let status = refused.ends(Reason::CloneRefused).await.status.unwrap();
    assert!(
        status.message.unwrap().contains("401"),
        "the server asks for a password"
    );

    space.policy("default", private(Some(&credential.name))).await;
    let run = space.script("with", ATTACKER, "bash", FETCHES, own.clone()).await;
    run.ends(Reason::Completed).await;
    let expected = [
        "listed HEAD",
        "fetched yes",
        "another remote: cofferdam: RequestNotAllowed",
        "pushed remote: cofferdam: RequestNotAllowed",
        "kept 0",
    ];
    assert_eq!(run.added("result").await, expected);
    let text = everything(&space, &run).await;
    assert!(
        !text.contains(&value),
        "the value is somewhere in what the run left"
    );
    assert!(text.contains(&format!(r#""credential":"{}""#, credential.name)));

    // A value that goes away before the clone ends the run with its reason.
    put_secret(
        &space.client,
        &credential.name,
        "two words, which no header takes",
    )
    .await;
    let message = credential.is_ready("SecretMalformed").await;
    assert!(!message.contains("two words"), "{message}");
    let mut hurried = own;
    hurried["startDeadlineSeconds"] = json!(5);
    let run = space.script("malformed", BUSYBOX, "sh", "true", hurried).await;
    let status = run.ends(Reason::CredentialFailed).await.status.unwrap();
    assert!(
        status.message.unwrap().contains("one word"),
        "it says what is wrong"
    );
    credential.forget().await;
    space.close().await;
}

/// A key that the host does not take: what two runs meet holds up the third, until there is another value.
#[tokio::test]
async fn a_key_that_the_host_does_not_take_holds_up_the_next_run() {
    let space = Space::open_bare("rejected").await;
    let basic = json!({"hosts": ["git.internet.test"], "basic": {"username": "x-access-token"}});
    let credential = Credential::apply(&space, "rejected", basic).await;
    put_secret(&space.client, &credential.name, &format!("no-{}", value("git"))).await;
    credential.is_ready("Ready").await;
    space.policy("default", private(Some(&credential.name))).await;
    let own = json!({"repositories": [{"name": "work", "access": "ReadWrite",
        "url": "https://git.internet.test/private/x-access-token/two-first.git"}]});
    for name in ["first", "second"] {
        let run = space.script(name, ATTACKER, "bash", "true", own.clone()).await;
        let message = run.ends_saying(Reason::CredentialFailed).await;
        let named = format!("does not take SandboxCredential {}", credential.name);
        assert!(
            message.contains(&named) && message.contains("answers 401"),
            "{message}"
        );
    }
    let message = credential.is_ready("Rejected").await;
    assert!(
        message.contains("answers 401") && message.contains(&space.name),
        "{message}"
    );
    let run = space.script("third", ATTACKER, "bash", "true", own.clone()).await;
    let waiting = waits_for(&run, "CredentialUnavailable").await;
    assert!(waiting.contains("answers 401"), "{waiting}");
    put_secret(&space.client, &credential.name, &value("git")).await;
    run.ends(Reason::Completed).await;
    credential.is_ready("Ready").await;
    credential.forget().await;
    space.close().await;
}

/// A token that the test's GitHub made, and what became of it.
#[derive(serde::Deserialize)]
struct Made {
    token: String,
    app: String,
    repositories: Vec<String>,
    revoked: bool,
}

const APP: i64 = 4711;

/// Every token of the App, as it is now.
fn made() -> Vec<Made> {
    let text = std::fs::read_to_string(state("github/tokens.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut all: Vec<Made> = Vec::new();
    for next in lines.filter(|made: &Made| made.app == APP.to_string()) {
        all.retain(|known| known.token != next.token);
        all.push(next);
    }
    all
}

/// Limits under which repositories of an installation are cloned and fetched with `credential`.
fn installed(credential: &str) -> Value {
    let fetch =
        json!({"name": "fetch", "preset": "git", "addresses": ["203.0.113.10/32"], "credential": credential});
    let clone = json!({"name": "installed", "url": "https://git.internet.test/installed/*",
        "addresses": ["203.0.113.10/32"], "credential": credential});
    let mut limits = default_limits();
    limits["repositories"] = json!({"mode": "AllowList", "clone": [clone]});
    limits["egress"] = json!({"mode": "AllowList", "rules": [fetch]});
    limits
}

/// What an agent makes of the repository that it was given, and whether it finds a token.
const INSTALLED: &str = r#"
{
  echo "listed $(git ls-remote "$AT" HEAD | cut -f 2)"
  echo "kept $( (env; grep -rh 'gh[s]_' /workspace /home/agent /cofferdam /tmp 2> /dev/null) | grep -c 'gh[s]_')"
} > result
"#;

#[tokio::test]
async fn an_app_gives_each_run_a_token_for_its_repositories_and_takes_it_back() {
    let space = Space::open_bare("app").await;
    let installation = json!({"id": 11, "repositories": ["installed/two-first", "installed/two-second"],
        "permissions": {"contents": "read"}});
    let app = json!({"publicKey": include_str!("../fixtures/github/app.pub.pem"),
        "installations": {"installed": installation}});
    std::fs::write(state(&format!("github/{APP}.json")), app.to_string()).unwrap();
    let spec = json!({"type": "GitHubApp", "hosts": ["git.internet.test"], "basic": {"username": "x-access-token"},
        "gitHubApp": {"appID": APP, "url": "https://git.internet.test", "addresses": ["203.0.113.10/32"]}});
    let credential = Credential::apply(&space, "app", spec).await;
    put_secret(&space.client, &credential.name, "no key at all").await;
    credential.is_ready("SecretMalformed").await;
    let key = include_str!("../fixtures/github/app.pem");
    put_secret(&space.client, &credential.name, key).await;
    credential.is_ready("Ready").await;
    space.policy("default", installed(&credential.name)).await;
    let with = |name: &str| {
        let url = format!("https://git.internet.test/installed/{name}.git");
        json!({"repositories": [{"name": "work", "access": "ReadWrite", "url": url}],
            "agent": {"env": [{"name": "AT", "value": url}]}})
    };
    let before = made().len();
    let first = space
        .script("first", ATTACKER, "bash", INSTALLED, with("two-first"))
        .await;
    let second = space
        .script("second", ATTACKER, "bash", INSTALLED, with("two-second"))
        .await;
    for run in [&first, &second] {
        run.ends(Reason::Completed).await;
        assert_eq!(run.added("result").await, ["listed HEAD", "kept 0"]);
    }
    let own = until("the tokens are revoked", Duration::from_mins(1), || async {
        let own = made().split_off(before);
        if own.len() >= 2 && own.iter().all(|made| made.revoked) {
            Ok(own)
        } else {
            Err(own.len())
        }
    })
    .await;
    let mut scopes: Vec<&[String]> = own.iter().map(|made| made.repositories.as_slice()).collect();
    scopes.sort();
    scopes.dedup();
    assert_eq!(scopes, [["installed/two-first"], ["installed/two-second"]]);
    for run in [&first, &second] {
        let text = everything(&space, run).await;
        for made in &own {
            assert!(
                !text.contains(&made.token),
                "a token is somewhere in what the run left"
            );
        }
        assert!(!text.contains(key.lines().nth(1).unwrap()));
        // The controls: what is searched tells of the token.
        assert!(
            text.contains(r#""type":"CredentialIssued""#) && text.contains(r#""type":"CredentialRevoked""#)
        );
    }

    // What the App is not installed for ends the run before it starts.
    let refused = space
        .script("outside", ATTACKER, "bash", "true", with("two-third"))
        .await;
    let message = refused.ends_saying(Reason::CredentialFailed).await;
    assert!(
        message.contains("installed/two-third.git") && message.contains("CredentialUnavailable"),
        "{message}"
    );
    let uid = refused.get().await.metadata.uid.unwrap();
    let records = std::fs::read_to_string(crate::evidence::chain(&uid).unwrap()).unwrap();
    assert!(
        records.contains("not installed at installed/two-third"),
        "{records}"
    );
    credential.forget().await;
    space.close().await;
}
