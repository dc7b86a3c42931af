//! What may be asked of a host to which there is a route: decided for each request by its method and path.

use crate::decision::{Decision, Denied, DenyReason};
use crate::dimension::git::repository_read_by;
use crate::dimension::requests::{Request, Requests};
use crate::layer::meet::{Unmet, meet};
use crate::pattern::host::Host;
use crate::pattern::method::Method;
use crate::pattern::repository::RepositoryPattern;
use crate::refusal::{LayerKind, listed, shown};
use crate::route::Route;
use crate::route::grant::{LayerGrant, RuleGrant};

/// A request that every layer allows, and to whom it goes.
///
/// Only [`Route::permit`] makes one, so whoever holds it holds a decision about exactly this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permitted {
    host: Host,
    port: u16,
    request: Request,
    rules: Vec<String>,
    credential: Option<String>,
    clear_text: bool,
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

    /// The credential that the gateway is to add: the one that rules which allow the request name.
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// The same decision about a request that goes out in clear text: with a credential it does so only to a Service for which
    /// cluster policies say so.
    pub fn in_clear_text(self) -> Decision<Self> {
        let Some(credential) = self.credential.as_ref().filter(|_| !self.clear_text) else {
            return Decision::Allow(self);
        };
        Decision::Deny(Denied {
            reason: DenyReason::CredentialNeedsTls,
            layer: None,
            message: format!(
                "{} {} of {}:{} is denied in clear text: rules of policy add credential {credential} to it, which goes \
                 over TLS alone{}",
                self.request.method,
                shown(self.request.target.path()),
                self.host,
                self.port,
                if self.host.as_service().is_some() {
                    " unless a ClusterSandboxPolicy names it with credentialInClearText: Allow, and no policy says otherwise"
                } else {
                    ""
                }
            ),
        })
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
                let credential = match credential(&granted) {
                    Ok(credential) => credential.map(str::to_owned),
                    Err(conflict) => return Decision::Deny(self.conflicting(&request, &conflict)),
                };
                let clear_text = credential
                    .as_deref()
                    .is_some_and(|credential| is_clear_text_granted(&granted, credential));
                let mut rules: Vec<String> = Vec::new();
                let all = granted.iter().flat_map(|layer| layer.rules.iter());
                for rule in all.map(|rule| &rule.name).chain(&self.grant.asked) {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
                Decision::Allow(Permitted {
                    host: self.host.clone(),
                    port: self.port,
                    request,
                    rules,
                    credential,
                    clear_text,
                })
            }
            Err(Unmet::Refused(denied)) => Decision::Deny(denied),
            Err(Unmet::NoOpinion) => Decision::Deny(no_layer(self, &request)),
        }
    }

    #[cold]
    fn conflicting(&self, request: &Request, Conflict(one, two): &Conflict<'_>) -> Denied {
        Denied {
            reason: DenyReason::CredentialConflict,
            layer: None,
            message: format!(
                "{} {} of {}:{} is denied: rules that allow it name two credentials, {one} and {two}",
                request.method,
                shown(request.target.path()),
                self.host,
                self.port
            ),
        }
    }

    #[cold]
    fn refused(&self, layer: &LayerGrant, request: &Request) -> Denied {
        let rules = || layer.rules.iter().map(|rule| &rule.requests);
        let method = &request.method;
        let repositories = layer.rules.iter().filter_map(|rule| rule.reads.as_ref());
        let repositories: Vec<String> = repositories.map(ToString::to_string).collect();
        let why = if !repositories.is_empty() {
            format!(
                "of this host only repositories are read, by fetching; granted: {}",
                listed(&repositories)
            )
        } else if rules().any(|requests| requests.have_method(method)) {
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

/// Two credentials of which a request can have only one.
struct Conflict<'a>(&'a str, &'a str);

/// The rules of one layer that allow a request.
struct Allowing<'a> {
    layer: &'a LayerGrant,
    rules: Vec<&'a RuleGrant>,
}

impl<'a> Allowing<'a> {
    /// Those that name the credential.
    fn naming(&self, credential: &str) -> impl Iterator<Item = &'a RuleGrant> {
        let rules = self.rules.iter().copied();
        rules.filter(move |rule| rule.credential.as_deref() == Some(credential))
    }

    fn is_of_the_cluster(&self) -> bool {
        let layer = self.layer.layer.as_ref();
        layer.is_some_and(|layer| layer.kind == LayerKind::ClusterSandboxPolicy)
    }
}

/// Whether the credential goes out in clear text: a rule of a cluster policy named it when the run was admitted, and every
/// rule that names it for the request lets it.
fn is_clear_text_granted(granted: &[Allowing<'_>], credential: &str) -> bool {
    let by_the_cluster = granted
        .iter()
        .filter(|allowing| allowing.is_of_the_cluster() && !allowing.layer.is_later);
    let mut by_the_cluster = by_the_cluster.flat_map(|allowing| allowing.naming(credential));
    let mut all = granted.iter().flat_map(|allowing| allowing.naming(credential));
    by_the_cluster.next().is_some() && all.all(|rule| rule.clear_text)
}

/// The credential that the rules which allow a request name; a layer whose rules name none has no opinion.
fn credential<'a>(granted: &[Allowing<'a>]) -> Result<Option<&'a str>, Conflict<'a>> {
    let named = |later: bool| {
        let layers = granted
            .iter()
            .filter(move |allowing| allowing.layer.is_later == later);
        layers.flat_map(|allowing| {
            allowing
                .rules
                .iter()
                .filter_map(|rule| rule.credential.as_deref())
        })
    };
    let Some(first) = named(false).next() else {
        return Ok(None);
    };
    match named(false).chain(named(true)).find(|other| *other != first) {
        Some(other) => Err(Conflict(first, other)),
        None => Ok(Some(first)),
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

impl RuleGrant {
    fn allows(&self, request: &Request) -> bool {
        let reads = |pattern: &RepositoryPattern| {
            repository_read_by(request).is_some_and(|path| pattern.matches_path(path))
        };
        self.requests.have(request) && self.reads.as_ref().is_none_or(reads)
    }
}

impl LayerGrant {
    /// Its rules that allow the request; `None`: there is none.
    fn permit(&self, request: &Request) -> Option<Allowing<'_>> {
        let allowing = self.rules.iter().filter(|rule| rule.allows(request));
        let rules: Vec<&RuleGrant> = allowing.collect();
        (!rules.is_empty()).then_some(Allowing { layer: self, rules })
    }
}
