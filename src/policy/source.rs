//! Where a value of a decision comes from.

use std::fmt;

use serde::Serialize;

use crate::refusal::Layer;

/// Who decided a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind")]
pub enum Source {
    /// A policy layer, by one of its fields or rules.
    Layer {
        /// The layer.
        layer: Layer,
        /// Where in it, such as `limits.images.allowed` or `limits.egress.rules[model]`.
        rule: String,
    },
    /// The run's own ask, which every layer allows.
    Run,
    /// A default of the namespace's policy.
    Default {
        /// That policy.
        layer: Layer,
    },
    /// Cofferdam, where no policy says anything.
    BuiltIn,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer { layer, rule } => write!(f, "{layer} ({rule})"),
            Self::Run => f.write_str("the run asks for it"),
            Self::Default { layer } => write!(f, "{layer} (defaults)"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

/// A value with who decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Who decided it.
    pub source: Source,
}

impl<T> Sourced<T> {
    /// A value that is so where no policy says anything.
    pub const fn built_in(value: T) -> Self {
        Self {
            value,
            source: Source::BuiltIn,
        }
    }

    /// A value that `layer` decided by `rule`.
    pub fn by(value: T, layer: &Layer, rule: &str) -> Self {
        Self {
            value,
            source: Source::Layer {
                layer: layer.clone(),
                rule: rule.to_owned(),
            },
        }
    }
}
