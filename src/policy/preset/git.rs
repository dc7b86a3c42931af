//! What git asks for when it reads a repository over HTTPS ("smart" HTTP): the references and one pack. Pushing asks for
//! the same with `git-receive-pack`, which stands nowhere here.

use ipnet::IpNet;

use super::PresetError;
use crate::dimension::egress::EgressRule;
use crate::layer::read::RepositoryGrant;
use crate::pattern::host::HostPattern;
use crate::pattern::method::Method;
use crate::pattern::path::{PathError, PathPattern};
use crate::pattern::sorted;
use cofferdam_api::TlsMode;

/// Segments for which the `**` at the end of a repository's pattern stands: a path of requests has `**` at its end only.
const DEPTH: usize = 4;

/// The rules for reading the repositories of a pattern.
pub(super) fn rules(
    repository: &RepositoryGrant,
    name: &str,
    addresses: &[IpNet],
) -> Result<Vec<EgressRule>, PresetError> {
    let stems = stems(&repository.url.path().to_string());
    let rule = |method: &str, end: &str| -> Result<EgressRule, PresetError> {
        let paths = stems
            .iter()
            .map(|stem| PathPattern::parse(&format!("/{stem}{end}")));
        Ok(EgressRule {
            name: name.to_owned(),
            hosts: vec![HostPattern::Exact(repository.url.host().clone())],
            addresses: sorted([addresses, &repository.addresses].concat()),
            ports: vec![repository.url.port()],
            tls: TlsMode::Inspect,
            methods: vec![Method::parse(method)?],
            paths: sorted(paths.collect::<Result<_, PathError>>()?),
            credential: None,
            service: None,
        })
    };
    Ok(vec![
        rule("GET", "/info/refs?service=git-upload-pack")?,
        rule("POST", "/git-upload-pack")?,
    ])
}

/// The paths of the repositories meant, as git sends them: with `.git` and without where the name is known.
fn stems(pattern: &str) -> Vec<String> {
    if let Some(fixed) = pattern.strip_suffix("**") {
        let deeper = |depth| format!("{fixed}{}", vec!["*"; depth].join("/"));
        return (1..=DEPTH).map(deeper).collect();
    }
    if pattern.ends_with('*') {
        return vec![pattern.to_owned()];
    }
    vec![pattern.to_owned(), format!("{pattern}.git")]
}
