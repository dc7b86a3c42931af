//! What may be asked of a host to which there is a route: decided for each request by its method and path.

use crate::decision::{Decision, Denied, DenyReason};
use crate::dimension::requests::{Request, Requests};
use crate::layer::meet::{Unmet, meet};
use crate::pattern::host::Host;
use crate::pattern::method::Method;
use crate::refusal::{listed, shown};
use crate::route::{LayerGrant, Route};

/// A request that every layer allows, and to whom it goes.
///
/// Only [`Route::permit`] makes one, so whoever holds it holds a decision about exactly this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permitted {
    host: Host,
    port: u16,
    request: Request,
    rules: Vec<String>,
}

impl Permitted {
    /// The host that was decided about.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port that was decided about.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The request that was decided about.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// `Kind/name/rule` of each rule that allows the request, layer by layer, and of the run's ask where there is one.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }
}

impl Route {
    /// Decides about one request to the host: each layer must have a rule that allows it.
    pub fn permit(&self, request: Request) -> Decision<Permitted> {
        let granted = meet(&self.grant.layers, |layer| {
            Some(
                layer
                    .permit(&request)
                    .ok_or_else(|| self.refused(layer, &request)),
            )
        });
        match granted {
            Ok(granted) => {
                let mut rules: Vec<String> = Vec::new();
                let all = granted.into_iter().flatten();
                for rule in all.chain(&self.grant.asked) {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
                Decision::Allow(Permitted {
                    host: self.host.clone(),
                    port: self.port,
                    request,
                    rules,
                })
            }
            Err(Unmet::Refused(denied)) => Decision::Deny(denied),
            Err(Unmet::NoOpinion) => Decision::Deny(no_layer(self, &request)),
        }
    }

    #[cold]
    fn refused(&self, layer: &LayerGrant, request: &Request) -> Denied {
        let rules = || layer.rules.iter().map(|(_, requests)| requests);
        let method = &request.method;
        let why = if rules().any(|requests| requests.have_method(method)) {
            let paths = rules().filter(|requests| requests.have_method(method));
            let paths: Vec<String> = paths
                .flat_map(|requests| &requests.paths)
                .map(ToString::to_string)
                .collect();
            format!(
                "no rule for this host allows this path with {method}; allowed: {}",
                listed(&paths)
            )
        } else {
            let methods: Vec<String> = rules()
                .flat_map(|requests: &Requests| &requests.methods)
                .map(Method::to_string)
                .collect();
            format!(
                "no rule for this host allows {method}; allowed: {}",
                listed(&methods)
            )
        };
        let by = layer
            .layer
            .as_ref()
            .map_or_else(|| "the run".to_owned(), ToString::to_string);
        Denied {
            reason: DenyReason::RequestNotAllowed,
            layer: layer.layer.clone(),
            message: format!(
                "{method} {} of {}:{} is denied by {by}: {why}",
                shown(request.target.path()),
                self.host,
                self.port
            ),
        }
    }
}

/// A route always has a layer; without one nothing is allowed.
#[cold]
fn no_layer(route: &Route, request: &Request) -> Denied {
    Denied {
        reason: DenyReason::NoEgressPolicy,
        layer: None,
        message: format!(
            "{} {} of {}:{} is denied: no policy in force allows it",
            request.method,
            shown(request.target.path()),
            route.host,
            route.port
        ),
    }
}

impl LayerGrant {
    /// The rules that allow the request; `None`: there is none.
    fn permit(&self, request: &Request) -> Option<Vec<&String>> {
        let allowing = self.rules.iter().filter(|(_, requests)| requests.have(request));
        let rules: Vec<&String> = allowing.map(|(rule, _)| rule).collect();
        (!rules.is_empty()).then_some(rules)
    }
}
