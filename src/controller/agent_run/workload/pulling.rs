//! When the kubelet pulls the images of a run's pod.

use crate::config;
use cofferdam_api::PullPolicy;

/// For the agent's image: the policies' word, else Kubernetes' own rule.
pub fn agent(image: &str, demanded: Option<PullPolicy>) -> &'static str {
    demanded.map_or_else(|| default(image), word)
}

/// For our own image: the policies can make the installation's word stricter. `Never` is of images that no registry
/// has, so only `Always` overrules it.
pub const fn ours(configured: config::PullPolicy, demanded: Option<PullPolicy>) -> &'static str {
    match demanded {
        Some(PullPolicy::Always) => word(PullPolicy::Always),
        Some(PullPolicy::IfNotPresent) | None => configured.as_str(),
    }
}

const fn word(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
    }
}

/// Kubernetes' rule where no policy is given: `Always` for `:latest` or no tag, `IfNotPresent` for a tag or digest.
fn default(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let tag = last.rsplit_once(':').map(|(_, tag)| tag);
    match tag {
        _ if image.contains('@') => "IfNotPresent",
        None | Some("latest") => "Always",
        Some(_) => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_api::PullPolicy::{Always, IfNotPresent};

    #[test]
    fn where_no_policy_speaks_kubernetes_own_rule_holds() {
        for (image, policy) in [
            ("busybox", "Always"),
            ("busybox:latest", "Always"),
            ("registry:5000/team/agent", "Always"),
            ("registry:5000/team/agent:v1", "IfNotPresent"),
            ("agent@sha256:0000", "IfNotPresent"),
            ("agent:latest@sha256:0000", "IfNotPresent"),
        ] {
            assert_eq!(agent(image, None), policy, "{image}");
        }
    }

    #[test]
    fn a_policy_overrules_it() {
        assert_eq!(agent("agent:v1", Some(Always)), "Always");
        assert_eq!(agent("agent:latest", Some(IfNotPresent)), "IfNotPresent");
    }

    #[test]
    fn for_our_own_image_a_policy_is_only_ever_stricter() {
        for (configured, demanded, expected) in [
            (config::PullPolicy::Never, None, "Never"),
            (config::PullPolicy::Never, Some(IfNotPresent), "Never"),
            (config::PullPolicy::Never, Some(Always), "Always"),
            (config::PullPolicy::Always, Some(IfNotPresent), "Always"),
            (
                config::PullPolicy::IfNotPresent,
                Some(IfNotPresent),
                "IfNotPresent",
            ),
            (config::PullPolicy::IfNotPresent, Some(Always), "Always"),
        ] {
            assert_eq!(ours(configured, demanded), expected, "{configured} {demanded:?}");
        }
    }
}
