//! What becomes of one request of the agent: decided as the gateway decides it.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::decision::{Decision, Denied};
use crate::dimension::egress::{EgressAsk, EgressLayer};
use crate::dimension::requests::Request;
use crate::pattern::host::{Host, HostError};
use crate::pattern::method::{Method, MethodError};
use crate::pattern::path::{Target, TargetError};
use crate::pattern::read_port;
use crate::pattern::service::{DEFAULT_DOMAIN, canonical};
use crate::route::route;
use cofferdam_api::{TlsMode, Tunnels};

/// A request that is asked about, such as `POST https://api.example.com/v1/messages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    scheme: Scheme,
    host: Host,
    port: u16,
    request: Request,
}

/// Scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Why a text is not an [`Asked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskedError {
    /// No method before the URL.
    #[error("write the method and the URL, such as 'GET https://api.example.com/v1/models'")]
    Form,
    /// The method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// Another scheme.
    #[error("the URL must begin with http:// or https://")]
    Scheme,
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// The path or the query, which the gateway would refuse too.
    #[error("the gateway refuses every request with such a URL: {0}")]
    Target(#[from] TargetError),
}

/// How a request gets out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Let {
    /// Whether its method and path are looked at; else the host and the port alone let it out.
    pub inspected: bool,
    /// `Kind/name/rule` of each rule that allows it, as in the gateway's records.
    pub rules: Vec<String>,
    /// The credential that the gateway adds to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl Asked {
    /// What the layers, and the run's own ask, say to the request.
    pub fn judge<L: Borrow<EgressLayer>>(
        &self,
        layers: &[L],
        tunnels: Tunnels,
        ask: Option<&EgressAsk>,
    ) -> Decision<Let> {
        // A cluster of another domain is asked about by `name.namespace.svc`.
        let host = canonical(&self.host, DEFAULT_DOMAIN);
        let way = match route(layers, tunnels, ask, &host, self.port) {
            Decision::Allow(way) => way,
            Decision::Deny(denied) => return Decision::Deny(denied),
        };
        match (self.scheme, way.tls()) {
            (Scheme::Https, TlsMode::Tunnel) => Decision::Allow(Let {
                inspected: false,
                rules: way.rules(),
                credential: None,
            }),
            (Scheme::Http, TlsMode::Tunnel) | (_, TlsMode::Inspect) => {
                let permitted = match (way.permit(self.request.clone()), self.scheme) {
                    (Decision::Allow(permitted), Scheme::Http) => permitted.in_clear_text(),
                    (decided, _) => decided,
                };
                permitted.map(|permitted| Let {
                    inspected: true,
                    rules: permitted.rules().to_vec(),
                    credential: permitted.credential().map(str::to_owned),
                })
            }
        }
    }
}

/// The denial of a request, in the words of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The code that the gateway answers with.
    pub code: &'static str,
    /// Who denies it, and what would be allowed.
    pub message: String,
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self {
            code: denied.reason.as_str(),
            message: denied.message,
        }
    }
}

impl FromStr for Asked {
    type Err = AskedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (method, url) = text.trim().split_once(' ').ok_or(AskedError::Form)?;
        let method = Method::parse(method)?;
        let (scheme, rest) = match url.trim().split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            _ => return Err(AskedError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (
                host,
                port.parse().ok().and_then(read_port).ok_or(AskedError::Port)?,
            ),
            None => (authority, scheme.port()),
        };
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            scheme,
            host: Host::parse(host)?,
            port,
            request: Request {
                method,
                target: Target::parse(&path)?,
            },
        })
    }
}

impl Scheme {
    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let Request { method, target } = &self.request;
        write!(f, "{method} {scheme}://{}", self.host)?;
        if self.port != self.scheme.port() {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "{target}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimension::egress::{EgressRule, ServiceUse};
    use crate::refusal::LayerKind;
    use cofferdam_api::{Mode, TlsMode};
    use rstest::rstest;

    fn layer() -> EgressLayer {
        let rule = |name: &str, host: &str, tls: TlsMode, paths: &[&str]| EgressRule {
            name: name.to_owned(),
            hosts: vec![host.parse().unwrap()],
            addresses: Vec::new(),
            ports: vec![80, 443],
            tls,
            methods: Vec::new(),
            paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
            credential: None,
            service: None,
        };
        EgressLayer {
            kind: LayerKind::ClusterSandboxPolicy,
            name: "default".to_owned(),
            mode: Mode::AllowList,
            rules: vec![
                rule("model", "model.example.org", TlsMode::Tunnel, &[]),
                rule("api", "api.example.org", TlsMode::Inspect, &["/repos/**"]),
                EgressRule {
                    ports: vec![4000],
                    service: Some(ServiceUse::default()),
                    ..rule("proxy", "litellm.models.svc", TlsMode::Inspect, &["/v1/**"])
                },
            ],
        }
    }

    #[rstest]
    #[case(
        "POST https://model.example.org/any",
        "not inspected, by ClusterSandboxPolicy/default/model"
    )]
    #[case(
        "POST http://model.example.org/any",
        "inspected, by ClusterSandboxPolicy/default/model"
    )]
    #[case(
        "GET http://api.example.org/repos/a?b=c",
        "inspected, by ClusterSandboxPolicy/default/api"
    )]
    #[case(
        "GET http://api.example.org:443/repos/a",
        "inspected, by ClusterSandboxPolicy/default/api"
    )]
    #[case("GET http://api.example.org/user", "RequestNotAllowed")]
    #[case("GET http://api.example.org", "RequestNotAllowed")]
    #[case("GET https://api.example.org/user", "RequestNotAllowed")]
    #[case(
        "GET https://api.example.org/repos/a",
        "inspected, by ClusterSandboxPolicy/default/api"
    )]
    #[case("GET https://model.example.org:8443/", "PortNotAllowed")]
    #[case("GET https://other.example.org/", "HostNotAllowed")]
    #[case(
        "GET http://litellm.models.svc:4000/v1/models",
        "inspected, by ClusterSandboxPolicy/default/proxy"
    )]
    #[case(
        "GET http://litellm.models.svc.cluster.local:4000/v1/models",
        "inspected, by ClusterSandboxPolicy/default/proxy"
    )]
    #[case("GET http://litellm.models.svc:4000/admin", "RequestNotAllowed")]
    #[case("GET http://other.models.svc:4000/v1/models", "HostNotAllowed")]
    fn a_request_is_judged_as_at_the_gateway(#[case] request: &str, #[case] expected: &str) {
        let said = match request
            .parse::<Asked>()
            .unwrap()
            .judge(&[layer()], Tunnels::Allow, None)
        {
            Decision::Allow(Let { inspected, rules, .. }) => {
                let not = if inspected { "" } else { "not " };
                format!("{not}inspected, by {}", rules.join(" "))
            }
            Decision::Deny(denied) => denied.reason.as_str().to_owned(),
        };
        assert_eq!(said, expected);
    }

    #[rstest]
    #[case("GET", AskedError::Form)]
    #[case("https://a.test/", AskedError::Form)]
    #[case("get https://a.test/", AskedError::Method(MethodError::Spelling))]
    #[case("TRACE https://a.test/", AskedError::Method(MethodError::Never))]
    #[case("GET ftp://a.test/", AskedError::Scheme)]
    #[case("GET /a", AskedError::Scheme)]
    #[case("GET https://a.test:0/", AskedError::Port)]
    #[case("GET https://a.test/a/../b", AskedError::Target(TargetError::DotSegment))]
    #[case("GET https://a.test/a#b", AskedError::Target(TargetError::OddByte))]
    fn what_is_no_request_is_refused(#[case] text: &str, #[case] error: AskedError) {
        assert_eq!(text.parse::<Asked>(), Err(error));
    }

    #[rstest]
    #[case("GET https://a.test:443?x=y", "GET https://a.test/?x=y")]
    #[case("  POST   http://A.test:8080/p ", "POST http://a.test:8080/p")]
    fn a_request_has_one_spelling(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(text.parse::<Asked>().unwrap().to_string(), shown);
    }
}
