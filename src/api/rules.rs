//! CEL rules that the resources share. Every message names the field and the fix.

use kube::core::Rule;

use super::credential::OTHER_HEADERS;
use super::env::{RESERVED, RESERVED_PREFIX};

/// A DNS label, without its bound on length.
const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A DNS subdomain, without its bound on length.
const DNS_SUBDOMAIN: &str = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";
/// One label of a host name.
const HOST_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// A rule of one object, with its message.
fn rule(cel: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule {
        message: Some(kube::core::Message::Message(message.into())),
        ..Rule::new(cel)
    }
}

/// A field of the spec that never changes, required or not.
pub(super) fn immutable(field: &str) -> Rule {
    rule(
        format!(
            "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        ),
        format!("spec.{field} is immutable: create a new AgentRun with another name instead"),
    )
}

/// The object's own name is a DNS label.
pub(super) fn named_by_label(why: &str) -> Rule {
    rule(
        format!("size(self.metadata.name) <= 63 && self.metadata.name.matches('{DNS_LABEL}')"),
        format!(
            "metadata.name must be a DNS label of at most 63 characters (a-z, 0-9 and '-', no dots), because {why}"
        ),
    )
}

/// A string that is a DNS label.
pub(super) fn label(field: &str) -> Rule {
    rule(
        format!("self.matches('{DNS_LABEL}')"),
        format!("{field} must be a DNS label: a-z, 0-9 and '-', starting and ending with a letter or digit"),
    )
}

/// A text for people, on one line: no control characters, no separators of lines or paragraphs, and none of the invisible
/// format characters (bidirectional overrides, zero-width ones) that make a name look like another.
pub(super) fn printable(field: &str) -> Rule {
    rule(
        r"!self.matches('[\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]')",
        format!("{field} must be one line without control characters or invisible ones: remove them"),
    )
}

/// A string that is a DNS subdomain.
pub(super) fn subdomain(field: &str) -> Rule {
    rule(
        format!("self.matches('{DNS_SUBDOMAIN}')"),
        format!(
            "{field} must be a DNS name: a-z, 0-9, '-' and '.', starting and ending with a letter or digit"
        ),
    )
}

/// Every item of a list is a DNS subdomain.
pub(super) fn subdomains(field: &str) -> Rule {
    rule(
        format!("self.all(item, item.matches('{DNS_SUBDOMAIN}'))"),
        format!(
            "every item of {field} must be a DNS name: a-z, 0-9, '-' and '.', starting and ending with a letter or digit"
        ),
    )
}

/// `mode: AllowList` has a list, because serializers drop empty ones and a dropped list would look like no opinion.
pub(super) fn allow_list_needs(list: &str) -> Rule {
    rule(
        format!("self.mode != 'AllowList' || (has(self.{list}) && size(self.{list}) > 0)"),
        format!(
            "mode AllowList needs at least one item in {list}: add one, or write mode: DenyAll to allow nothing"
        ),
    )
}

/// `mode: DenyAll` has none.
pub(super) fn deny_all_forbids(list: &str) -> Rule {
    rule(
        format!("self.mode != 'DenyAll' || !has(self.{list}) || size(self.{list}) == 0"),
        format!(
            "mode DenyAll allows nothing, so {list} must be left out: remove it, or write mode: AllowList"
        ),
    )
}

/// A start can be put off, a run that has started can only be cancelled.
pub(super) fn suspend_before_start() -> Rule {
    rule(
        "!self.spec.suspend || oldSelf.spec.suspend || !has(self.status) || !has(self.status.startTime)",
        "spec.suspend cannot be set after the run has started: set spec.cancel to end it",
    )
}

/// A cancelled run stays cancelled.
pub(super) fn cancel_one_way() -> Rule {
    rule(
        "!has(oldSelf.cancel) || (has(self.cancel) && (self.cancel == oldSelf.cancel || self.cancel == 'DiscardWork'))",
        "spec.cancel cannot be taken back: it can only go from KeepWork to DiscardWork",
    )
}

/// A union.
pub(super) fn exactly_one(first: &str, second: &str) -> Rule {
    rule(
        format!("has(self.{first}) != has(self.{second})"),
        format!("exactly one of {first} and {second} must be given"),
    )
}

/// An image reference, as `cofferdam_policy::pattern::image` reads it.
pub(super) fn image_reference() -> Rule {
    let segment = "[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*";
    let registry = "[a-z0-9]([-.a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?/";
    let tag = "(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?";
    let digest = "(@sha256:[a-f0-9]{64}|@sha512:[a-f0-9]{128})?";
    rule(
        format!("self.matches('^({registry})?{segment}(/{segment})*{tag}{digest}$')"),
        "image must be registry/repository:tag or registry/repository@sha256:…, in lower case but for the tag",
    )
}

/// Patterns of images, as `cofferdam_policy::pattern::image` reads them.
pub(super) fn image_patterns() -> Rule {
    rule(
        "self.all(item, item.matches('^[a-z0-9][-a-z0-9.:]*(/[a-z0-9][-a-z0-9._]*|/[*])*(/[*][*])?(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@sha(256|512):[a-f0-9]+)?$'))",
        "every item of allowed must be registry/repository with '*' for one whole segment and '**' for the rest, such as \
         ghcr.io/team/*, and may end in :tag or @sha256:…",
    )
}

/// A registry alone names no image: without a slash its name would be that of an image of docker.io.
pub(super) fn image_patterns_are_no_registries() -> Rule {
    rule(
        "self.all(item, item.contains('/') || !item.matches('^([^:@]*[.][^:@]*|localhost)([:@]|$)'))",
        "an item of allowed is a registry alone, which names no image: write registry/**, such as ghcr.io/**",
    )
}

/// A key of a ConfigMap.
pub(super) fn config_map_key() -> Rule {
    rule(
        "self.matches('^[-._a-zA-Z0-9]+$')",
        "configMapKeyRef.key must be a key of the ConfigMap: letters, digits, '-', '_' and '.'",
    )
}

/// Digest of a prompt.
pub(super) fn prompt_digest() -> Rule {
    rule(
        "self.matches('^sha256:[0-9a-f]{64}$')",
        "configMapKeyRef.digest must be sha256: and the 64 digits that sha256sum prints of the prompt",
    )
}

/// A variable's name that a shell can hold.
pub(super) fn variable_name() -> Rule {
    rule(
        "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
        "name must consist of letters, digits and '_', and must not start with a digit",
    )
}

/// Variables that the sandbox sets itself.
pub(super) fn variable_not_reserved() -> Rule {
    let names = RESERVED
        .iter()
        .map(|name| format!("'{name}'"))
        .collect::<Vec<_>>()
        .join(",");
    rule(
        format!("!self.startsWith('{RESERVED_PREFIX}') && !(self in [{names}])"),
        "name is one that the sandbox sets itself (HOME, proxies, certificate authorities, COFFERDAM_*): remove it from env",
    )
}

/// Only https can be cloned.
pub(super) fn repository_is_https() -> Rule {
    rule(
        "self.startsWith('https://')",
        "url must start with https://: nothing else can be cloned (git@host:path is https://host/path)",
    )
}

/// No credentials in URLs. Passes what [`repository_is_https`] already refuses, so that each input gets one message.
pub(super) fn repository_without_user() -> Rule {
    rule(
        "!self.startsWith('https://') || !self.contains('@')",
        "url must not carry user information: a sandbox holds no credentials, leave it out",
    )
}

/// The rest of a URL, as `cofferdam_policy::pattern::repository` reads it. Passes what the two rules before it already
/// refuse, so that each input gets one message.
pub(super) fn repository_url() -> Rule {
    rule(
        "!self.startsWith('https://') || self.contains('@') || \
         (self.matches('^https://[A-Za-z0-9.-]+(:[1-9][0-9]{0,4})?(/([A-Za-z0-9._~+-]|%[0-9A-Fa-f]{2})+)+/?$') && \
         !self.matches('%([01][0-9A-Fa-f]|2[5Ff]|5[Cc]|7[Ff])'))",
        "url must be https://host[:port]/path, without query, fragment or empty segments, percent-encoded at most where it \
         must be, such as %20 for a space",
    )
}

/// Pattern of repositories, as `cofferdam_policy::pattern::repository` reads it.
pub(super) fn repository_pattern() -> Rule {
    let segment = "/(([A-Za-z0-9._~+-]|%[0-9A-Fa-f]{2})+|[*])";
    rule(
        format!(
            "self.matches('^https://[A-Za-z0-9.-]+(:[1-9][0-9]{{0,4}})?({segment})*(/[*][*])?$') && !self.endsWith('/') && self.matches('^https://[^/]+/') && !self.matches('%([01][0-9A-Fa-f]|2[5Ff]|5[Cc]|7[Ff])')"
        ),
        "url must be https://host[:port]/path with '*' for one whole segment and '**' for the rest, such as https://github.com/team/*",
    )
}

/// A git reference, as `cofferdam_policy::pattern::reference` reads it.
pub(super) fn git_reference() -> Rule {
    rule(
        r"!self.matches('^-|[.][.]|@[{]|//|^/|/$|(^|/)[.]|[.](/|$)|[.]lock(/|$)|[\\p{Cc}\\p{Cf}\\p{Z}~^:?*\\[\\\\]')",
        "ref must be HEAD, a branch, a tag, a full name such as refs/pull/5/head, or a commit, as git writes them: no spaces or \
         invisible characters, none of ~ ^ : ? * [ \\, no '-' at the start, no '..', no part that is empty, starts or ends with \
         '.' or ends in '.lock'",
    )
}

/// A commit that is not of a repository with SHA-256 objects.
pub(super) fn git_reference_not_sha256() -> Rule {
    rule(
        "!self.matches('^[0-9a-fA-F]{64}$')",
        "ref must not be the id of a SHA-256 object: repositories with such objects are not supported",
    )
}

/// Directories of a sparse work tree.
pub(super) fn sparse_directories() -> Rule {
    rule(
        r#"self.all(item, !item.matches('^/|/$|(^|/)[.]{0,2}(/|$)|^[!#]|[\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}*?\\[\\\\"]| $'))"#,
        "every item of sparse must be a directory of the repository such as src/app: no '/' at an end, no '.' or '..', no \
         patterns",
    )
}

/// Patterns of `.gitignore`, one a line.
pub(super) fn exclude_patterns() -> Rule {
    rule(
        r"self.all(item, !item.matches('^#|^[ ]*$|[\\p{Cc}]'))",
        "every item of patterns must be a pattern as in .gitignore: not blank, no '#' at the start, no control characters",
    )
}

/// No two repositories share a directory.
pub(super) fn directories_unique() -> Rule {
    let directory = |item: &str| format!("(has({item}.path) ? {item}.path : {item}.name)");
    rule(
        format!(
            "self.all(one, self.exists_one(other, {} == {}))",
            directory("one"),
            directory("other")
        ),
        "each of repositories needs a directory of its own: give them different values of path (where path is left out, name counts)",
    )
}

/// Hosts of a rule, as `cofferdam_policy::pattern::host` reads them.
pub(super) fn hosts() -> Rule {
    rule(
        format!("self.all(item, item.matches('^([*]|{HOST_LABEL})([.]{HOST_LABEL})+$'))"),
        "every item of hosts must be a full host name in lower case such as api.example.com, or one with '*' as its \
         whole first label",
    )
}

/// What looks like a host name and is none that a policy can grant.
pub(super) fn hosts_are_not_addresses() -> Rule {
    rule(
        "self.all(item, !item.matches('(^|[.])(0x[0-9a-f]*|[0-9]+)$') && \
         (!item.startsWith('*.') || item.matches('^[*][.][^.]+[.].')))",
        "hosts must not be IP addresses, nor cover a whole top-level domain such as *.com: name hosts",
    )
}

/// Methods, as `cofferdam_policy::pattern::method` reads them.
pub(super) fn methods() -> Rule {
    rule(
        "self.all(item, item.matches('^[A-Z]+(-[A-Z]+)*$') && !(item in ['CONNECT', 'TRACE', 'TRACK', 'PRI']))",
        "every item of methods must be a method in capitals such as GET; CONNECT, TRACE, TRACK and PRI are never served",
    )
}

/// Paths of requests, as `cofferdam_policy::pattern::path` reads them.
pub(super) fn request_paths() -> Rule {
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
pub(super) fn preset_or_hosts() -> Rule {
    rule(
        "has(self.preset) != (has(self.hosts) && size(self.hosts) > 0)",
        "a rule has either hosts or a preset, which names hosts itself: give one of them",
    )
}

/// What a preset says is not said again. Passes what [`preset_or_hosts`] already refuses, so that each input gets one
/// message.
pub(super) fn preset_says_the_rest() -> Rule {
    rule(
        "!has(self.preset) || (has(self.hosts) && size(self.hosts) > 0) || self.tls == 'Inspect' && self.ports == [443] && \
         (!has(self.methods) || size(self.methods) == 0) && (!has(self.paths) || size(self.paths) == 0)",
        "a preset has ports, methods and paths of its own and is inspected: leave ports, methods, paths and tls out, or write \
         a rule with hosts",
    )
}

/// What passes unread cannot be told apart by what is asked.
pub(super) fn tunnel_is_unread() -> Rule {
    rule(
        "self.tls != 'Tunnel' || (!has(self.methods) || size(self.methods) == 0) && (!has(self.paths) || size(self.paths) == 0)",
        "tls: Tunnel passes bytes unread, so methods and paths cannot be told: leave them out, or write tls: Inspect",
    )
}

/// A namespace's own word is no consent to bytes that nobody reads.
pub(super) fn tunnels_are_granted_above() -> Rule {
    rule(
        "!has(self.spec.limits.tunnels) || self.spec.limits.tunnels != 'Allow'",
        "limits.tunnels: Allow counts from a ClusterSandboxPolicy alone: leave it out here, or write Deny",
    )
}

/// A credential goes out with listed requests of named hosts alone.
pub(super) fn credential_needs_requests() -> Rule {
    rule(
        "!has(self.credential) || has(self.preset) || (has(self.methods) && size(self.methods) > 0 && has(self.paths) && size(self.paths) > 0)",
        "a rule with a credential must list methods and paths, or have a preset: a credential may do more than the agent is to \
         do with it",
    )
}

/// Whoever can have a name below a wildcard would be sent the credential. Passes what [`credential_needs_requests`] already
/// refuses, so that each input gets one message.
pub(super) fn credential_needs_exact_hosts() -> Rule {
    rule(
        "!has(self.credential) || !has(self.hosts) || !has(self.methods) || !has(self.paths) || self.hosts.all(host, !host.startsWith('*'))",
        "a rule with a credential must name its hosts in full: no '*'",
    )
}

/// Hosts by their whole names.
pub(super) fn exact_hosts() -> Rule {
    rule(
        format!("self.all(item, item.matches('^{HOST_LABEL}([.]{HOST_LABEL})+$'))"),
        "every item of hosts must be a full host name in lower case such as api.example.com: no '*', no port",
    )
}

/// A key of a Secret.
pub(super) fn secret_key() -> Rule {
    rule(
        "self.matches('^[-._a-zA-Z0-9]+$')",
        "secretKey must be a key of the Secret: letters, digits, '-', '_' and '.'",
    )
}

/// Name of a header.
pub(super) fn header_name() -> Rule {
    rule(
        "self.matches('^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$')",
        "header must be the name of an HTTP header such as Authorization or x-api-key: letters, digits and single '-'",
    )
}

/// Headers that say something else than who asks.
pub(super) fn header_carries_credentials() -> Rule {
    let names = OTHER_HEADERS.join("|");
    rule(
        format!("!self.matches('(?i)^({names}|proxy-.*|x-forwarded-.*)$')"),
        "header is one that the gateway or the server uses for something else: name one that carries credentials",
    )
}

/// Word before a credential.
pub(super) fn authentication_scheme() -> Rule {
    rule(
        "self.matches('^[A-Za-z][-A-Za-z0-9]*$')",
        "scheme must be a word such as Bearer: letters, digits and '-'",
    )
}

/// User name of basic authentication.
pub(super) fn basic_username() -> Rule {
    rule(
        "self.matches('^[-A-Za-z0-9._@+~=]+$')",
        "username must consist of letters, digits and - . _ @ + ~ =",
    )
}

/// Beginning of a placeholder.
pub(super) fn placeholder_prefix() -> Rule {
    rule(
        "self.matches('^[A-Za-z0-9][-A-Za-z0-9_]*$')",
        "prefix must consist of letters, digits, '-' and '_', and start with a letter or digit",
    )
}

/// CIDRs.
pub(super) fn cidrs() -> Rule {
    rule(
        "self.all(item, isCIDR(item))",
        "every item of addresses must be a CIDR such as 10.20.0.0/16 or fd12::/32",
    )
}

/// Names of resources that an agent can have.
pub(super) fn resource_names() -> Rule {
    rule(
        "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'])",
        "only cpu, memory and ephemeral-storage can be given here: remove the others",
    )
}

/// Amounts that mean something: zero would mean no limit to a kubelet.
pub(super) fn resource_amounts() -> Rule {
    rule(
        "self.all(name, isQuantity(self[name]) && quantity(self[name]).isGreaterThan(quantity('0')))",
        "every amount must be a quantity of more than zero, such as 500m or 4Gi",
    )
}

/// Amounts of memory and storage below which no container starts: nearly always a unit that was not meant. Passes what
/// [`resource_amounts`] already refuses, so that each input gets one message.
pub(super) fn amounts_of_bytes() -> Rule {
    rule(
        "self.all(name, !(name in ['memory', 'ephemeral-storage']) || !isQuantity(self[name]) || !quantity(self[name]).isGreaterThan(quantity('0')) || \
         quantity(self[name]).compareTo(quantity('1Mi')) >= 0)",
        "memory and ephemeral-storage must be at least 1Mi: 512Mi are mebibytes, while 512m is half a byte and 512 are bytes",
    )
}

/// Requests within limits.
pub(super) fn requests_within_limits() -> Rule {
    rule(
        "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || \
         !isQuantity(self.requests[name]) || !isQuantity(self.limits[name]) || \
         quantity(self.requests[name]).compareTo(quantity(self.limits[name])) <= 0)",
        "requests must not be above limits: lower the request or raise the limit of the same resource",
    )
}

/// Operators of a selector and their values.
pub(super) fn selector_values() -> Rule {
    rule(
        "!has(self.matchExpressions) || self.matchExpressions.all(item, item.operator in ['In', 'NotIn'] ? \
         has(item.values) && size(item.values) > 0 : !has(item.values) || size(item.values) == 0)",
        "matchExpressions with operator In or NotIn need values, those with Exists or DoesNotExist must have none",
    )
}
