//! Requests that read a repository: git's smart protocol for fetching, and downloads of Git LFS. Nothing else that a server
//! of repositories offers is among them, such as a push or its own API.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::dimension::requests::Request;
use crate::pattern::host::Host;
use crate::pattern::path::Target;
use crate::pattern::repository::{RepositoryPattern, RepositoryUrl};

/// Repositories that `prepare` may read at a host whose requests are judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GitRule {
    /// Who grants them, as records name it.
    pub rule: String,
    /// Which ones.
    pub url: RepositoryPattern,
    /// Credential that the gateway adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Host of admitted repositories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GitHost {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// Networks that it may resolve to though not globally routable: what every layer grants.
    pub addresses: Vec<IpNet>,
    /// What may be read there, layer by layer, where something is read with a credential; empty: nobody looks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<Vec<GitRule>>,
}

/// The path of the repository that a request reads, without the slash before it and `.git` behind it; `None`: the request
/// does something else.
pub fn repository_read_by(request: &Request) -> Option<&str> {
    let path = request.target.path().strip_prefix('/')?;
    let repository = match (request.method.as_str(), request.target.query()) {
        ("GET", Some("service=git-upload-pack")) => path.strip_suffix("/info/refs"),
        ("POST", None) => path
            .strip_suffix("/git-upload-pack")
            .or_else(|| path.strip_suffix("/info/lfs/objects/batch")),
        ("GET", None) => of_object(path),
        _ => None,
    }?;
    let repository = repository.strip_suffix(".git").unwrap_or(repository);
    (!repository.is_empty()).then_some(repository)
}

/// The first request of a clone; `None`: the url has a path that no request has.
pub fn reading_refs(url: &RepositoryUrl) -> Option<Request> {
    let target = format!("/{}/info/refs?service=git-upload-pack", url.path());
    Some(Request {
        method: "GET".parse().ok()?,
        target: Target::parse(&target).ok()?,
    })
}

/// Where servers have the content of a file of Git LFS: GitHub's protocol and most others, GitLab.
fn of_object(path: &str) -> Option<&str> {
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (before, last) = path.rsplit_once('/')?;
    if is_id(last) {
        return before.strip_suffix("/info/lfs/objects");
    }
    let is_size = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    let (before, id) = before.rsplit_once('/').filter(|_| is_size)?;
    before.strip_suffix("/gitlab-lfs/objects").filter(|_| is_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::path::Target;
    use rstest::rstest;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[rstest]
    #[case("GET /team/app.git/info/refs?service=git-upload-pack", Some("team/app"))]
    #[case("GET /team/app/info/refs?service=git-upload-pack", Some("team/app"))]
    #[case("POST /team/app.git/git-upload-pack", Some("team/app"))]
    #[case("POST /team/app.git/info/lfs/objects/batch", Some("team/app"))]
    #[case("GET /team/app.git/info/lfs/objects/ID", Some("team/app"))]
    #[case("GET /team/app.git/gitlab-lfs/objects/ID/12", Some("team/app"))]
    #[case(
        "GET /org/My%20Project/_git/shop/info/refs?service=git-upload-pack",
        Some("org/My%20Project/_git/shop")
    )]
    #[case("GET /team/app.git/info/refs?service=git-receive-pack", None)]
    #[case("GET /team/app.git/info/refs", None)]
    #[case("GET /team/app.git/info/refs?service=git-upload-pack&x=y", None)]
    #[case("POST /team/app.git/git-receive-pack", None)]
    #[case("POST /team/app.git/git-upload-pack?x", None)]
    #[case("PUT /team/app.git/info/lfs/objects/ID", None)]
    #[case("POST /team/app.git/info/lfs/locks", None)]
    #[case("GET /team/app.git/gitlab-lfs/objects/ID/x", None)]
    #[case("GET /api/v4/projects", None)]
    #[case("GET /info/refs?service=git-upload-pack", None)]
    #[case("GET /.git/info/refs?service=git-upload-pack", None)]
    fn what_reads_a_repository(#[case] request: &str, #[case] expected: Option<&str>) {
        let request = request.replace("ID", ID);
        let (method, target) = request.split_once(' ').unwrap();
        let request = Request {
            method: method.parse().unwrap(),
            target: Target::parse(target).unwrap(),
        };
        assert_eq!(repository_read_by(&request), expected);
    }
}
