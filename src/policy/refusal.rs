//! A refusal with its provenance: what, where, why, what to do.

use std::fmt;

use serde::{Deserialize, Serialize};

use cofferdam_api::Reason;
use cofferdam_text::{bounded, cut, escape};

/// Kind of a policy layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LayerKind {
    /// Over every namespace that it selects.
    ClusterSandboxPolicy,
    /// Of the run's namespace.
    SandboxPolicy,
}

impl LayerKind {
    /// The kind as in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterSandboxPolicy => "ClusterSandboxPolicy",
            Self::SandboxPolicy => "SandboxPolicy",
        }
    }
}

/// One policy that takes part in a decision. The order is canonical: cluster policies by name, then the namespace's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Layer {
    /// Its kind.
    pub kind: LayerKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// Longest message in bytes: an Event's note holds 1024, and the status repeats it.
const MESSAGE_LIMIT: usize = 1000;
/// Longest single value in a message, in characters.
const VALUE_LIMIT: usize = 120;
/// How many allowed values a message lists.
const LISTED: usize = 6;

/// Why a run may not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What ends up in the run's status.
    pub reason: Reason,
    /// The layer that said no; absent: no layer said anything, or a built-in bound did.
    pub layer: Option<Layer>,
    /// The field of the run (or, for a policy that cannot be read, of the policy) that was judged.
    pub field: String,
    /// Where in the layer the ceiling stands, such as `limits.images.allowed`.
    pub rule: Option<String>,
    /// The value that was offered.
    pub offered: String,
    /// Values or patterns that would have been granted.
    pub allowed: Vec<String>,
    /// Why the value is not granted.
    pub why: String,
    /// What to do.
    pub help: String,
}

impl Refusal {
    /// The same refusal with the values that the caller knows to be possible, such as the names of existing policies.
    #[must_use]
    pub fn with_allowed(mut self, allowed: Vec<String>) -> Self {
        self.allowed = allowed;
        self
    }

    /// What was refused, where, why, and what to do: one line, at most 1000 bytes, without hidden characters.
    pub fn message(&self) -> String {
        let offered = match self.offered.as_str() {
            "" => String::new(),
            offered => format!(" `{}`", shown(offered)),
        };
        let layer = self
            .layer
            .as_ref()
            .map(|layer| format!(" by {layer}"))
            .unwrap_or_default();
        let rule = self
            .rule
            .as_ref()
            .map(|rule| format!(" ({rule})"))
            .unwrap_or_default();
        let allowed = match self.allowed.as_slice() {
            [] => String::new(),
            allowed => format!("; allowed: {}", listed(allowed)),
        };
        let Self { field, why, help, .. } = self;
        let text = format!("{field}{offered} is refused{layer}{rule}: {why}{allowed}; help: {help}");
        // Names of rules and layers stand in it too, and not every reader of manifests holds them to the schema.
        bounded(&text, MESSAGE_LIMIT)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for Refusal {}

/// A field on which no policy says anything: nothing is allowed.
pub(crate) fn silence(reason: Reason, field: &str, rule: &str, offered: &str) -> Refusal {
    Refusal {
        reason,
        layer: None,
        field: field.to_owned(),
        rule: None,
        offered: offered.to_owned(),
        allowed: Vec::new(),
        why: format!("no policy in force sets {rule}, and a value that no policy allows is refused"),
        help: format!(
            "ask the owner of the policies to set {rule} in the SandboxPolicy or in a ClusterSandboxPolicy"
        ),
    }
}

pub(crate) fn nothing_matches(count: usize, value: &dyn std::fmt::Display) -> String {
    if count == 0 {
        "it allows none at all".to_owned()
    } else {
        format!("no entry there matches {value}")
    }
}

pub(crate) fn ask_owner(layer: &Layer) -> String {
    format!("use one that is allowed, or ask the owner of {layer} to add it")
}

/// At most [`LISTED`] values, and how many more there are.
pub(crate) fn listed(values: &[String]) -> String {
    first_of(values, LISTED, shown)
}

/// The first `most` values, each as `show` makes it, and how many more there are.
pub(crate) fn first_of(values: &[String], most: usize, show: impl Fn(&str) -> String) -> String {
    let first: Vec<String> = values.iter().take(most).map(|value| show(value)).collect();
    let text = first.join(", ");
    match values.len().saturating_sub(most) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// A value as it may reach a terminal, cut to length.
pub(crate) fn shown(value: &str) -> String {
    escape(&cut(value, VALUE_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal {
            reason: Reason::ImageDenied,
            layer: Some(Layer {
                kind: LayerKind::SandboxPolicy,
                name: "default".into(),
            }),
            field: "spec.agent.image".into(),
            rule: Some("limits.images.allowed".into()),
            offered: "ghcr.io/team-evil/agent:1".into(),
            allowed: vec!["ghcr.io/team/**".into()],
            why: "no pattern there matches it".into(),
            help: "use an image that is allowed".into(),
        }
    }

    #[test]
    fn a_message_says_what_where_why_and_what_to_do() {
        assert_eq!(
            refusal().message(),
            "spec.agent.image `ghcr.io/team-evil/agent:1` is refused by SandboxPolicy/default (limits.images.allowed): \
             no pattern there matches it; allowed: ghcr.io/team/**; help: use an image that is allowed"
        );
    }

    #[test]
    fn messages_are_bounded_and_carry_no_hidden_characters() {
        let hostile = Refusal {
            field: "spec.limits.egress.rules[\u{202e}\0]".into(),
            offered: "a\u{1b}[2J\u{202e}\n\u{200b}".into(),
            allowed: (0..100).map(|n| format!("{n}{}", "é".repeat(500))).collect(),
            ..refusal()
        };
        let message = hostile.message();
        assert!(message.len() <= MESSAGE_LIMIT, "{}", message.len());
        assert!(message.contains(r"a\u{1b}[2J\u{202e}\u{a}\u{200b}"));
        assert!(!message.chars().any(cofferdam_text::is_hidden));
    }
}
