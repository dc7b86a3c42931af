//! A host whose requests are inspected: an agent gets out what the policies' methods and paths allow, in absolute form,
//! through a tunnel and inside TLS alike, and the host sees nothing else of it. Beside each denied request stands the
//! allowed one.

use cofferdam_api::Reason;
use jiff::Timestamp;
use serde_json::json;

use crate::harness::{ATTACKER, Internet, Space, default_limits, forget_ceiling};

const LAYER: &str = "e2e-requests";
const HOST: &str = "http://allowed.internet.test";
const TLS: &str = "https://allowed.internet.test";

#[tokio::test]
async fn an_agent_gets_out_the_requests_that_policies_allow_and_no_others() {
    let space = Space::open("requests").await;
    let rule = json!({
        "name": "reads", "hosts": ["allowed.internet.test"], "addresses": ["203.0.113.30/32"], "ports": [80, 443],
        "methods": ["GET"], "paths": ["/", "/echo"], "tls": "Inspect",
    });
    // The namespace's own rule is a tunnel; the stricter mode holds.
    space
        .ceiling(LAYER, json!({"egress": {"mode": "AllowList", "rules": [rule]}}))
        .await;
    // The host remembers requests of earlier times.
    let mark = format!("at-{}", Timestamp::now().as_microsecond());
    let tries = [
        format!("{HOST}/?{mark}"),
        format!("-p {HOST}/?{mark}"),
        format!("{HOST}/echo?{mark}"),
        format!("{HOST}/slow?seconds=1&{mark}"),
        format!("-p {HOST}/slow?seconds=1&{mark}"),
        format!("-d x {HOST}/echo?{mark}"),
        format!("--path-as-is {HOST}/echo/../slow?{mark}"),
        format!("{HOST}/%65cho?{mark}"),
        format!("-H Host:denied.internet.test {HOST}/?{mark}"),
        format!("{TLS}/?{mark}"),
        format!("--http2 {TLS}/echo?{mark}"),
        format!("{TLS}/slow?seconds=1&{mark}"),
        format!("-d x {TLS}/echo?{mark}"),
        format!("--path-as-is {TLS}/echo/../slow?{mark}"),
        format!("-H Host:denied.internet.test {TLS}/?{mark}"),
        format!("-H Upgrade:websocket {TLS}/?{mark}"),
    ];
    let lines: Vec<String> = tries
        .iter()
        .map(|one| {
            let one = quoted(one);
            format!("curl -s -o /dev/null -m 20 -w '%{{http_code}}\\n' {one} >> result\n")
        })
        .collect();
    let run = space
        .script("asks", ATTACKER, "bash", &lines.concat(), json!({}))
        .await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let expected = [
        "200", "200", "200", "403", "403", "403", "403", "403", "403", "200", "200", "400", "400", "400",
        "400", "426",
    ];
    assert_eq!(run.added("result").await, expected);

    let codes: Vec<&str> = status
        .last_denied
        .iter()
        .map(|denial| denial.code.as_str())
        .collect();
    for code in ["RequestNotAllowed", "RequestInvalid", "UpgradeRefused"] {
        assert!(codes.contains(&code), "{code} in {codes:?}");
    }
    let notes = run.event_notes("Denied").await;
    assert!(
        notes
            .iter()
            .any(|note| note.contains("no rule for this host allows") && note.contains(LAYER)),
        "the layer in: {notes:?}"
    );

    // The host saw those that were allowed, as they were sent.
    let requests = Internet::requests().into_iter();
    let mut seen: Vec<String> = requests
        .map(|seen| seen.path)
        .filter(|path| path.contains(mark.as_str()))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            format!("/?{mark}"),
            format!("/?{mark}"),
            format!("/?{mark}"),
            format!("/echo?{mark}"),
            format!("/echo?{mark}"),
        ]
    );

    forget_ceiling(&space.client, LAYER).await;
    space.close().await;
}

/// What clients make of the gateway's certificates, each by the sandbox's own files and variables, and of its denials.
const CLIENTS: &str = r#"
strict='import ssl, urllib.request as u
context = ssl.create_default_context()
context.verify_flags |= ssl.VERIFY_X509_STRICT
print(u.urlopen("https://allowed.internet.test/", context=context).status)'
{
  curl -s -o /dev/null -w 'curl %{http_code}\n' https://allowed.internet.test/
  sed '/END CERTIFICATE/q' /cofferdam/ca.pem > /tmp/other.pem
  curl -s -o /dev/null -w 'curl with another CA %{http_code}\n' --cacert /tmp/other.pem https://allowed.internet.test/
  echo "python $(python3 -c "$strict")"
  echo "git $(git ls-remote https://git.internet.test/two-first.git HEAD | cut -f 2)"
  echo "git denied $(git ls-remote https://git.internet.test/two-second.git 2>&1 | grep -o 'remote: cofferdam: RequestNotAllowed')"
  echo "curl reads $(curl -s https://allowed.internet.test/slow | head -c 29)"
  echo "one connection $(curl -s -o /dev/null -o /dev/null -w '%{num_connects}' https://allowed.internet.test/ https://allowed.internet.test/)"
} > result
"#;

#[tokio::test]
async fn clients_trust_the_gateway_and_show_its_denials() {
    let space = Space::open("inspected").await;
    let mut limits = default_limits();
    limits["egress"]["rules"] = json!([
        {"name": "allowed", "hosts": ["allowed.internet.test"], "addresses": ["203.0.113.30/32"], "methods": ["GET"],
         "paths": ["/"], "tls": "Inspect"},
        {"name": "git", "hosts": ["git.internet.test"], "addresses": ["203.0.113.10/32"], "paths": ["/two-first.git/**"],
         "tls": "Inspect"},
    ]);
    space.policy("default", limits).await;
    let run = space
        .script("clients", ATTACKER, "bash", CLIENTS, json!({}))
        .await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let codes: Vec<&str> = status
        .last_denied
        .iter()
        .map(|denial| denial.code.as_str())
        .collect();
    let expected = [
        "curl 200",
        "curl with another CA 000",
        "python 200",
        "git HEAD",
        "git denied remote: cofferdam: RequestNotAllowed",
        "curl reads cofferdam: RequestNotAllowed:",
        "one connection 10",
    ];
    assert_eq!(run.added("result").await, expected, "{codes:?}");
    for code in ["CaNotTrusted", "RequestNotAllowed"] {
        assert!(codes.contains(&code), "{code} in {codes:?}");
    }
    space.close().await;
}

/// The words of a command, the URL kept from the shell.
fn quoted(command: &str) -> String {
    match command.rsplit_once(' ') {
        Some((options, url)) => format!("{options} '{url}'"),
        None => format!("'{command}'"),
    }
}
