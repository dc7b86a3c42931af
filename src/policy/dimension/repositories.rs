//! Which repositories a run may clone, and which hosts that opens to `prepare`.

use std::sync::Arc;

use ipnet::IpNet;

use crate::dimension::git::{GitHost, GitRule};
use crate::layer::meet::{Unmet, meet};
use crate::layer::parsed::ParsedPolicy;
use crate::layer::read::RepositoryGrant;
use crate::pattern::address::intersect;
use crate::pattern::reference::Reference;
use crate::pattern::repository::{RepositoryPattern, RepositoryUrl};
use crate::pattern::sorted;
use crate::refusal::{Layer, Refusal, ask_owner, nothing_matches, silence};
use crate::source::Source;
use cofferdam_api::{
    Access, CloneLfs, CloneOptions, CloneSubmodules, Exclude, ExcludeMode, Reason, Repository,
    SandboxPolicyDefaults,
};

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
    /// How much of it is cloned.
    pub clone: CloneOptions,
    /// What is not collected beside what its own rules ignore.
    pub exclude: Excluded,
}

/// Patterns in the spelling of `.gitignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excluded {
    /// Whether the built-in list of what tools leave behind does not count.
    pub keep_litter: bool,
    /// More patterns.
    pub patterns: Vec<String>,
}

impl Excluded {
    /// What the policy's default and the run's ask come to, in this order.
    fn of<'a>(said: impl Iterator<Item = &'a Exclude>) -> Self {
        said.fold(Self::default(), |mut excluded, next| {
            if next.mode == ExcludeMode::Replace {
                excluded = Self {
                    keep_litter: true,
                    patterns: Vec::new(),
                };
            }
            excluded.patterns.extend(next.patterns.iter().cloned());
            excluded
        })
    }
}

/// What one layer lets be cloned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneGrant {
    /// The layer.
    pub layer: String,
    /// Its patterns.
    pub urls: Vec<String>,
}

/// From where submodules may come. Only a commit says which there are, so `prepare` holds each to these grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submodules {
    /// What each layer that has an opinion lets be cloned.
    pub grants: Vec<CloneGrant>,
    /// Hosts of which every layer lets something be cloned.
    hosts: Vec<GitHost>,
    /// What each of these layers lets be cloned, with the credentials for it.
    rules: Vec<Vec<GitRule>>,
}

/// A repository with what every layer grants its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The repository.
    pub repository: AdmittedRepository,
    /// The last layer's rule; the others grant it too.
    pub source: Source,
    /// Credential with which it is cloned: the one that all rules which grant it and name one name.
    pub credential: Option<String>,
    addresses: Vec<IpNet>,
}

/// Decides about one repository of a run, of which the policy has `defaults`.
pub fn decide(
    repository: &Repository,
    defaults: Option<&SandboxPolicyDefaults>,
    layers: &[Arc<ParsedPolicy>],
) -> Result<Granted, Refusal> {
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
    let clone = repository.clone_options();
    let default = defaults.and_then(|defaults| defaults.exclude.as_ref());
    let met = meet(layers, |layer| {
        let rules = layer.repositories.as_ref()?;
        let mut matching = rules.iter().filter(|rule| rule.url.matches(&url)).peekable();
        Some(if let Some(first) = matching.peek() {
            let source = Source::Layer {
                layer: layer.layer.clone(),
                rule: format!("{RULE}.clone[{}]", first.name),
            };
            let matching: Vec<&RepositoryGrant> = matching.collect();
            let addresses = matching.iter().flat_map(|rule| rule.addresses.iter().copied());
            let named = matching.iter().filter_map(|rule| rule.credential.clone());
            Ok((
                source,
                sorted(addresses.collect()),
                named.collect::<Vec<String>>(),
            ))
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
    let met = grants.into_iter().reduce(|(_, a, mut named), (source, b, more)| {
        named.extend(more);
        (source, intersect(&a, &b), named)
    });
    let (source, addresses, named) = met.unwrap_or((Source::BuiltIn, Vec::new(), Vec::new()));
    let credential = match sorted(named).as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => {
            let why = format!(
                "the rules that grant it name different credentials for it: {}",
                several.join(", ")
            );
            let help =
                "ask whoever owns the policies to let their rules for it name one credential".to_owned();
            return Err(refusal(None, Vec::new(), why, help));
        }
    };
    Ok(Granted {
        addresses,
        source,
        credential,
        repository: AdmittedRepository {
            name: repository.name.clone(),
            url,
            reference: repository.reference.clone(),
            directory: repository.directory().to_owned(),
            access: repository.access,
            clone,
            exclude: Excluded::of(default.into_iter().chain(&repository.exclude)),
        },
    })
}

/// From where submodules and files of Git LFS may come, if any repository asks for its own.
pub fn submodules<'a>(repositories: &[Repository], layers: &'a [Arc<ParsedPolicy>]) -> Option<Submodules> {
    let wanted = |repository: &Repository| {
        let CloneOptions { submodules, lfs, .. } = repository.clone_options();
        submodules != CloneSubmodules::None || lfs != CloneLfs::Pointers
    };
    if !repositories.iter().any(wanted) {
        return None;
    }
    let opinions = || {
        let opinion = |layer: &'a Arc<ParsedPolicy>| Some((&layer.layer, layer.repositories.as_deref()?));
        layers.iter().filter_map(opinion)
    };
    let grants = opinions().map(|(layer, rules)| CloneGrant {
        layer: layer.to_string(),
        urls: rules.iter().map(|rule| rule.url.to_string()).collect(),
    });
    // Addresses are judged before any path is seen: within a layer a host gets the networks that all its rules grant.
    let hosts = opinions().map(|(_, rules)| {
        meet_hosts(rules.iter().map(|rule| GitHost {
            host: rule.url.host().clone(),
            port: rule.url.port(),
            addresses: rule.addresses.clone(),
            repositories: Vec::new(),
        }))
    });
    let hosts = hosts.reduce(|some, others| {
        let both = some.into_iter().filter_map(|one| {
            let other = others
                .iter()
                .find(|other| other.host == one.host && other.port == one.port)?;
            Some(GitHost {
                addresses: intersect(&one.addresses, &other.addresses),
                ..one
            })
        });
        both.collect()
    });
    let rules = opinions().map(|(layer, rules)| {
        let all = rules.iter().map(|rule| GitRule {
            rule: format!("{layer}/{}", rule.name),
            url: rule.url.clone(),
            credential: rule.credential.clone(),
        });
        all.collect()
    });
    Some(Submodules {
        grants: grants.collect(),
        hosts: hosts.unwrap_or_default(),
        rules: rules.collect(),
    })
}

/// One entry for each host and port. Addresses are judged before any path is seen, so repositories that share a host get
/// only the networks that are granted for all of them; hosts of submodules add nothing to those of repositories. Where
/// something of a host is cloned with a credential, its requests are judged by what may be read there.
pub(crate) fn git_hosts(granted: &[Granted], submodules: Option<&Submodules>) -> Vec<GitHost> {
    let asked = granted.iter().map(|granted| GitHost {
        host: granted.repository.url.host().clone(),
        port: granted.repository.url.port(),
        addresses: granted.addresses.clone(),
        repositories: Vec::new(),
    });
    let mut hosts = meet_hosts(asked);
    for more in submodules.into_iter().flat_map(|submodules| &submodules.hosts) {
        if !hosts
            .iter()
            .any(|known| known.host == more.host && known.port == more.port)
        {
            hosts.push(more.clone());
        }
    }
    let own: Vec<GitRule> = granted.iter().map(Granted::rule).collect();
    // Only the commits say which submodules there are; what every layer grants covers the repositories too.
    let rules = submodules.map_or(std::slice::from_ref(&own), |submodules| {
        submodules.rules.as_slice()
    });
    for host in &mut hosts {
        host.repositories = readable(host, rules);
    }
    sorted(hosts)
}

/// What the rules of each layer let be read at a host; nothing where no credential has a say, for then nobody looks.
fn readable(host: &GitHost, rules: &[Vec<GitRule>]) -> Vec<Vec<GitRule>> {
    let is_here = |rule: &&GitRule| *rule.url.host() == host.host && rule.url.port() == host.port;
    let here = |rules: &Vec<GitRule>| sorted(rules.iter().filter(is_here).cloned().collect());
    let layers: Vec<Vec<GitRule>> = rules.iter().map(here).collect();
    let has_credential = layers.iter().flatten().any(|rule| rule.credential.is_some());
    if has_credential { layers } else { Vec::new() }
}

impl Granted {
    /// The repository alone, as the gateway judges requests for it.
    fn rule(&self) -> GitRule {
        let AdmittedRepository { name, url, .. } = &self.repository;
        GitRule {
            rule: format!("AgentRun/repositories/{name}"),
            url: RepositoryPattern::of(url),
            credential: self.credential.clone(),
        }
    }
}

/// One entry for each host and port, with the networks that all its entries have.
fn meet_hosts(all: impl IntoIterator<Item = GitHost>) -> Vec<GitHost> {
    let mut hosts: Vec<GitHost> = Vec::new();
    for next in all {
        let known = hosts
            .iter_mut()
            .find(|known| known.host == next.host && known.port == next.port);
        match known {
            Some(known) => known.addresses = intersect(&known.addresses, &next.addresses),
            None => hosts.push(next),
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_extends_or_replaces_what_its_policy_excludes() {
        let say = |mode, pattern: &str| Exclude {
            mode,
            patterns: vec![pattern.to_owned()],
        };
        let (extend, replace) = (ExcludeMode::Extend, ExcludeMode::Replace);
        for (said, keep_litter, patterns) in [
            (vec![], false, vec![]),
            (vec![say(extend, "a")], false, vec!["a"]),
            (vec![say(extend, "a"), say(extend, "b")], false, vec!["a", "b"]),
            (vec![say(replace, "a"), say(extend, "b")], true, vec!["a", "b"]),
            (vec![say(extend, "a"), say(replace, "b")], true, vec!["b"]),
        ] {
            let excluded = Excluded::of(said.iter());
            assert_eq!(
                (excluded.keep_litter, excluded.patterns),
                (keep_litter, patterns.iter().map(ToString::to_string).collect())
            );
        }
    }
}
