//! CEL rules of the resources. Every message names the field and the fix.

use kube::core::Rule;

use super::env::{RESERVED, RESERVED_PREFIX};

pub(super) use self::credential::{
    app_of_its_type, app_permissions, authentication_scheme, basic_username, forge_url,
    header_carries_credentials, header_name, placeholder_prefix, secret_key,
};
pub(super) use self::egress::{
    cidrs, clear_text_is_for_services, clear_text_is_granted_above, continue_is_granted_above,
    credential_needs_exact_hosts, credential_needs_requests, exact_hosts, hosts, hosts_are_not_addresses,
    methods, preset_or_hosts, preset_says_the_rest, presets_of_services, request_paths,
    services_are_inspected, services_are_not_the_api_server, tunnel_is_unread, tunnels_are_granted_above,
};
pub(super) use self::repositories::{
    directories_unique, exclude_patterns, git_reference, git_reference_not_sha256, repository_is_https,
    repository_pattern, repository_url, repository_without_user, sparse_directories,
};

mod credential;
mod egress;
mod repositories;

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

/// An image that is named by its digest.
pub(super) fn image_by_digest() -> Rule {
    rule(
        "self.contains('@')",
        "image of a profile must be named by its digest, registry/repository@sha256:… (crane digest shows it)",
    )
}

/// A run names an image, or a profile that has one.
pub(super) fn image_or_profile() -> Rule {
    rule(
        "has(self.agentProfile) != (has(self.agent) && has(self.agent.image))",
        "exactly one of agent.image and agentProfile must be given: name an image, or an agent that a policy offers",
    )
}

/// The command is part of a profile.
pub(super) fn profile_has_the_command() -> Rule {
    rule(
        "!has(self.agentProfile) || !has(self.agent) || !has(self.agent.command) || size(self.agent.command) == 0",
        "agent.command cannot be given with agentProfile, which has one: leave it out, or name agent.image instead of a profile",
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
