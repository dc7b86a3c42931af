//! Resources of the agent's container: defaults first, then ceilings. The answer is always complete.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::layer::parsed::ParsedPolicy;
use crate::pattern::quantity::{Amount, ResourceKind};
use crate::refusal::{Layer, Refusal};
use crate::source::Source;
use cofferdam_api::{Reason, Resources, SandboxPolicy};

/// Request and limit of one resource.
struct Pair {
    request: Amount,
    limit: Amount,
}

/// What one source says of one resource.
#[derive(Default)]
struct Ask {
    request: Option<Amount>,
    limit: Option<Amount>,
}

/// Requests and limits, complete, and who decided each resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// For [`ResourceKind::ALL`].
    pub resources: Resources,
    /// Who decided.
    pub sources: BTreeMap<ResourceKind, Source>,
}

/// Resolves requests and limits for all of [`ResourceKind::ALL`].
///
/// # Errors
/// A refusal if the run asks for an unknown resource, for more than a ceiling, or for a request above its limit.
pub fn decide(
    ask: Option<&Resources>,
    policy: &SandboxPolicy,
    layers: &[Arc<ParsedPolicy>],
) -> Result<Decided, Refusal> {
    let source = Origin {
        path: "spec.resources",
        layer: None,
    };
    let policy_layer = layers.last().map(|policy| &policy.layer);
    let defaults = policy
        .spec
        .defaults
        .as_ref()
        .and_then(|defaults| defaults.resources.as_ref());
    let default_source = Origin {
        path: "spec.defaults.resources",
        layer: policy_layer,
    };
    for (resources, source) in [(ask, &source), (defaults, &default_source)] {
        resources.map_or(Ok(()), |resources| source.check_names(resources))?;
    }
    let mut decided = Decided {
        resources: Resources::default(),
        sources: BTreeMap::new(),
    };
    for kind in ResourceKind::ALL {
        let built_in = Pair {
            request: source.read(kind, "requests", kind.default_request())?,
            limit: source.read(kind, "limits", kind.default_limit())?,
        };
        let default = default_source.overlay(kind, default_source.ask(kind, defaults)?, built_in)?;
        let ceilings = ceilings(kind, layers, &source)?;
        let is_cut = default.limit > ceilings.amount;
        let default = clamp(default, &ceilings);
        let asked = source.ask(kind, ask)?;
        for (part, amount) in [("requests", &asked.request), ("limits", &asked.limit)] {
            check_ceiling(kind, part, amount.as_ref(), &ceilings)?;
        }
        let by = if asked.request.is_some() || asked.limit.is_some() {
            Source::Run
        } else {
            default_by(kind, defaults, is_cut, &ceilings, policy_layer)
        };
        decided.sources.insert(kind, by);
        let Pair { request, limit } = source.overlay(kind, asked, default)?;
        let resources = &mut decided.resources;
        resources.requests.insert(kind.to_string(), request.to_quantity());
        resources.limits.insert(kind.to_string(), limit.to_quantity());
    }
    Ok(decided)
}

/// Who decided about a resource that the run does not ask for.
fn default_by(
    kind: ResourceKind,
    defaults: Option<&Resources>,
    is_cut: bool,
    ceiling: &Ceiling<'_>,
    policy_layer: Option<&Layer>,
) -> Source {
    let named = |resources: &Resources| {
        resources.limits.contains_key(kind.as_str()) || resources.requests.contains_key(kind.as_str())
    };
    match (ceiling.layer, policy_layer) {
        (Some(layer), _) if is_cut => Source::Layer {
            layer: layer.clone(),
            rule: format!("limits.maxResources.{kind}"),
        },
        (_, Some(layer)) if defaults.is_some_and(named) => Source::Default { layer: layer.clone() },
        _ => Source::BuiltIn,
    }
}

/// The strictest ceiling and who set it; `None`: it is built in.
struct Ceiling<'a> {
    amount: Amount,
    layer: Option<&'a Layer>,
}

fn ceilings<'a>(
    kind: ResourceKind,
    layers: &'a [Arc<ParsedPolicy>],
    source: &Origin<'_>,
) -> Result<Ceiling<'a>, Refusal> {
    let built_in = Ceiling {
        amount: source.read(kind, "limits", kind.built_in_ceiling())?,
        layer: None,
    };
    let of_layer = |policy: &'a Arc<ParsedPolicy>| {
        let amount = policy.max_resources.get(&kind)?.clone();
        Some(Ceiling {
            amount,
            layer: Some(&policy.layer),
        })
    };
    let strictest = |least: Ceiling<'a>, next: Ceiling<'a>| {
        // On a tie a layer's word goes before the built-in one, and the first layer's before the others'.
        let earlier = next.amount < least.amount || (next.amount == least.amount && least.layer.is_none());
        if earlier { next } else { least }
    };
    Ok(layers.iter().filter_map(of_layer).fold(built_in, strictest))
}

/// A default above a ceiling is cut down to it.
fn clamp(pair: Pair, ceiling: &Ceiling<'_>) -> Pair {
    let limit = pair.limit.min(ceiling.amount.clone());
    Pair {
        request: pair.request.min(limit.clone()),
        limit,
    }
}

/// An ask above a ceiling is refused.
fn check_ceiling(
    kind: ResourceKind,
    part: &str,
    ask: Option<&Amount>,
    ceiling: &Ceiling<'_>,
) -> Result<(), Refusal> {
    let Some(ask) = ask.filter(|ask| **ask > ceiling.amount) else {
        return Ok(());
    };
    Err(Refusal {
        reason: Reason::PolicyDenied,
        layer: ceiling.layer.cloned(),
        field: format!("spec.resources.{part}.{kind}"),
        rule: Some(ceiling.layer.map_or("built-in ceiling".to_owned(), |_| {
            format!("limits.maxResources.{kind}")
        })),
        offered: ask.as_str().to_owned(),
        allowed: vec![format!("up to {}", ceiling.amount.as_str())],
        why: "it is above the ceiling".to_owned(),
        help: "ask for less, or leave the resource out to get the default".to_owned(),
    })
}

/// Where requests and limits were read, for refusals.
struct Origin<'a> {
    path: &'static str,
    layer: Option<&'a Layer>,
}

impl Origin<'_> {
    fn refuse(&self, field: String, offered: &str, why: &dyn fmt::Display) -> Refusal {
        Refusal {
            reason: Reason::PolicyDenied,
            layer: self.layer.cloned(),
            field,
            rule: None,
            offered: offered.to_owned(),
            allowed: Vec::new(),
            why: why.to_string(),
            help: "give cpu, memory and ephemeral-storage positive quantities such as 500m or 4Gi, requests not above limits"
                .to_owned(),
        }
    }

    fn check_names(&self, resources: &Resources) -> Result<(), Refusal> {
        for (part, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
            for name in amounts.keys() {
                let field = format!("{}.{part}", self.path);
                ResourceKind::parse(name).map_err(|error| self.refuse(field, name, &error))?;
            }
        }
        Ok(())
    }

    fn read(&self, kind: ResourceKind, part: &str, text: &str) -> Result<Amount, Refusal> {
        kind.amount(text)
            .map_err(|error| self.refuse(format!("{}.{part}.{kind}", self.path), text, &error))
    }

    fn ask(&self, kind: ResourceKind, resources: Option<&Resources>) -> Result<Ask, Refusal> {
        let Some(resources) = resources else {
            return Ok(Ask::default());
        };
        let read = |part, quantity: Option<&Quantity>| {
            quantity
                .map(|quantity| self.read(kind, part, &quantity.0))
                .transpose()
        };
        Ok(Ask {
            request: read("requests", resources.requests.get(kind.as_str()))?,
            limit: read("limits", resources.limits.get(kind.as_str()))?,
        })
    }

    /// What this source says, over what stands below it. As in a pod, a limit alone is the request too; a request
    /// alone keeps the limit below, raised to the request where need be.
    fn overlay(&self, kind: ResourceKind, ask: Ask, below: Pair) -> Result<Pair, Refusal> {
        let pair = match (ask.request, ask.limit) {
            (None, None) => below,
            (None, Some(limit)) => Pair {
                request: limit.clone(),
                limit,
            },
            (Some(request), None) => Pair {
                limit: below.limit.max(request.clone()),
                request,
            },
            (Some(request), Some(limit)) => Pair { request, limit },
        };
        if pair.request > pair.limit {
            let field = format!("{}.requests.{kind}", self.path);
            return Err(self.refuse(
                field,
                pair.request.as_str(),
                &format!("it is above the limit {}", pair.limit.as_str()),
            ));
        }
        Ok(pair)
    }
}
