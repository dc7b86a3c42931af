//! Presets: rules for well-known hosts that nobody should have to write twice. Whoever reads a policy expands them, so
//! that everything behind knows rules with hosts, methods and paths only.

pub mod data;
mod git;
pub mod page;

use crate::dimension::egress::EgressRule;
use crate::layer::read::RepositoryGrant;
use crate::pattern::host::HostError;
use crate::pattern::method::MethodError;
use crate::pattern::path::PathError;
use crate::pattern::sorted;
use crate::refusal::Layer;
use cofferdam_api::{Preset, TlsMode};

use self::data::{Entry, Grant, Grants, PRESETS};

/// A preset that a policy uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The policy.
    pub layer: Layer,
    /// Its rule.
    pub rule: String,
    /// The preset.
    pub preset: Preset,
}

/// The name of a preset, as a policy has it.
pub fn name(preset: Preset) -> String {
    // The one spelling that the API has.
    match serde_json::to_value(preset) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Why a preset comes to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PresetError {
    /// There is no data for it.
    #[error("there is no such preset")]
    Unknown,
    /// The policy names no repositories.
    #[error(
        "preset git stands for the repositories of limits.repositories.clone of the same policy, and this one names none"
    )]
    NoRepositories,
    /// The data.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The data.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The data, or a repository whose path is too long for a rule.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// What is known of a preset.
pub fn entry(preset: Preset) -> Option<&'static Entry> {
    PRESETS.iter().find(|entry| entry.preset == preset)
}

/// The rules for which a rule with a preset stands, all of its name. `addresses` are networks that the hosts may resolve to
/// though not globally routable; `repositories` those of the same policy.
///
/// # Errors
/// [`PresetError`].
pub(crate) fn expand(
    preset: Preset,
    name: &str,
    addresses: &[ipnet::IpNet],
    repositories: &[RepositoryGrant],
) -> Result<Vec<EgressRule>, PresetError> {
    let entry = entry(preset).ok_or(PresetError::Unknown)?;
    match entry.grants {
        Grants::Fixed(grants) => grants.iter().map(|grant| rule(grant, name, addresses)).collect(),
        Grants::Repositories if repositories.is_empty() => Err(PresetError::NoRepositories),
        Grants::Repositories => {
            let rules = repositories
                .iter()
                .map(|repository| git::rules(repository, name, addresses));
            Ok(rules.collect::<Result<Vec<_>, _>>()?.concat())
        }
    }
}

fn rule(grant: &Grant, name: &str, addresses: &[ipnet::IpNet]) -> Result<EgressRule, PresetError> {
    let hosts = grant.hosts.iter().map(|host| host.parse());
    let methods = grant.methods.iter().map(|method| method.parse());
    let paths = grant.paths.iter().map(|path| path.parse());
    Ok(EgressRule {
        name: name.to_owned(),
        hosts: sorted(hosts.collect::<Result<_, HostError>>()?),
        addresses: addresses.to_vec(),
        ports: grant.ports.to_vec(),
        tls: TlsMode::Inspect,
        methods: sorted(methods.collect::<Result<_, MethodError>>()?),
        paths: sorted(paths.collect::<Result<_, PathError>>()?),
        credential: None,
        service: None,
    })
}
