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
        "has(self.preset) != (has(self.hosts) && size(self.hosts) > 0)",
        "a rule has either hosts or a preset, which names hosts itself: give one of them",
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
