//! Where what leaves a sandbox can end up: what is known of hosts that agents are often allowed to reach.
//!
//! This is data. A host is in the table only with a reason that anyone can check; of every other host nothing is claimed
//! ([`Exfiltration::Unknown`]), which is not the same as calling it harmless.

use serde::Serialize;

use crate::pattern::host::HostPattern;
use crate::pattern::service::ServiceName;

/// Who can receive what is sent to a host, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Exfiltration {
    /// Nothing goes out.
    Closed,
    /// Not known: at least whoever runs the host.
    Unknown,
    /// Whoever rents, or registers, there: an agent can bring an attacker's account along.
    TenantShared,
    /// Whoever is named in a request: the host fetches addresses, or calls services, that it is told.
    Relay,
}

impl Exfiltration {
    /// In a few words, for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Unknown => "unknown",
            Self::TenantShared => "tenant-shared host",
            Self::Relay => "relay",
        }
    }
}

/// What is known of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Who can receive.
    pub class: Exfiltration,
    /// Why.
    pub why: String,
}

/// Hosts meant by a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hosts {
    /// This one.
    One(&'static str),
    /// This one and everything below it.
    Below(&'static str),
}

/// One row: which hosts, what they are, why.
struct Known(Hosts, Exfiltration, &'static str);

use Exfiltration::{Relay, TenantShared};
use Hosts::{Below, One};

/// Hosts of model APIs (docs/design.md, rule 8), where a key spends money.
const MODELS: &[Known] = &[
    Known(
        One("api.anthropic.com"),
        Relay,
        "the model's provider fetches URLs and calls MCP servers that a request names",
    ),
    Known(
        One("api.openai.com"),
        Relay,
        "the model's provider fetches image URLs and calls MCP servers that a request names",
    ),
    Known(
        One("generativelanguage.googleapis.com"),
        Relay,
        "the model's provider fetches URLs that a request names (url_context)",
    ),
];

/// Every other host. If several rows of both tables match, the worst class holds, and of equal ones the first.
const OTHERS: &[Known] = &[
    // Package proxies that fetch from wherever the package's name points to.
    Known(
        One("proxy.golang.org"),
        Relay,
        "it fetches a module from the server that the module's path names",
    ),
    Known(
        One("sum.golang.org"),
        Relay,
        "it has a module fetched from the server that the module's path names",
    ),
    Known(
        One("web.archive.org"),
        Relay,
        "it fetches pages that it is told to save",
    ),
    // Forges: an attacker's token pushes to an attacker's repository.
    Known(
        Below("github.com"),
        TenantShared,
        "anyone can have an account there and receive pushes, issues and gists",
    ),
    Known(
        Below("gitlab.com"),
        TenantShared,
        "anyone can have an account there and receive pushes, issues and snippets",
    ),
    Known(
        Below("bitbucket.org"),
        TenantShared,
        "anyone can have an account there and receive pushes",
    ),
    Known(
        Below("codeberg.org"),
        TenantShared,
        "anyone can have an account there and receive pushes",
    ),
    Known(
        Below("dev.azure.com"),
        TenantShared,
        "anyone can have an organisation there and receive pushes",
    ),
    Known(
        Below("huggingface.co"),
        TenantShared,
        "anyone can have an account there and receive uploads",
    ),
    // Registries that take uploads at the host from which packages are read.
    Known(
        One("registry.npmjs.org"),
        TenantShared,
        "anyone can publish a package there",
    ),
    Known(
        One("upload.pypi.org"),
        TenantShared,
        "anyone can publish a package there",
    ),
    Known(
        One("crates.io"),
        TenantShared,
        "anyone can publish a package there",
    ),
    Known(
        One("rubygems.org"),
        TenantShared,
        "anyone can publish a package there",
    ),
    Known(One("ghcr.io"), TenantShared, "anyone can push an image there"),
    Known(One("quay.io"), TenantShared, "anyone can push an image there"),
    Known(
        One("registry-1.docker.io"),
        TenantShared,
        "anyone can push an image there",
    ),
    // Clouds: an interface that serves every customer takes any customer's credentials.
    Known(
        Below("amazonaws.com"),
        TenantShared,
        "any AWS account can receive there, in a bucket, a queue or a function",
    ),
    Known(
        Below("googleapis.com"),
        TenantShared,
        "any Google Cloud project can receive there, in a bucket or a table",
    ),
    Known(
        Below("core.windows.net"),
        TenantShared,
        "any Azure storage account can receive there",
    ),
    Known(
        One("hooks.slack.com"),
        TenantShared,
        "any workspace can receive messages there",
    ),
];

/// Every row.
fn known() -> impl Iterator<Item = &'static Known> {
    MODELS.iter().chain(OTHERS)
}

/// Whether the pattern names a host that is known to serve models.
pub fn is_model(pattern: &HostPattern) -> bool {
    MODELS.iter().any(|Known(hosts, ..)| hosts.meet(pattern))
}

/// What is known of the hosts that `pattern` names: the worst of them.
pub fn judge(pattern: &HostPattern) -> Judged {
    let rows = known().filter(|Known(hosts, ..)| hosts.meet(pattern));
    let worst = rows.reduce(|worst, next| if next.1 > worst.1 { next } else { worst });
    match (worst, rented_suffix(pattern)) {
        // No row is better than a rented name.
        (Some(Known(_, class, why)), _) => Judged {
            class: *class,
            why: (*why).to_owned(),
        },
        (None, Some(suffix)) => Judged {
            class: Exfiltration::TenantShared,
            why: format!("anyone can register a name under {suffix} (public suffix list, private section)"),
        },
        (None, None) => Judged {
            class: Exfiltration::Unknown,
            why: "Cofferdam knows nothing about this host. Assume that its operator can read and pass on whatever the agent sends".to_owned(),
        },
    }
}

/// What is known of a Service of the cluster.
pub fn of_service(service: &ServiceName) -> Judged {
    Judged {
        class: Exfiltration::Unknown,
        why: format!(
            "Service {service} of the cluster. Assume that whoever runs it, and every server to which it passes requests on, can \
             read and pass on whatever the agent sends"
        ),
    }
}

impl Hosts {
    /// Whether any host of `pattern` is meant.
    fn meet(self, pattern: &HostPattern) -> bool {
        match (self, pattern) {
            (One(name), HostPattern::Exact(host)) => host.as_str() == name,
            (One(name), HostPattern::Wildcard(rest)) => name
                .split_once('.')
                .is_some_and(|(_, parent)| parent == rest.as_str()),
            (Below(name), HostPattern::Exact(host)) => is_at_or_below(host.as_str(), name),
            (Below(name), HostPattern::Wildcard(rest)) => {
                is_at_or_below(rest.as_str(), name)
                    || name
                        .split_once('.')
                        .is_some_and(|(_, parent)| parent == rest.as_str())
            }
        }
    }
}

fn is_at_or_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name)
        .is_some_and(|labels| labels.is_empty() || labels.ends_with('.'))
}

/// The public suffix at or above the hosts, if it stands in the list's private section.
fn rented_suffix(pattern: &HostPattern) -> Option<&str> {
    let (HostPattern::Exact(host) | HostPattern::Wildcard(host)) = pattern;
    let suffix = psl::suffix(host.as_str().as_bytes())?;
    (suffix.typ() == Some(psl::Type::Private)).then(|| std::str::from_utf8(suffix.as_bytes()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::host::Host;
    use rstest::rstest;

    #[rstest]
    #[case("api.anthropic.com", Relay)]
    #[case("*.anthropic.com", Relay)]
    #[case("generativelanguage.googleapis.com", Relay)]
    #[case("storage.googleapis.com", TenantShared)]
    #[case("proxy.golang.org", Relay)]
    #[case("github.com", TenantShared)]
    #[case("api.github.com", TenantShared)]
    #[case("*.github.com", TenantShared)]
    #[case("attacker.s3.eu-west-1.amazonaws.com", TenantShared)]
    #[case("*.windows.net", TenantShared)]
    #[case("*.azure.com", TenantShared)]
    #[case("attacker.github.io", TenantShared)]
    #[case("raw.githubusercontent.com", TenantShared)]
    #[case("evil.workers.dev", TenantShared)]
    #[case("evilgithub.com", Exfiltration::Unknown)]
    #[case("github.com.example.org", Exfiltration::Unknown)]
    #[case("git.example.com", Exfiltration::Unknown)]
    #[case("*.example.co.uk", Exfiltration::Unknown)]
    fn hosts_are_judged_by_the_worst_that_is_known(#[case] pattern: &str, #[case] class: Exfiltration) {
        let judged = judge(&pattern.parse().unwrap());
        assert_eq!(judged.class, class, "{}", judged.why);
    }

    #[test]
    fn every_row_is_a_host_with_a_reason_and_only_once() {
        let mut seen = Vec::new();
        for Known(hosts, class, why) in known() {
            let (One(name) | Below(name)) = hosts;
            assert_eq!(Host::parse(name).unwrap().as_str(), *name);
            assert!(*class > Exfiltration::Unknown && !why.is_empty());
            assert!(!seen.contains(hosts), "{name} twice");
            seen.push(*hosts);
        }
    }
}
