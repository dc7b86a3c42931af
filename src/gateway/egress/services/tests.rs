use super::testing::{FakeServices, rules, spec};
use super::*;
use crate::caller::view::ceilings::Labels;
use rstest::rstest;
use serde_json::{Value, json};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn services() -> (Services, FakeServices) {
    let view: Arc<View> = Arc::default();
    let open = (LABEL_SERVICES, SERVICES_REACHABLE);
    view.replace_namespaces([
        ("models".to_owned(), labels(&[open])),
        ("default".to_owned(), labels(&[open])),
        ("cofferdam-system".to_owned(), labels(&[open])),
        ("cofferdam-credentials".to_owned(), labels(&[open])),
        (
            "team-a".to_owned(),
            labels(&[open, (LABEL_SANDBOX, SANDBOX_ENABLED)]),
        ),
        ("silent".to_owned(), labels(&[])),
        ("denied".to_owned(), labels(&[(LABEL_SERVICES, "no")])),
    ]);
    let source = FakeServices::default();
    for namespace in [
        "models",
        "default",
        "cofferdam-system",
        "cofferdam-credentials",
        "team-a",
        "silent",
        "denied",
        "unseen",
    ] {
        source.put(&format!("{namespace}/litellm"), &spec("10.96.7.7", 4000));
    }
    source.put("default/kubernetes", &spec("10.96.0.1", 4000));
    (Services::new(Box::new(source.clone()), rules(), view), source)
}

fn named(name: &str) -> ServiceName {
    let (namespace, name) = name.split_once('/').unwrap();
    let host = Host::parse(&format!("{name}.{namespace}.svc")).unwrap();
    ServiceName::of(&host).unwrap()
}

async fn asked(services: &Services, name: &str, port: u16) -> String {
    match services.addresses(&named(name), port).await {
        Ok(addresses) => format!("{addresses:?}"),
        Err(denial) => format!("{}: {}", denial.code, denial.message),
    }
}

#[rstest]
#[case::granted("models/litellm", 4000, "[10.96.7.7]")]
#[case::another_port("models/litellm", 4001, "it has no TCP port 4001")]
#[case::missing("models/other", 4000, "there is none of this name")]
#[case::the_api_server("default/kubernetes", 4000, "it is the API server's")]
#[case::beside_the_api_server("default/litellm", 4000, "[10.96.7.7]")]
#[case::the_operators("cofferdam-system/litellm", 4000, "one of Cofferdam's own")]
#[case::the_credentials("cofferdam-credentials/litellm", 4000, "one of Cofferdam's own")]
#[case::of_sandboxes("team-a/litellm", 4000, "sandboxes run in its namespace")]
#[case::not_labelled("silent/litellm", 4000, "does not carry the label")]
#[case::labelled_otherwise("denied/litellm", 4000, "does not carry the label")]
#[case::of_a_namespace_that_nobody_sees("unseen/litellm", 4000, "does not carry the label")]
#[tokio::test]
async fn a_service_is_dialled_by_its_cluster_ip_or_not_at_all(
    #[case] name: &str,
    #[case] port: u16,
    #[case] expected: &str,
) {
    let (services, _) = services();
    let said = asked(&services, name, port).await;
    assert!(said.contains(expected), "{said}");
    assert_eq!(said.starts_with('['), expected.starts_with('['), "{said}");
    assert!(
        said.starts_with('[') || said.starts_with("ServiceUnusable: "),
        "{said}"
    );
}

#[rstest]
#[case::plain(json!({}), None)]
#[case::two_families(json!({"clusterIPs": ["10.96.7.7", "fd01::7"]}), None)]
#[case::behind_a_load_balancer(json!({"type": "LoadBalancer", "externalIPs": ["203.0.113.9"]}), None)]
#[case::headless(json!({"clusterIP": "None", "clusterIPs": ["None"]}), Some(Unusable::Headless))]
#[case::without_an_address(json!({"clusterIP": "", "clusterIPs": []}), Some(Unusable::Headless))]
#[case::external(json!({"type": "ExternalName", "externalName": "evil.test"}), Some(Unusable::ExternalName))]
#[case::without_a_selector(json!({"selector": null}), Some(Unusable::NoSelector))]
#[case::with_an_empty_selector(json!({"selector": {}}), Some(Unusable::NoSelector))]
#[case::of_runs(json!({"selector": {"app": "a", "cofferdam.dev/run": "fix"}}), Some(Unusable::SelectsSandboxes))]
fn kinds_of_services(#[case] changes: Value, #[case] why: Option<Unusable>) {
    let mut spec = spec("10.96.7.7", 4000);
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    let service = serde_json::from_value(json!({"spec": spec})).unwrap();
    let found = endpoints(&service);
    assert_eq!(found.as_ref().err(), why.as_ref());
    if let Ok(found) = found {
        assert_eq!(found.addresses[0], "10.96.7.7".parse::<IpAddr>().unwrap());
        assert!(!found.addresses.contains(&"203.0.113.9".parse().unwrap()));
    }
}

#[test]
fn a_port_is_a_tcp_port_of_the_service_and_not_of_its_pods() {
    let mut spec = spec("10.96.7.7", 80);
    spec["ports"] = json!([
        {"port": 80, "targetPort": 4000}, {"port": 53, "protocol": "UDP"}, {"port": 443, "protocol": "TCP"},
        {"port": 132, "protocol": "SCTP"},
    ]);
    let service = serde_json::from_value(json!({"spec": spec})).unwrap();
    assert_eq!(endpoints(&service).unwrap().ports, [80, 443]);
}

#[tokio::test]
async fn who_asks_often_has_the_api_server_asked_once() {
    let (services, source) = services();
    let name = named("models/litellm");
    let all = (0..50).map(|_| services.addresses(&name, 4000));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    let missing = (0..50).map(|_| asked(&services, "models/other", 4000));
    futures::future::join_all(missing).await;
    assert_eq!(*source.reads.lock(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_made_anew_or_deleted_is_followed() {
    let (services, source) = services();
    let before = asked(&services, "models/litellm", 4000).await;
    assert_eq!(before, "[10.96.7.7]");
    source.put("models/litellm", &spec("10.96.8.8", 4000));
    assert_eq!(asked(&services, "models/litellm", 4000).await, before);
    tokio::time::advance(BELIEVED_FOR).await;
    let before = asked(&services, "models/litellm", 4000).await;
    assert_eq!(before, "[10.96.8.8]");
    source.all.lock().clear();
    assert_eq!(asked(&services, "models/litellm", 4000).await, before);
    tokio::time::advance(BELIEVED_FOR).await;
    assert!(
        asked(&services, "models/litellm", 4000)
            .await
            .contains("there is none")
    );
}

/// What does not answer.
struct Failing;

impl ServiceSource for Failing {
    fn read<'a>(&'a self, _name: &'a ServiceName) -> BoxFuture<'a, Result<Option<Service>, String>> {
        Box::pin(async { Err("forbidden".to_owned()) })
    }
}

#[tokio::test]
async fn without_the_api_server_nothing_is_dialled() {
    let (known, _) = services();
    let services = Services::new(Box::new(Failing), rules(), Arc::clone(&known.view));
    let said = asked(&services, "models/litellm", 4000).await;
    assert_eq!(
        said,
        "Stale: Service models/litellm cannot be read from the API server: forbidden"
    );
}
