//! An explanation for a terminal.

use super::document::{
    Answer, CredentialState, DryRun, Egress, EgressHost, Explanation, Outcome, Queue, RequestAnswer,
    RequestOutcome, Unknown,
};
use super::{presets, refusal};
use crate::manifest::Problem;
use crate::print::paint::Paint;
use cofferdam_policy::explain::exfiltration::Exfiltration;
use cofferdam_policy::explain::findings::{Finding, Verdict};
use cofferdam_text::escape;

/// The whole text.
pub fn render(explanation: &Explanation, paint: Paint) -> String {
    // Without `..`: a part of the document that the text leaves out does not compile.
    let Explanation {
        // For programs.
        api_version: _,
        kind: _,
        facts: _,
        message: _,
        // In the last line.
        run: _,
        verdict: _,
        reason: _,
        problems: found,
        unknown: not_known,
        findings,
        egress,
        requests: asked,
        credentials: states,
        assumed,
        dry_runs: tried,
        queue: waits,
    } = explanation;
    let sections = [
        problems(found),
        unknown(not_known, paint),
        refusals(findings, paint),
        fields(findings, paint),
        egress
            .as_ref()
            .map_or_else(String::new, |egress| of_egress(egress, paint)),
        egress
            .as_ref()
            .map_or_else(String::new, |egress| presets::text(&egress.presets, paint)),
        requests(asked, paint),
        credentials(states, paint),
        list("assumed", assumed, paint),
        dry_runs(tried, paint),
        queue(waits.as_ref(), paint),
        verdict(explanation, paint),
    ];
    let sections: Vec<String> = sections
        .into_iter()
        .filter(|section| !section.is_empty())
        .collect();
    sections.join("\n")
}

fn problems(problems: &[Problem]) -> String {
    let lines = problems
        .iter()
        .map(|problem| format!("{}\n", escape(&problem.to_string())));
    lines.collect()
}

fn unknown(unknown: &[Unknown], paint: Paint) -> String {
    let blocks = unknown.iter().map(|unknown| {
        format!(
            "{}\n   {} {}{}\n   {} {}{}\n",
            paint.odd("unknown") + &paint.bold(&format!(": {}", escape(&unknown.what))),
            paint.dim("="),
            paint.bold("why:     "),
            escape(&unknown.why),
            paint.dim("="),
            paint.bold("help:    "),
            escape(&unknown.help),
        )
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn refusals(findings: &[Finding], paint: Paint) -> String {
    let blocks = findings.iter().filter_map(|finding| match &finding.verdict {
        Verdict::Refused { refusal } => Some(refusal::render(refusal, paint)),
        Verdict::Allowed { .. } => None,
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// A line a field: its name, the value that applies, who decided.
fn fields(findings: &[Finding], paint: Paint) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let rows: Vec<(String, String, String, bool)> = findings
        .iter()
        .map(|finding| match &finding.verdict {
            Verdict::Allowed { value, note, by } => {
                let note = note
                    .as_ref()
                    .map_or_else(String::new, |note| format!(" ({note})"));
                let value = escape(&format!("{value}{note}"));
                (escape(&finding.field), value, escape(&by.to_string()), true)
            }
            Verdict::Refused { refusal } => {
                let by = refusal
                    .layer
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string);
                (escape(&finding.field), "refused".to_owned(), escape(&by), false)
            }
        })
        .collect();
    let width = |column: fn(&(String, String, String, bool)) -> &String| {
        rows.iter()
            .map(|row| column(row).chars().count())
            .max()
            .unwrap_or_default()
    };
    let (first, second) = (width(|row| &row.0), width(|row| &row.1));
    let lines = rows.iter().map(|(field, value, by, is_allowed)| {
        let padding = " ".repeat(second.saturating_sub(value.chars().count()));
        let value = if *is_allowed {
            value.clone()
        } else {
            paint.bad(value)
        };
        let line = format!("  {field:<first$}  {value}{padding}  {}", paint.dim(by));
        format!("{}\n", line.trim_end())
    });
    format!("{}\n{}", paint.bold("fields"), lines.collect::<String>())
}

fn of_egress(egress: &Egress, paint: Paint) -> String {
    let mut text = format!(
        "{} {}\n",
        paint.bold("egress of the agent:"),
        class(egress.exfiltration, paint)
    );
    if let Some(why) = &egress.closed_because {
        text.extend([format!("  nothing goes out: {}\n", escape(why))]);
    }
    text.extend(egress.hosts.iter().map(|host| of_host(host, paint)));
    if egress.hosts.iter().any(|host| !host.inspected) {
        text.push_str(
            "  a host that is not inspected is a way to whoever shares its servers, too, such as other customers of its CDN\n",
        );
    }
    if !egress.repositories.is_empty() {
        let hosts = egress
            .repositories
            .iter()
            .map(|host| format!("{}:{}", host.host, host.port));
        text.extend([format!(
            "  cloned before the agent starts, from {}; the agent does not reach these unless listed above\n",
            hosts.collect::<Vec<_>>().join(", ")
        )]);
    }
    text
}

fn of_host(host: &EgressHost, paint: Paint) -> String {
    let ports = host
        .reached
        .ports
        .iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let inspected = if host.inspected {
        "inspected"
    } else {
        "not inspected"
    };
    let mut text = format!(
        "  {}  {}, {inspected}: {}\n      {} {}\n",
        paint.bold(&format!("{}:{ports}", host.reached.host)),
        class(host.exfiltration, paint),
        escape(&host.why),
        paint.dim("by"),
        paint.dim(&escape(&host.reached.rules.join(", "))),
    );
    for requests in host.reached.requests.iter().flatten() {
        text.extend([format!("      {requests}\n")]);
    }
    for sent in &host.reached.credentials {
        let requests = sent.requests.iter().map(ToString::to_string);
        text.extend([format!(
            "      the gateway adds credential {} to {}{}\n",
            paint.bold(&escape(&sent.credential)),
            requests.collect::<Vec<_>>().join("; "),
            if sent.in_clear_text {
                ", also over plain HTTP"
            } else {
                ""
            }
        )]);
    }
    if host.unlimited_spending {
        text.extend([format!(
            "      {}: nothing of Cofferdam limits what the agent spends there; set a limit with the provider\n",
            paint.odd("spending")
        )]);
    }
    if host.reached.requests.as_ref().is_some_and(Vec::is_empty) {
        text.push_str("      no request: the policies in force allow no method and path in common\n");
    }
    if !host.reached.addresses.is_empty() {
        let nets = host
            .reached
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        text.extend([format!("      may be inside, at {nets}\n")]);
    }
    text
}

fn requests(requests: &[RequestAnswer], paint: Paint) -> String {
    if requests.is_empty() {
        return String::new();
    }
    let blocks = requests.iter().map(|asked| {
        let request = paint.bold(&escape(&asked.request));
        match &asked.outcome {
            RequestOutcome::Allowed(out) => {
                let how = if out.inspected {
                    "by its method and path"
                } else {
                    "not inspected: by its host and port alone"
                };
                let by = paint.dim(&escape(&out.rules.join(", ")));
                let with = out.credential.as_ref().map_or_else(String::new, |name| {
                    format!(", with credential {}", paint.bold(&escape(name)))
                });
                format!(
                    "  {request}  {}, {how}{with}\n      {} {by}\n",
                    paint.good("allowed"),
                    paint.dim("by")
                )
            }
            RequestOutcome::Denied(denied) => {
                let code = paint.bad(&format!("denied ({})", denied.code));
                format!("  {request}  {code}\n      {}\n", escape(&denied.message))
            }
        }
    });
    format!("{}\n{}", paint.bold("requests"), blocks.collect::<String>())
}

fn credentials(states: &[CredentialState], paint: Paint) -> String {
    if states.is_empty() {
        return String::new();
    }
    let lines = states.iter().map(|state| {
        let name = paint.bold(&escape(&state.name));
        if state.ready == "True" {
            return format!("  {name}  {}\n", paint.good("ready"));
        }
        let word = if state.ready == "False" {
            "not ready"
        } else {
            "not known"
        };
        let how = paint.odd(&format!("{word} ({}): the run waits", escape(&state.reason)));
        format!("  {name}  {how}\n      {}\n", escape(&state.message))
    });
    format!("{}\n{}", paint.bold("credentials"), lines.collect::<String>())
}

fn class(class: Exfiltration, paint: Paint) -> String {
    match class {
        Exfiltration::Closed => paint.good(class.describe()),
        Exfiltration::Unknown => class.describe().to_owned(),
        Exfiltration::TenantShared | Exfiltration::Relay => paint.odd(class.describe()),
    }
}

fn list(title: &str, items: &[String], paint: Paint) -> String {
    if items.is_empty() {
        return String::new();
    }
    let lines = items.iter().map(|item| format!("  - {}\n", escape(item)));
    format!("{}\n{}", paint.bold(title), lines.collect::<String>())
}

fn dry_runs(dry_runs: &[DryRun], paint: Paint) -> String {
    let lines: Vec<String> = dry_runs
        .iter()
        .map(|run| {
            let outcome = match run.outcome {
                Outcome::Accepted => paint.good("accepted"),
                Outcome::Refused => paint.bad("refused"),
                Outcome::NotAsked => paint.odd("not asked"),
            };
            let message = run
                .message
                .as_ref()
                .map_or_else(String::new, |text| format!(": {}", escape(text)));
            format!("  {}: {outcome}{message}\n", run.kind)
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("{}\n{}", paint.bold("dry runs"), lines.concat())
}

fn queue(queue: Option<&Queue>, paint: Paint) -> String {
    let Some(queue) = queue else {
        return String::new();
    };
    let place = queue.place.map_or_else(
        || "waiting; its place cannot be told, as you may not list the namespace's AgentRuns".to_owned(),
        |place| format!("waiting, {} of {}, oldest first", place.position, place.length),
    );
    let message = escape(&queue.message);
    format!("{}\n  {place}\n  {message}\n", paint.bold("queue"))
}

fn verdict(explanation: &Explanation, paint: Paint) -> String {
    let subject = explanation.run.as_ref().map_or_else(
        || "AgentRun".to_owned(),
        |run| format!("AgentRun {}/{}", escape(&run.namespace), escape(&run.name)),
    );
    let word = match explanation.verdict {
        Answer::Allowed => paint.good("allowed"),
        Answer::Refused => paint.bad("refused"),
        Answer::CannotTell => paint.odd("cannot tell"),
    };
    let reason = explanation
        .reason
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{}: {word}{reason}\n", paint.bold(&subject))
}
