//! The tables of a bench, in Markdown.

use std::fmt::Write as _;

use super::audit::Counts;
use super::machine::CONTROL_PLANE;
use super::sitting::{Figures, whole};

/// One row of the first table.
pub struct Row {
    /// What was measured.
    pub label: String,
    /// What it cost.
    pub figures: Figures,
}

/// Rates, writes, CPU and times of all loads; ratios are to `bare`, the mean of the bare Jobs before and after.
pub fn loads(rows: &[Row], bare: Bare) -> String {
    let mut text = String::from(
        "| load | a second | ÷ bare | writes each | refused | reconciles each | CPU-ms each | ÷ bare | to its Job p50 / p99 | controller |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for Row { label, figures } in rows {
        let each = |value: u64| whole(value) / whole(figures.count);
        let refused = each(figures.refused.values().sum::<u64>());
        let reconciles = figures
            .reconciles
            .map_or_else(|| "–".to_owned(), |count| format!("{:.1}", each(count)));
        let to_job = match (figures.to_job_at(0.5), figures.to_job_at(0.99)) {
            (Some(median), Some(late)) => format!("{median:.2} / {late:.2} s"),
            _ => "–".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {label} | {:.1} | {:.2} | {:.2} | {refused:.2} | {reconciles} | {:.0} | {:.2} | {to_job} | {:.1} MiB |",
            figures.rate(),
            figures.rate() / bare.rate,
            figures.writes_each(),
            figures.cpu_each(),
            figures.cpu_each() / bare.cpu,
            figures.controller_mib,
        );
    }
    text
}

/// What bare Jobs cost in the same sitting.
#[derive(Clone, Copy, Debug)]
pub struct Bare {
    /// Jobs a second.
    pub rate: f64,
    /// CPU milliseconds of the control plane each.
    pub cpu: f64,
}

impl Bare {
    /// The mean of several measurements.
    pub fn of(figures: &[&Figures]) -> Self {
        let mean = |of: fn(&Figures) -> f64| {
            figures.iter().map(|figures| of(figures)).sum::<f64>() / whole(figures.len())
        };
        Self {
            rate: mean(Figures::rate),
            cpu: mean(Figures::cpu_each),
        }
    }
}

/// CPU milliseconds of each process.
pub fn processes(rows: &[Row]) -> String {
    let others = ["kwok", "enforcer"];
    let names = || CONTROL_PLANE.iter().chain(&others);
    let mut text = String::from("| CPU-ms each |");
    for name in names() {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(names().count()));
    text.push('\n');
    for Row { label, figures } in rows {
        let _ = write!(text, "| {label} |");
        for name in names() {
            let _ = write!(text, " {:.1} |", figures.cpu_of(name));
        }
        text.push('\n');
    }
    text
}

/// Writes of each load by verb and resource, and by who asked.
pub fn writes(rows: &[Row]) -> String {
    let mut text = String::new();
    for Row { label, figures } in rows {
        let each = |counts: &Counts| {
            let mut sorted: Vec<(&String, u64)> = counts.iter().map(|(key, count)| (key, *count)).collect();
            sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let parts = sorted
                .iter()
                .map(|(key, count)| format!("{key} {:.2}", whole(*count) / whole(figures.count)));
            parts.collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(
            text,
            "- {label}: {}.\n  By {}.",
            each(&figures.writes),
            each(&figures.writers)
        );
        if !figures.refused.is_empty() {
            let _ = writeln!(text, "  Refused: {}.", each(&figures.refused));
        }
        for difference in &figures.differences {
            let _ = writeln!(text, "  NOTE: {difference}.");
        }
    }
    text
}
