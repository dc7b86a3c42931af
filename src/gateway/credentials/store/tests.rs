use super::testing::*;
use super::*;
use http::HeaderMap;
use rstest::rstest;

const HOST: &str = "a.example.com";

fn host() -> Host {
    HOST.parse().unwrap()
}

/// The value that is sent, or why none is.
fn sent(store: &Credentials, now: Instant) -> Result<String, Fault> {
    let found = store.find(&credential("model", HOST), &host(), now)?;
    let Found::Sent(sent) = found else {
        panic!("it is no App")
    };
    let mut headers = HeaderMap::new();
    sent.add_to(&mut headers);
    Ok(headers["x-api-key"].to_str().unwrap().to_owned())
}

fn good() -> Credentials {
    store(
        &[credential("model", HOST)],
        vec![secret("of-model", &[("token", "value-one")])],
    )
}

#[test]
fn a_changed_secret_is_used_at_once_and_a_gone_one_no_more() {
    let (store, now) = (good(), Instant::now());
    assert_eq!(sent(&store, now).as_deref(), Ok("value-one"));
    store.put_secret(secret("of-model", &[("token", "value-two\n")]));
    assert_eq!(sent(&store, now).as_deref(), Ok("value-two"));
    store.remove_secret("of-model");
    assert_eq!(sent(&store, now), Err(Fault::NoSecret("of-model".to_owned())));
}

#[rstest]
#[case::no_secret(vec![secret("other", &[("token", "value-one")])], HealthReason::SecretMissing, "no Secret of-model")]
#[case::no_key(vec![secret("of-model", &[("password", "value-one")])], HealthReason::SecretKeyMissing, "no key token")]
#[case::empty(vec![secret("of-model", &[("token", "\n")])], HealthReason::SecretMalformed, "it is empty")]
#[case::two_lines(vec![secret("of-model", &[("token", "value-one\nvalue-two")])], HealthReason::SecretMalformed, "one word")]
fn what_is_wrong_with_a_secret_is_told_and_its_value_is_not(
    #[case] secrets: Vec<Values>,
    #[case] reason: HealthReason,
    #[case] words: &str,
) {
    let (store, now) = (store(&[credential("model", HOST)], secrets), Instant::now());
    let fault = sent(&store, now).unwrap_err();
    let health = store.health(now).unwrap();
    assert_eq!(health[0].reason, reason.into());
    for text in [fault.to_string(), health[0].message.clone()] {
        assert!(text.contains(words) && !text.contains("value-"), "{text}");
    }
}

#[test]
fn a_definition_that_changed_is_not_followed() {
    let now = Instant::now();
    let changed = |change: fn(&mut Credential)| {
        let store = good();
        let mut live = credential("model", HOST);
        change(&mut live);
        store.put_definition("model".to_owned(), Some(live));
        sent(&store, now).unwrap_err()
    };
    assert_eq!(
        changed(|live| live.secret.name = "another".to_owned()),
        Fault::Changed
    );
    assert_eq!(
        changed(|live| live.hosts = vec!["b.example.com".parse().unwrap()]),
        Fault::OtherHost
    );
    let store = good();
    store.put_definition("model".to_owned(), None);
    assert!(matches!(sent(&store, now), Err(Fault::Malformed(_))));
    store.remove_definition("model");
    assert_eq!(sent(&store, now), Err(Fault::Gone));
}

/// A frozen policy that names another host than its definition is not believed: whoever could write one could send any
/// credential anywhere.
#[test]
fn a_credential_goes_to_hosts_of_both_alone() {
    let (store, now) = (good(), Instant::now());
    let other: Host = "b.example.com".parse().unwrap();
    let mut frozen = credential("model", HOST);
    assert!(matches!(store.find(&frozen, &other, now), Err(Fault::OtherHost)));
    frozen.hosts.push(other.clone());
    assert!(matches!(store.find(&frozen, &other, now), Err(Fault::OtherHost)));
    assert!(store.find(&frozen, &host(), now).is_ok());
}

#[test]
fn values_outlive_their_watch_for_a_moment_only() {
    let now = Instant::now();
    assert_eq!(sent(&Credentials::default(), now), Err(Fault::NotSeen));
    assert!(Credentials::default().health(now).is_none());
    let store = good();
    store.set_secrets_open(false);
    let sooner = now + STALE_AFTER;
    let later = Instant::now() + STALE_AFTER + Duration::from_secs(1);
    assert_eq!(sent(&store, sooner).as_deref(), Ok("value-one"));
    assert_eq!(sent(&store, later), Err(Fault::NotSeen));
    store.set_secrets_open(true);
    assert_eq!(sent(&store, later).as_deref(), Ok("value-one"));
}
