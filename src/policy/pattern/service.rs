//! Services of the cluster, by the names that clients use for them.

use std::fmt;

use super::host::{Host, HostError, ZONE};
use serde::{Serialize, Serializer};

/// The domain of a cluster that has no other.
pub const DEFAULT_DOMAIN: &str = "cluster.local";

/// A Service: its namespace and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    namespace: String,
    name: String,
}

impl ServiceName {
    /// The Service that `name.namespace.svc` means; `None`: the host is no name of that form.
    pub fn of(host: &Host) -> Option<Self> {
        let (name, namespace) = host.as_service()?;
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The host by which policy knows a Service: `name.namespace.svc`.
///
/// # Errors
/// One of the two is no DNS label.
pub fn host_of(namespace: &str, name: &str) -> Result<Host, HostError> {
    if namespace.contains('.') || name.contains('.') {
        return Err(HostError::Label);
    }
    Host::parse(&format!("{name}.{namespace}.{ZONE}"))
}

/// The one name by which policy knows what a client asks for: `name.namespace.svc` for the same name with the domain of the
/// cluster behind it, and every other host as it is.
pub fn canonical(host: &Host, domain: &str) -> Host {
    let short = host
        .as_str()
        .strip_suffix(domain)
        .and_then(|rest| rest.strip_suffix('.'));
    let service = short
        .and_then(|short| Host::parse(short).ok())
        .filter(|short| short.as_service().is_some());
    service.unwrap_or_else(|| host.clone())
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for ServiceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("litellm.models.svc", Some("models/litellm"))]
    #[case("LiteLLM.Models.SVC", Some("models/litellm"))]
    #[case("litellm.models.svc.cluster.local", Some("models/litellm"))]
    #[case("litellm.models", None)]
    #[case("models.svc", None)]
    #[case("pod-0.litellm.models.svc", None)]
    #[case("pod-0.litellm.models.svc.cluster.local", None)]
    #[case("litellm.models.svc.cluster", None)]
    #[case("litellm.models.svc.example.com", None)]
    #[case("litellm.models.svc.evilcluster.local", None)]
    #[case("litellm.models.pod.cluster.local", None)]
    #[case("litellm.models.svccluster.local", None)]
    #[case("cluster.local", None)]
    fn a_service_has_two_names_and_no_third(#[case] asked: &str, #[case] expected: Option<&str>) {
        let host = canonical(&Host::parse(asked).unwrap(), DEFAULT_DOMAIN);
        let service = ServiceName::of(&host);
        assert_eq!(service.as_ref().map(ToString::to_string).as_deref(), expected);
        match service {
            Some(service) => assert_eq!(host_of(service.namespace(), service.name()), Ok(host)),
            None => assert_eq!(host, Host::parse(asked).unwrap()),
        }
    }

    #[test]
    fn a_domain_is_the_clusters_own() {
        let host = Host::parse("litellm.models.svc.corp.example").unwrap();
        assert_eq!(canonical(&host, "corp.example").as_str(), "litellm.models.svc");
        assert_eq!(canonical(&host, DEFAULT_DOMAIN), host);
    }

    #[test]
    fn what_is_no_label_names_no_service() {
        for (namespace, name) in [
            ("models.svc", "a"),
            ("models", "a.b"),
            ("models", "a*"),
            ("", "a"),
            ("m", ""),
        ] {
            assert!(host_of(namespace, name).is_err(), "{namespace}/{name}");
        }
    }
}
