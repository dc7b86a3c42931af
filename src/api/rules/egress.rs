//! CEL rules for what is reached.

use kube::core::Rule;

use super::{HOST_LABEL, rule};

/// Hosts of a rule, as `cofferdam_policy::pattern::host` reads them.
pub(crate) fn hosts() -> Rule {
    rule(
        format!("self.all(item, item.matches('^([*]|{HOST_LABEL})([.]{HOST_LABEL})+$'))"),
        "every item of hosts must be a full host name in lower case such as api.example.com, or one with '*' as its \
         whole first label",
    )
}

/// What looks like a host name and is none that a policy can grant.
pub(crate) fn hosts_are_not_addresses() -> Rule {
    rule(
        "self.all(item, !item.matches('(^|[.])(0x[0-9a-f]*|[0-9]+)$') && \
         (!item.startsWith('*.') || item.matches('^[*][.][^.]+[.].')))",
        "hosts must not be IP addresses, nor cover a whole top-level domain such as *.com: name hosts",
    )
}

/// Methods, as `cofferdam_policy::pattern::method` reads them.
pub(crate) fn methods() -> Rule {
    rule(
        "self.all(item, item.matches('^[A-Z]+(-[A-Z]+)*$') && !(item in ['CONNECT', 'TRACE', 'TRACK', 'PRI']))",
        "every item of methods must be a method in capitals such as GET; CONNECT, TRACE, TRACK and PRI are never served",
    )
}

/// Paths of requests, as `cofferdam_policy::pattern::path` reads them.
pub(crate) fn request_paths() -> Rule {
    let plain = "[-A-Za-z0-9._~!$&()+,=:@]";
    let encoded = "%[0-9A-Fa-f]{2}";
    rule(
        format!(
            "self.all(item, item.matches('^(/({plain}|{encoded}|[*]%2[Ff][*]?|%2[Ff][*])+|/[*])*(/|/[*][*])?([?]({plain}|{encoded}|[/?])*)?$') && \
             item.startsWith('/') && \
             !item.matches('%([01][0-9A-Fa-f]|2[Ee]|5[Cc]|7[Ff])|^[^?]*/[.]{{1,2}}(/|[?]|$)'))"
        ),
        "every item of paths must be a path such as /repos/team/*, /simple/** or /info/refs?service=git-upload-pack: whole \
         segments, '*' for one, '**' at the end only; no '//', '.', '..', ';' or '\\', none of them percent-encoded",
    )
}

/// A rule names its hosts in one way.
pub(crate) fn preset_or_hosts() -> Rule {
    rule(
        "(has(self.services) && size(self.services) > 0) ? !has(self.hosts) || size(self.hosts) == 0 : \
         has(self.preset) != (has(self.hosts) && size(self.hosts) > 0)",
        "a rule has either hosts or a preset, which names hosts itself, or it has services: give one of them",
    )
}

/// What a preset says is not said again. Passes what [`preset_or_hosts`] already refuses, so that each input gets one
/// message.
pub(crate) fn preset_says_the_rest() -> Rule {
    rule(
        "!has(self.preset) || (has(self.hosts) && size(self.hosts) > 0) || self.tls == 'Inspect' && self.ports == [443] && \
         (!has(self.methods) || size(self.methods) == 0) && (!has(self.paths) || size(self.paths) == 0)",
        "a preset has ports, methods and paths of its own and is inspected: leave ports, methods, paths and tls out, or write \
         a rule with hosts",
    )
}

/// What is said of hosts alone is not said of Services. Passes what [`preset_or_hosts`], [`preset_says_the_rest`] and
/// [`tunnel_is_unread`] already refuse, so that each input gets one message.
pub(crate) fn services_are_inspected() -> Rule {
    rule(
        "!has(self.services) || size(self.services) == 0 || has(self.preset) || has(self.hosts) && size(self.hosts) > 0 || \
         self.tls != 'Inspect' && (has(self.methods) && size(self.methods) > 0 || has(self.paths) && size(self.paths) > 0) || \
         self.tls == 'Inspect' && self.ports == [443] && (!has(self.addresses) || size(self.addresses) == 0)",
        "requests to services are always read, and a Service has its port and its address: leave ports, addresses and tls out",
    )
}

/// The API of a model is the same wherever it is served; that of a registry is not.
pub(crate) fn presets_of_services() -> Rule {
    rule(
        "!has(self.services) || size(self.services) == 0 || !has(self.preset) || self.preset in ['anthropic', 'gemini', 'openai'] \
         && (!has(self.addresses) || size(self.addresses) == 0)",
        "a rule with services can have the presets anthropic, gemini and openai, and no addresses: leave addresses out, or list \
         methods and paths",
    )
}

/// On the internet nobody knows who reads along.
pub(crate) fn clear_text_is_for_services() -> Rule {
    rule(
        "!has(self.credentialInClearText) || has(self.credential) && has(self.services) && size(self.services) > 0",
        "credentialInClearText is for the credential of a rule with services: leave it out",
    )
}

/// A namespace's own word does not put a credential on the wire.
pub(crate) fn clear_text_is_granted_above() -> Rule {
    rule(
        "!has(self.spec.limits.egress) || !has(self.spec.limits.egress.rules) || \
         self.spec.limits.egress.rules.all(item, !has(item.credentialInClearText) || item.credentialInClearText != 'Allow')",
        "credentialInClearText: Allow counts from a ClusterSandboxPolicy alone: leave it out here",
    )
}

/// The API server is no Service for agents. `namespace` is a word of CEL's own, and spelt otherwise there.
pub(crate) fn services_are_not_the_api_server() -> Rule {
    rule(
        "self.all(item, item.__namespace__ != 'default' || item.name != 'kubernetes')",
        "services must not name default/kubernetes: no agent reaches the API server",
    )
}

/// What passes unread cannot be told apart by what is asked.
pub(crate) fn tunnel_is_unread() -> Rule {
    rule(
        "self.tls != 'Tunnel' || (!has(self.methods) || size(self.methods) == 0) && (!has(self.paths) || size(self.paths) == 0)",
        "tls: Tunnel passes bytes unread, so methods and paths cannot be told: leave them out, or write tls: Inspect",
    )
}

/// A namespace's own word is no consent to bytes that nobody reads.
pub(crate) fn tunnels_are_granted_above() -> Rule {
    rule(
        "!has(self.spec.limits.tunnels) || self.spec.limits.tunnels != 'Allow'",
        "limits.tunnels: Allow counts from a ClusterSandboxPolicy alone: leave it out here, or write Deny",
    )
}

/// A namespace's own word is no consent to traffic without evidence.
pub(crate) fn continue_is_granted_above() -> Rule {
    rule(
        "!has(self.spec.limits.evidence) || !has(self.spec.limits.evidence.onSinkFailure) || \
         self.spec.limits.evidence.onSinkFailure != 'Continue'",
        "limits.evidence.onSinkFailure: Continue counts from a ClusterSandboxPolicy alone: leave it out here, or write Stop",
    )
}

/// A credential goes out with listed requests of named hosts alone.
pub(crate) fn credential_needs_requests() -> Rule {
    rule(
        "!has(self.credential) || has(self.preset) || (has(self.methods) && size(self.methods) > 0 && has(self.paths) && size(self.paths) > 0)",
        "a rule with a credential must list methods and paths, or have a preset: a credential may do more than the agent is to \
         do with it",
    )
}

/// Whoever can have a name below a wildcard would be sent the credential. Passes what [`credential_needs_requests`] already
/// refuses, so that each input gets one message.
pub(crate) fn credential_needs_exact_hosts() -> Rule {
    rule(
        "!has(self.credential) || !has(self.hosts) || !has(self.methods) || !has(self.paths) || self.hosts.all(host, !host.startsWith('*'))",
        "a rule with a credential must name its hosts in full: no '*'",
    )
}

/// Hosts by their whole names.
pub(crate) fn exact_hosts() -> Rule {
    rule(
        format!("self.all(item, item.matches('^{HOST_LABEL}([.]{HOST_LABEL})+$'))"),
        "every item of hosts must be a full host name in lower case such as api.example.com: no '*', no port",
    )
}

/// CIDRs.
pub(crate) fn cidrs() -> Rule {
    rule(
        "self.all(item, isCIDR(item))",
        "every item of addresses must be a CIDR such as 10.20.0.0/16 or fd12::/32",
    )
}
