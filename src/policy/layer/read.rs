//! Reads what a policy lists, or says which item cannot be read.

use std::fmt::Display;

use ipnet::IpNet;

use crate::pattern::image::ImageReference;
use crate::pattern::repository::RepositoryPattern;
use crate::pattern::sorted;
use crate::refusal::{Layer, Refusal};
use cofferdam_api::{AgentProfile, Mode, Reason, RepositoryLimits};

/// A rule for repositories.
#[derive(Clone, Debug)]
pub struct RepositoryGrant {
    /// Name of the rule.
    pub name: String,
    /// Which ones.
    pub url: RepositoryPattern,
    /// Networks that their host may resolve to though not globally routable.
    pub addresses: Vec<IpNet>,
    /// Credential with which they are cloned.
    pub credential: Option<String>,
}

/// A policy that cannot be read refuses every run under it.
pub(crate) fn unreadable(layer: &Layer, field: &str, offered: &str, error: &dyn Display) -> Refusal {
    Refusal {
        reason: Reason::PolicyDenied,
        layer: Some(layer.clone()),
        field: format!("spec.{field}"),
        rule: None,
        offered: offered.to_owned(),
        allowed: Vec::new(),
        why: error.to_string(),
        help: format!("correct {layer}: no run starts under a policy that cannot be read"),
    }
}

/// Reads every item of a list, or says which one cannot be read.
pub(crate) fn read_all<T, E: Display>(
    layer: &Layer,
    field: &str,
    items: &[String],
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Refusal> {
    items
        .iter()
        .map(|item| read(item).map_err(|error| unreadable(layer, field, item, &error)))
        .collect()
}

/// The items of a list under its mode: `DenyAll` ignores the list.
pub(crate) fn granted<T>(mode: Mode, list: Vec<T>) -> Vec<T> {
    match mode {
        Mode::DenyAll => Vec::new(),
        Mode::AllowList => list,
    }
}

pub(crate) fn read_networks(layer: &Layer, field: &str, addresses: &[String]) -> Result<Vec<IpNet>, Refusal> {
    read_all(layer, field, addresses, |text| {
        text.parse::<IpNet>().map(|net| net.trunc())
    })
    .map(sorted)
}

/// Reads the rules for repositories.
///
/// # Errors
/// One that cannot be read.
pub(crate) fn read_repositories(
    layer: &Layer,
    limits: &RepositoryLimits,
) -> Result<Vec<RepositoryGrant>, Refusal> {
    let rules = limits.clone.iter().map(|rule| {
        let field = format!("limits.repositories.clone[{}]", rule.name);
        let url = RepositoryPattern::parse(&rule.url)
            .map_err(|error| unreadable(layer, &format!("{field}.url"), &rule.url, &error))?;
        let addresses = read_networks(layer, &format!("{field}.addresses"), &rule.addresses)?;
        Ok(RepositoryGrant {
            name: rule.name.clone(),
            url,
            addresses,
            credential: rule.credential.clone(),
        })
    });
    let mut rules = rules.collect::<Result<Vec<_>, _>>()?;
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(granted(limits.mode, rules))
}

/// Reads the profiles of a policy.
///
/// # Errors
/// One whose image is none, or is not named by its digest.
pub(crate) fn read_profiles(layer: &Layer, profiles: &[AgentProfile]) -> Result<Vec<AgentProfile>, Refusal> {
    for profile in profiles {
        let field = format!("agentProfiles[{}].image", profile.name);
        let image = ImageReference::parse(&profile.image)
            .map_err(|error| unreadable(layer, &field, &profile.image, &error))?;
        if image.digest().is_none() {
            return Err(unreadable(
                layer,
                &field,
                &profile.image,
                &"the image of a profile must be named by its digest",
            ));
        }
    }
    Ok(profiles.to_vec())
}
