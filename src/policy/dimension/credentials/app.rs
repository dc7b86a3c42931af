//! A GitHub App as a credential: what is sent is not its key but an installation token, made for the repositories of one run.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::error::CredentialError;
use crate::dimension::git::repository_read_by;
use crate::dimension::repositories::AdmittedRepository;
use crate::dimension::requests::Request;
use crate::pattern::host::Host;
use crate::pattern::sorted;
use crate::route::Route;
use cofferdam_api::{AppPermission, GitHubApp, TlsMode};

/// Where GitHub itself is.
const GITHUB: &str = "github.com";
/// Below this name every customer's GitHub has a host of its own, and its API one beside it.
const DATA_RESIDENCY: &str = ".ghe.com";
/// Where the API of a GitHub Enterprise Server begins.
const SERVER_API: &str = "/api/v3";

/// What the gateway has to know of a GitHub App, to have tokens made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct App {
    /// Its id.
    pub id: i64,
    /// Its installation; absent: that of the repositories' owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<i64>,
    /// The host of its repositories.
    pub forge: Host,
    /// The host of its API.
    pub api_host: Host,
    /// The port of both, where the forge is a server of its own.
    pub port: u16,
    /// What every path of the API begins with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_path: String,
    /// Networks that the API's host may resolve to though not globally routable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
    /// What a token may do.
    pub permissions: BTreeMap<String, AppPermission>,
    /// The repositories of the run at the forge, `owner/name`, in order; none in a definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

/// Why no token can be made for a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The run names no repository there.
    #[error("the run names no repository of {0}, and a token is made for those alone")]
    NoRepository(Host),
    /// The request is about no repository, and those of the run belong to several owners.
    #[error(
        "the request is about no repository, and those of the run belong to several owners, each with an installation of its own"
    )]
    SeveralOwners,
}

impl App {
    /// Reads a definition.
    pub(super) fn read(app: &GitHubApp) -> Result<Self, CredentialError> {
        let odd = |what: &str| CredentialError::App(what.to_owned());
        let url = app.url.as_deref().unwrap_or("https://github.com");
        let authority = url
            .strip_prefix("https://")
            .map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let authority = authority.ok_or_else(|| odd("url must begin with https://"))?;
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| odd("the port of url is none"))?),
            None => (authority, 443),
        };
        let forge = Host::parse(name).map_err(|_| odd("the host of url is not a host name"))?;
        let beside = name == GITHUB || name.ends_with(DATA_RESIDENCY);
        let api_host = if beside {
            Host::parse(&format!("api.{name}")).map_err(|_| odd("the host of url is too long"))?
        } else {
            forge.clone()
        };
        let addresses = app.addresses.iter().map(|text| text.parse::<IpNet>());
        let addresses = addresses
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| odd("addresses has what is no CIDR"))?;
        Ok(Self {
            id: app.app_id,
            installation: app.installation_id,
            forge,
            api_host,
            port,
            api_path: if beside {
                String::new()
            } else {
                SERVER_API.to_owned()
            },
            addresses: sorted(addresses.into_iter().map(|net| net.trunc()).collect()),
            permissions: app.permissions.clone(),
            repositories: Vec::new(),
        })
    }

    /// The same for a run that clones these.
    #[must_use]
    pub(crate) fn for_run<'a>(
        mut self,
        repositories: impl IntoIterator<Item = &'a AdmittedRepository>,
    ) -> Self {
        let own = repositories.into_iter().filter_map(|repository| {
            let url = &repository.url;
            let is_here = *url.host() == self.forge && url.port() == self.port;
            is_here.then(|| owner_and_name(url.path()))?
        });
        self.repositories = sorted(own.collect());
        self
    }

    /// The same definition, whatever run it is for.
    #[must_use]
    pub fn definition(&self) -> Self {
        Self {
            repositories: Vec::new(),
            ..self.clone()
        }
    }

    /// The repositories of which a token for this request is made, all of one owner: those of the run, or the one that the
    /// request is about where that is another one, such as a submodule that policy grants.
    ///
    /// # Errors
    /// It is not clear which.
    pub fn scope(&self, host: &Host, request: &Request) -> Result<Vec<String>, ScopeError> {
        let Some(asked) = self.repository_of(host, request) else {
            let mut all = self.scopes();
            return match (all.pop(), all.is_empty()) {
                (Some(only), true) => Ok(only),
                (Some(_), false) => Err(ScopeError::SeveralOwners),
                (None, _) => Err(ScopeError::NoRepository(self.forge.clone())),
            };
        };
        // GitHub takes any spelling of a name.
        let has = |scope: &Vec<String>| scope.iter().any(|own| own.eq_ignore_ascii_case(&asked));
        let own = self.scopes().into_iter().find(has);
        Ok(own.unwrap_or_else(|| vec![asked]))
    }

    /// The repositories of the run, owner by owner.
    pub fn scopes(&self) -> Vec<Vec<String>> {
        let mut by_owner: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for repository in &self.repositories {
            let owner = repository.split('/').next().unwrap_or_default();
            by_owner
                .entry(owner.to_ascii_lowercase())
                .or_default()
                .push(repository.clone());
        }
        by_owner.into_values().collect()
    }

    /// The repository that a request is about.
    fn repository_of(&self, host: &Host, request: &Request) -> Option<String> {
        let by_git = (*host == self.forge)
            .then(|| repository_read_by(request))
            .flatten()
            .and_then(owner_and_name);
        let by_api = || {
            let path = request.target.path().strip_prefix(self.api_path.as_str())?;
            let mut parts = path.strip_prefix("/repos/")?.split('/');
            owner_and_name(&format!("{}/{}", parts.next()?, parts.next()?))
        };
        by_git.or_else(|| (*host == self.api_host).then(by_api).flatten())
    }

    /// The permissions as GitHub is asked for them.
    pub fn permissions_asked(&self) -> BTreeMap<&str, &'static str> {
        let all = self.permissions.iter();
        all.map(|(name, access)| (name.as_str(), access.of_github()))
            .collect()
    }

    /// The permissions for records, such as `contents: read`.
    pub fn permissions_shown(&self) -> Vec<String> {
        let all = self.permissions_asked().into_iter();
        all.map(|(name, access)| format!("{name}: {access}")).collect()
    }

    /// The way to its API: that of `SandboxCredential/<name>`, for the gateway alone.
    pub fn api_route(&self, name: &str) -> Route {
        let rule = format!("SandboxCredential/{name}");
        Route::by_rule(
            &self.api_host,
            self.port,
            TlsMode::Inspect,
            rule,
            self.addresses.clone(),
        )
    }
}

/// `owner/name` as GitHub spells names of both; else nothing.
fn owner_and_name(path: &str) -> Option<String> {
    let (owner, name) = path.split_once('/')?;
    let is_name = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !text.is_empty() && text.len() <= 100 && text.bytes().all(plain)
    };
    (is_name(owner) && is_name(name)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::path::Target;
    use rstest::rstest;

    fn app(url: Option<&str>) -> App {
        let app = GitHubApp {
            app_id: 7,
            url: url.map(str::to_owned),
            ..GitHubApp::default()
        };
        App::read(&app).unwrap()
    }

    #[rstest]
    #[case(None, "github.com", "api.github.com", 443, "")]
    #[case(Some("https://github.com"), "github.com", "api.github.com", 443, "")]
    #[case(Some("https://octo.ghe.com/"), "octo.ghe.com", "api.octo.ghe.com", 443, "")]
    #[case(
        Some("https://forge.example:8443"),
        "forge.example",
        "forge.example",
        8443,
        "/api/v3"
    )]
    fn the_api_is_where_github_has_it(
        #[case] url: Option<&str>,
        #[case] forge: &str,
        #[case] api: &str,
        #[case] port: u16,
        #[case] path: &str,
    ) {
        let app = app(url);
        assert_eq!(
            (
                app.forge.as_str(),
                app.api_host.as_str(),
                app.port,
                app.api_path.as_str()
            ),
            (forge, api, port, path)
        );
    }

    #[rstest]
    #[case("http://forge.example")]
    #[case("https://10.0.0.1")]
    #[case("https://forge.example:x")]
    fn a_url_that_is_none_is_refused(#[case] url: &str) {
        let app = GitHubApp {
            url: Some(url.to_owned()),
            ..GitHubApp::default()
        };
        assert!(matches!(App::read(&app), Err(CredentialError::App(_))));
    }

    fn scope(repositories: &[&str], host: &str, request: &str) -> Result<Vec<String>, ScopeError> {
        let app = App {
            repositories: repositories.iter().map(ToString::to_string).collect(),
            ..app(None)
        };
        let (method, target) = request.split_once(' ').unwrap();
        let request = Request {
            method: method.parse().unwrap(),
            target: Target::parse(target).unwrap(),
        };
        app.scope(&host.parse().unwrap(), &request)
    }

    #[rstest]
    // What the run clones, all of that owner.
    #[case(&["a/one", "a/two", "b/three"], "github.com", "GET /a/one.git/info/refs?service=git-upload-pack", Ok(&["a/one", "a/two"][..]))]
    #[case(&["a/one", "a/two", "b/three"], "github.com", "POST /B/Three/git-upload-pack", Ok(&["b/three"][..]))]
    // A submodule of it, for itself alone.
    #[case(&["a/one"], "github.com", "POST /a/sub.git/git-upload-pack", Ok(&["a/sub"][..]))]
    #[case(&["a/one"], "api.github.com", "GET /repos/a/one/issues", Ok(&["a/one"][..]))]
    #[case(&["a/one"], "api.github.com", "GET /repos/a/other/issues", Ok(&["a/other"][..]))]
    #[case(&["a/one"], "api.github.com", "POST /graphql", Ok(&["a/one"][..]))]
    #[case(&["a/one", "b/two"], "api.github.com", "POST /graphql", Err(ScopeError::SeveralOwners))]
    #[case(&[], "api.github.com", "POST /graphql", Err(ScopeError::NoRepository("github.com".parse().unwrap())))]
    // The API's paths mean nothing at another host.
    #[case(&["a/one"], "github.com", "GET /repos/a/other/issues", Ok(&["a/one"][..]))]
    fn a_token_is_for_the_runs_repositories_of_one_owner(
        #[case] repositories: &[&str],
        #[case] host: &str,
        #[case] request: &str,
        #[case] expected: Result<&[&str], ScopeError>,
    ) {
        let expected = expected.map(|scope| scope.iter().map(ToString::to_string).collect::<Vec<String>>());
        assert_eq!(scope(repositories, host, request), expected);
    }
}
