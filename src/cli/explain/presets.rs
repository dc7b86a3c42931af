//! The presets that policies in force use, and what each comes to.

use cofferdam_api::Preset;
use cofferdam_policy::decide::Evaluation;
use cofferdam_policy::dimension::egress::EgressLayer;
use cofferdam_policy::dimension::requests::Requests;
use cofferdam_policy::pattern::host::HostPattern;
use cofferdam_policy::preset::{self, Used};
use cofferdam_policy::refusal::Layer;
use cofferdam_text::escape;
use serde::Serialize;

use crate::print::paint::Paint;

/// A preset that a policy in force uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PresetUse {
    /// The policy.
    pub layer: Layer,
    /// The rule.
    pub rule: String,
    /// The preset.
    pub preset: Preset,
    /// What the rule lets out by it; what the other layers leave of that stands with the hosts.
    pub grants: Vec<Expanded>,
    /// What stays closed.
    pub closed: &'static str,
    /// Who could learn what.
    pub leaks: &'static str,
}

/// Requests to some hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expanded {
    /// The hosts.
    pub hosts: Vec<HostPattern>,
    /// Their ports.
    pub ports: Vec<u16>,
    /// The methods and paths.
    #[serde(flatten)]
    pub requests: Requests,
}

/// Every use, layer by layer.
pub fn of(evaluation: &Evaluation) -> Vec<PresetUse> {
    let uses = evaluation.presets.iter().filter_map(|used| {
        let Used { layer, rule, preset } = used;
        let entry = preset::entry(*preset)?;
        let mut layers = evaluation.egress.iter();
        let of_layer = layers.find(|egress| egress.kind == layer.kind && egress.name == layer.name)?;
        Some(PresetUse {
            layer: layer.clone(),
            rule: rule.clone(),
            preset: *preset,
            grants: expanded(of_layer, rule),
            closed: entry.closed,
            leaks: entry.leaks,
        })
    });
    uses.collect()
}

fn expanded(layer: &EgressLayer, name: &str) -> Vec<Expanded> {
    let rules = layer.rules.iter().filter(|rule| rule.name == name);
    rules
        .map(|rule| Expanded {
            hosts: rule.hosts.clone(),
            ports: rule.ports.clone(),
            requests: Requests {
                methods: rule.methods.clone(),
                paths: rule.paths.clone(),
            },
        })
        .collect()
}

/// For a terminal.
pub fn text(uses: &[PresetUse], paint: Paint) -> String {
    if uses.is_empty() {
        return String::new();
    }
    let blocks = uses.iter().map(|used| {
        let PresetUse {
            layer,
            rule,
            preset,
            grants,
            closed,
            leaks,
        } = used;
        let title = escape(&format!("{layer}/{rule}: {}", preset::name(*preset)));
        let grants = grants.iter().map(|grant| {
            let hosts: Vec<String> = grant.hosts.iter().map(ToString::to_string).collect();
            let ports: Vec<String> = grant.ports.iter().map(u16::to_string).collect();
            format!(
                "      {}:{}  {}\n",
                hosts.join(","),
                ports.join(","),
                grant.requests
            )
        });
        format!(
            "  {}\n{}      {} {closed}\n      {} {leaks}\n",
            paint.bold(&title),
            grants.collect::<String>(),
            paint.dim("closed:"),
            paint.dim("could leak:"),
        )
    });
    format!("{}\n{}", paint.bold("presets"), blocks.collect::<String>())
}
