//! Parsers fed with anything: they never panic, and what they read they write in the one spelling that reads back.

use std::fmt::Display;
use std::str::FromStr;

use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::pattern::host::{Host, HostPattern};
use cofferdam_policy::pattern::image::{ImagePattern, ImageReference};
use cofferdam_policy::pattern::quantity::Amount;
use cofferdam_policy::pattern::repository::{RepositoryPattern, RepositoryUrl};
use cofferdam_policy::pattern::segments::SegmentPattern;
use proptest::prelude::*;
use serde_json::json;

use crate::fixtures::World;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Anything, and strings made of the characters that parsers look for.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-a-cA-C0-2./:@*%_~+?#\\\\ \u{0}\u{202e}é\\[\\]]{0,40}",
        "(https|HTTPS|http)://([a-c@:]{1,3}\\.)?[a-cA-C]{1,3}\\.[a-c0-9]{1,3}(:[0-9]{0,6})?(/[-a-c.*%]{0,4}){0,4}(\\.git)?/?",
        "(ghcr\\.io|localhost|[a-c]{1,3})(:[0-9]{1,6})?(/[-a-c_.*]{1,5}){0,3}(:[-a-zA-Z0-9.]{0,4})?(@sha256:[0-9a-f]{62,66})?",
        "[-+]?[0-9]{0,12}\\.?[0-9]{0,10}(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ei|e|E|e-?[0-9]{1,2})?",
    ]
}

/// What was read is written in a spelling that reads back as the same, and that stays.
fn one_spelling<T: FromStr<Err: Display> + Display + PartialEq + std::fmt::Debug>(
    text: &str,
) -> Result<(), TestCaseError> {
    match text.parse::<T>() {
        Ok(read) => {
            let written = read.to_string();
            prop_assert_eq!(
                written.parse::<T>().ok(),
                Some(read),
                "{} became {}",
                text,
                written
            );
        }
        Err(error) => prop_assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn names_and_patterns_have_one_spelling(text in text()) {
        one_spelling::<Host>(&text)?;
        one_spelling::<HostPattern>(&text)?;
        one_spelling::<RepositoryUrl>(&text)?;
        one_spelling::<RepositoryPattern>(&text)?;
        one_spelling::<ImageReference>(&text)?;
        one_spelling::<ImagePattern>(&text)?;
        let _ = SegmentPattern::parse(&text);
        let _ = FrozenPolicy::parse(&text);
    }

    #[test]
    fn a_host_is_plain_and_never_an_address(text in text()) {
        if let Ok(host) = Host::parse(&text) {
            prop_assert!(host.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.'));
            // What the URL standard's parser takes for an address must not be a host here.
            let url = url::Url::parse(&format!("https://{host}/")).unwrap();
            prop_assert!(matches!(url.host(), Some(url::Host::Domain(name)) if name == host.as_str()), "{host}");
        }
    }

    #[test]
    fn a_repository_means_the_same_to_the_url_standard(text in text()) {
        if let Ok(repository) = RepositoryUrl::parse(&text) {
            let url = url::Url::parse(repository.as_str()).unwrap();
            prop_assert_eq!(url.as_str(), repository.as_str());
            prop_assert_eq!(url.host_str(), Some(repository.host().as_str()));
            prop_assert_eq!(url.port_or_known_default(), Some(repository.port()));
        }
    }

    #[test]
    fn quantities_keep_their_order(a in text(), b in text()) {
        if let (Ok(a), Ok(b)) = (Amount::parse(&a), Amount::parse(&b)) {
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert!(Amount::parse(a.as_str()).unwrap() == a);
        }
    }

    #[test]
    fn no_manifest_makes_the_engine_panic(image in text(), url in text(), host in text(), amount in text(), seconds in any::<i32>(), port in any::<i32>()) {
        let world = World::admitting()
            .run("agent", json!({"image": image}))
            .run("repositories", json!([{"name": host, "url": url}]))
            .run("activeDeadlineSeconds", json!(seconds))
            .run("resources", json!({"limits": {"cpu": amount}}))
            .policy("images", json!({"mode": "AllowList", "allowed": [image]}))
            .policy("repositories", json!({"mode": "AllowList", "clone": [{"name": "a", "url": url, "addresses": [host]}]}))
            .policy("egress", json!({"mode": "AllowList", "rules": [{"name": "a", "hosts": [host], "ports": [port]}]}))
            .cluster("maxActiveDeadlineSeconds", json!(seconds));
        if let Err(refusal) = world.decide() {
            prop_assert!(refusal.message().len() <= 1000);
            prop_assert!(!refusal.message().contains(char::is_control));
        }
    }
}
