//! A refusal for a terminal, laid out like rustc's: what, where, why, what would be allowed, what to do.

use crate::print::paint::Paint;
use cofferdam_policy::refusal::Refusal;
use cofferdam_text::escape;

/// Allowed values that stand in one refusal; `-o json` has them all.
const LISTED: usize = 12;

/// Several lines, with a line break at the end.
pub fn render(refusal: &Refusal, paint: Paint) -> String {
    let offered = match refusal.offered.as_str() {
        "" => String::new(),
        offered => format!(" `{}`", escape(offered)),
    };
    let mut text = format!(
        "{}{}\n",
        paint.bad(&format!("refused[{}]", refusal.reason)),
        paint.bold(&format!(": {}{offered}", escape(&refusal.field)))
    );
    let layer = refusal.layer.as_ref().map(ToString::to_string);
    let place: Vec<String> = layer.into_iter().chain(refusal.rule.clone()).collect();
    if !place.is_empty() {
        text.extend([format!("  {} {}\n", paint.dim("-->"), escape(&place.join(", ")))]);
    }
    let mut part = |name: &str, value: &str| {
        text.extend([format!(
            "   {} {}{}\n",
            paint.dim("="),
            paint.bold(&format!("{name:<9}")),
            escape(value)
        )]);
    };
    part("why:", &refusal.why);
    for (index, allowed) in refusal.allowed.iter().take(LISTED).enumerate() {
        part(if index == 0 { "allowed:" } else { "" }, allowed);
    }
    if refusal.allowed.len() > LISTED {
        part("", &format!("and {} more", refusal.allowed.len() - LISTED));
    }
    part("help:", &refusal.help);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_api::Reason;
    use cofferdam_policy::refusal::{Layer, LayerKind};

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
            allowed: vec!["ghcr.io/team/**".into(), "quay.io/team/**".into()],
            why: "no pattern there matches it".into(),
            help: "use an image that is allowed".into(),
        }
    }

    #[test]
    fn every_part_has_its_line() {
        insta::assert_snapshot!(render(&refusal(), Paint::Plain), @r"
        refused[ImageDenied]: spec.agent.image `ghcr.io/team-evil/agent:1`
          --> SandboxPolicy/default, limits.images.allowed
           = why:     no pattern there matches it
           = allowed: ghcr.io/team/**
           =          quay.io/team/**
           = help:    use an image that is allowed
        ");
    }

    #[test]
    fn what_no_layer_said_has_no_place_and_hostile_values_stay_on_their_line() {
        let hostile = Refusal {
            layer: None,
            rule: None,
            offered: "a\u{1b}[2J\nrefused[x]: b\u{202e}".into(),
            allowed: (0..40).map(|n| format!("image-{n}")).collect(),
            ..refusal()
        };
        let text = render(&hostile, Paint::Plain);
        assert!(
            !text.contains("-->") && !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
        assert!(text.contains("and 28 more"), "{text}");
        assert_eq!(text.lines().count(), 1 + 1 + 12 + 1 + 1, "{text}");
        assert!(render(&refusal(), Paint::Ansi).contains("\u{1b}[31;1mrefused[ImageDenied]\u{1b}[0m"));
    }
}
