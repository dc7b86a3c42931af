//! The rows of what scanners found.

use cofferdam_policy::dimension::vulnerabilities::Counts;
use serde_json::{Value, json};

use super::rows::{Dimension, is_admitted};
use crate::fixtures::World;
use crate::generated::PINNED;

/// Two words on vulnerabilities.
pub fn of_scanners() -> Vec<Dimension> {
    let word = |severity: &str, missing: &str| json!({"maxSeverity": severity, "onMissingReport": missing});
    let row = |row, cells, words: [Value; 2], probe| {
        let [loose, strict] = words;
        Dimension {
            row,
            cells,
            fields: vec![row],
            object: "images",
            field: "vulnerabilities",
            loose,
            strict,
            outcomes: ["admitted", "admitted", "ImageDenied"],
            probe,
        }
    };
    vec![
        row(
            "images.vulnerabilities.maxSeverity",
            ["–", "not looked at", "the least", "not settable"],
            [word("High", "Allow"), word("Medium", "Allow")],
            with_two_high_ones,
        ),
        row(
            "images.vulnerabilities.onMissingReport",
            [
                "every layer with `vulnerabilities`",
                "–",
                "`Allow` only if all",
                "not settable",
            ],
            [word("Critical", "Allow"), word("Critical", "Deny")],
            is_admitted,
        ),
    ]
}

/// What becomes of a run whose image has two vulnerabilities of the severity `High`.
fn with_two_high_ones(world: &World) -> String {
    let (_, digest) = PINNED.split_once('@').unwrap();
    let found = Counts {
        high: 2,
        ..Counts::default()
    };
    let mut world = world.clone().run("agent", json!({"image": PINNED}));
    world.reports = [(digest.to_owned(), found)].into_iter().collect();
    is_admitted(&world)
}
