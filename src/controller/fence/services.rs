//! Services that select sandbox pods: the admission guard refuses them in opted-in namespaces, so what is found here was
//! there before its namespace opted in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::carried::carried;

/// Services of one page of a list: a tenant can make one of a megabyte.
const PAGE: u32 = 20;

/// Names by namespace.
type Names = BTreeMap<String, BTreeSet<String>>;

/// Names of the Services that select sandbox pods. Nothing is kept of any other.
#[derive(Clone, Debug)]
pub struct SelectingServices {
    names: Arc<RwLock<Names>>,
    listed: watch::Receiver<bool>,
}

/// The watch ended before there was a first list.
#[derive(Debug, thiserror::Error)]
#[error("the watch of Services ended before they were listed")]
pub struct NotListed;

impl SelectingServices {
    /// Watches all Services until `stop`; `changed` is called with each namespace whose answer may have changed.
    pub fn start(client: Client, stop: CancellationToken, changed: impl Fn(&str) + Send + 'static) -> Self {
        let (sender, listed) = watch::channel(false);
        let names = Arc::new(RwLock::new(Names::new()));
        let kept = Arc::clone(&names);
        let config = watcher::Config::default().page_size(PAGE);
        let stream = watcher::watcher(Api::<Service>::all(client), config)
            .default_backoff()
            .take_until(Box::pin(stop.cancelled_owned()));
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            let mut fresh = Names::new();
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Init) => fresh = Names::new(),
                    Ok(Event::InitApply(service)) => note(&mut fresh, &service, selects_sandboxes(&service)),
                    Ok(Event::InitDone) => {
                        let before = std::mem::replace(&mut *kept.write(), std::mem::take(&mut fresh));
                        sender.send_replace(true);
                        let now: Vec<String> = kept.read().keys().cloned().collect();
                        before.keys().chain(&now).for_each(|namespace| changed(namespace));
                    }
                    Ok(Event::Apply(service)) => {
                        note(&mut kept.write(), &service, selects_sandboxes(&service));
                        changed(&service.namespace().unwrap_or_default());
                    }
                    Ok(Event::Delete(service)) => {
                        note(&mut kept.write(), &service, false);
                        changed(&service.namespace().unwrap_or_default());
                    }
                    Err(error) => tracing::warn!(kind = "Service", %error, "watch interrupted"),
                }
            }
        });
        Self { names, listed }
    }

    /// Waits for the first list.
    ///
    /// # Errors
    /// The watch ended first.
    pub async fn wait_until_listed(&self) -> Result<(), NotListed> {
        let mut listed = self.listed.clone();
        listed
            .wait_for(|listed| *listed)
            .await
            .map(drop)
            .map_err(|_| NotListed)
    }

    /// Name of a Service of a namespace that selects its sandboxes; the first in order of names.
    pub fn first_of(&self, namespace: &str) -> Option<String> {
        self.names.read().get(namespace)?.first().cloned()
    }
}

fn note(names: &mut Names, service: &Service, selects: bool) {
    let namespace = service.namespace().unwrap_or_default();
    if selects {
        names.entry(namespace).or_default().insert(service.name_any());
    } else if let Some(of_namespace) = names.get_mut(&namespace) {
        of_namespace.remove(&service.name_any());
        if of_namespace.is_empty() {
            names.remove(&namespace);
        }
    }
}

/// Whether a Service can select a sandbox pod: it asks only for labels that such a pod may carry.
fn selects_sandboxes(service: &Service) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty() && selector.keys().all(|key| carried(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn service(name: &str, selector: &Value) -> Service {
        let service =
            json!({"metadata": {"name": name, "namespace": "tenant-a"}, "spec": {"selector": selector}});
        serde_json::from_value(service).unwrap()
    }

    #[rstest]
    #[case::none(json!({}), false)]
    #[case::one_run(json!({"cofferdam.dev/run": "mend-roof"}), true)]
    #[case::one_job(json!({"batch.kubernetes.io/job-name": "agr-mend-roof-0b7c9f3e"}), true)]
    #[case::one_job_of_old(json!({"job-name": "agr-mend-roof-0b7c9f3e"}), true)]
    #[case::two_that_sandboxes_carry(json!({"controller-uid": "x", "topology.kubernetes.io/zone": "a"}), true)]
    #[case::an_app(json!({"app": "web"}), false)]
    #[case::a_chart(json!({"app.kubernetes.io/name": "web"}), false)]
    #[case::an_app_among_ours(json!({"app": "web", "cofferdam.dev/run": "mend-roof"}), false)]
    fn a_service_that_asks_for_what_sandboxes_carry_selects_them(
        #[case] selector: Value,
        #[case] selects: bool,
    ) {
        assert_eq!(selects_sandboxes(&service("theirs", &selector)), selects);
    }

    #[test]
    fn only_services_that_select_are_kept_and_forgotten_when_they_no_longer_do() {
        let mut names = Names::new();
        let into = json!({"cofferdam.dev/run": "mend-roof"});
        note(&mut names, &service("plain", &json!({"app": "web"})), false);
        assert!(names.is_empty());
        for name in ["b", "a"] {
            note(&mut names, &service(name, &into), true);
        }
        assert_eq!(names["tenant-a"].first().map(String::as_str), Some("a"));
        note(&mut names, &service("a", &into), false);
        note(&mut names, &service("b", &into), false);
        assert!(names.is_empty());
    }
}
