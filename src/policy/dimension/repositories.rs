//! Which repositories a run may clone, and which hosts that opens to `prepare`.

use std::sync::Arc;

use ipnet::IpNet;

use crate::frozen::GitHost;
use crate::layer::meet::{Unmet, meet};
use crate::layer::parsed::ParsedPolicy;
use crate::pattern::address::intersect;
use crate::pattern::reference::Reference;
use crate::pattern::repository::RepositoryUrl;
use crate::pattern::sorted;
use crate::refusal::{Layer, Refusal, ask_owner, nothing_matches, silence};
use crate::source::Source;
use cofferdam_api::{Access, Reason, Repository};

/// A repository that may be cloned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedRepository {
    /// Name within the run.
    pub name: String,
    /// Where it is.
    pub url: RepositoryUrl,
    /// Branch, tag, other reference or commit; absent: the remote's HEAD.
    pub reference: Option<String>,
    /// Directory below `/workspace`.
    pub directory: String,
    /// What the agent may do with it.
    pub access: Access,
}

/// A repository with what every layer grants its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The repository.
    pub repository: AdmittedRepository,
    /// The last layer's rule; the others grant it too.
    pub source: Source,
    addresses: Vec<IpNet>,
}

/// Decides about one repository of a run.
pub fn decide(repository: &Repository, layers: &[Arc<ParsedPolicy>]) -> Result<Granted, Refusal> {
    const RULE: &str = "limits.repositories";
    let field = format!("spec.repositories[{}].url", repository.name);
    let refusal = |layer: Option<&Layer>, allowed, why: String, help: String| Refusal {
        reason: Reason::PolicyDenied,
        layer: layer.cloned(),
        field: field.clone(),
        rule: layer.map(|_| format!("{RULE}.clone")),
        offered: repository.url.clone(),
        allowed,
        why,
        help,
    };
    let url = RepositoryUrl::parse(&repository.url).map_err(|error| {
        let help = "write https://host/path, with %20 for a space in it".to_owned();
        refusal(None, Vec::new(), error.to_string(), help)
    })?;
    if let Some(text) = &repository.reference {
        Reference::parse(text).map_err(|error| Refusal {
            field: format!("spec.repositories[{}].ref", repository.name),
            offered: text.clone(),
            ..refusal(None, Vec::new(), error.to_string(), error.help().to_owned())
        })?;
    }
    let met = meet(layers, |layer| {
        let rules = layer.repositories.as_ref()?;
        let mut matching = rules.iter().filter(|rule| rule.url.matches(&url)).peekable();
        Some(if let Some(first) = matching.peek() {
            let source = Source::Layer {
                layer: layer.layer.clone(),
                rule: format!("{RULE}.clone[{}]", first.name),
            };
            let addresses = matching.flat_map(|rule| rule.addresses.iter().copied());
            Ok((source, sorted(addresses.collect())))
        } else {
            let allowed = rules.iter().map(|rule| rule.url.to_string()).collect();
            Err(refusal(
                Some(&layer.layer),
                allowed,
                nothing_matches(rules.len(), &url),
                ask_owner(&layer.layer),
            ))
        })
    });
    let grants = met.map_err(|denial| match denial {
        Unmet::Refused(refusal) => refusal,
        Unmet::NoOpinion => silence(Reason::PolicyDenied, &field, RULE, &repository.url),
    })?;
    let met = grants
        .into_iter()
        .reduce(|(_, a), (source, b)| (source, intersect(&a, &b)));
    let (source, addresses) = met.unwrap_or((Source::BuiltIn, Vec::new()));
    Ok(Granted {
        addresses,
        source,
        repository: AdmittedRepository {
            name: repository.name.clone(),
            url,
            reference: repository.reference.clone(),
            directory: repository.directory().to_owned(),
            access: repository.access,
        },
    })
}

/// One entry for each host and port. The gateway sees no path, so repositories that share a host get only the
/// networks that are granted for all of them.
pub(crate) fn git_hosts<'a>(granted: impl IntoIterator<Item = &'a Granted>) -> Vec<GitHost> {
    let mut hosts: Vec<GitHost> = Vec::new();
    for Granted {
        repository,
        addresses,
        ..
    } in granted
    {
        let (host, port) = (repository.url.host(), repository.url.port());
        if let Some(known) = hosts
            .iter_mut()
            .find(|known| known.host == *host && known.port == port)
        {
            known.addresses = intersect(&known.addresses, addresses);
        } else {
            hosts.push(GitHost {
                host: host.clone(),
                port,
                addresses: addresses.clone(),
            });
        }
    }
    sorted(hosts)
}
