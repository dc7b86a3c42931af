//! What a run asked for, what it got, and what came out. Pure.

use std::fmt::Write as _;

use k8s_openapi::jiff::Timestamp;

use super::Facts;
use crate::print::paint::Paint;
use crate::print::time::{age, seconds_between, span};
use cofferdam_api::{AgentRun, PatchOutput, Stage, inputs};
use cofferdam_text::{bounded, escape, one_line};

/// Longest text of a line.
const LINE: usize = 600;

/// `name   value` lines under a title.
pub struct Section {
    paint: Paint,
    text: String,
}

impl Section {
    /// A section; nothing is written where nothing is added.
    pub fn new(title: &str, paint: Paint) -> Self {
        let text = if title.is_empty() {
            String::new()
        } else {
            format!("{}\n", paint.bold(title))
        };
        Self { paint, text }
    }

    /// Adds a line; the value is a stranger's.
    pub fn line(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.painted(name, &bounded(value, LINE));
        }
    }

    /// Adds a line whose value is fit for a terminal already.
    pub fn painted(&mut self, name: &str, value: &str) {
        let padded = format!("{name:<12}");
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "  {}  {value}", self.paint.dim(&padded));
    }

    /// The text, if there is a line.
    pub fn end(self) -> String {
        if self.text.lines().count() > 1 {
            self.text
        } else {
            String::new()
        }
    }
}

/// Which run, and how it stands.
pub fn head(facts: &Facts<'_>, now: Timestamp, paint: Paint) -> String {
    let run = facts.run;
    let status = run.status.clone().unwrap_or_default();
    let name = format!(
        "AgentRun {}/{}",
        run.metadata.namespace.as_deref().unwrap_or_default(),
        run.metadata.name.as_deref().unwrap_or_default()
    );
    let mut section = Section::new(&escape(&name), paint);
    let phase = escape(status.phase.as_deref().unwrap_or("Pending"));
    let painted = match (run.stage(), phase.as_str()) {
        (Stage::Finished, "Succeeded") => paint.good(&phase),
        (Stage::Finished, _) => paint.bad(&phase),
        _ => paint.bold(&phase),
    };
    let mut words = vec![painted];
    let reason = status.reason.as_deref().unwrap_or_default();
    if !reason.is_empty() && reason != phase {
        words.push(format!("({})", escape(reason)));
    }
    if let Some(class) = &status.failure_class {
        words.push(format!("failure of: {}", escape(class)));
    }
    if let Some(place) = facts.place {
        words.push(format!("place {} of {}", place.position, place.length));
    }
    section.painted("phase", &words.join(" "));
    section.line("why", status.message.as_deref().unwrap_or_default());
    let age = age(run.metadata.creation_timestamp.as_ref(), now);
    let by = run
        .spec
        .requested_by
        .as_ref()
        .map_or_else(String::new, |requester| format!(" by {}", requester.username));
    section.line("created", &format!("{age} ago{by}"));
    let claim = run.spec.on_behalf_of.as_ref();
    section.line(
        "on behalf of",
        &claim.map_or_else(String::new, |who| format!("{who} (a claim that nobody checks)")),
    );
    section.line("uid", run.metadata.uid.as_deref().unwrap_or_default());
    section.end()
}

/// What was asked for.
pub fn asked(run: &AgentRun, paint: Paint) -> String {
    let spec = &run.spec;
    let mut section = Section::new("Asked", paint);
    let from = spec.task.prompt_from.as_ref().map(|source| {
        let key = &source.config_map_key_ref;
        format!("ConfigMap {}, key {}, {}", key.name, key.key, key.digest)
    });
    section.line("prompt", &spec.task.prompt.clone().or(from).unwrap_or_default());
    section.line("profile", spec.agent_profile.as_deref().unwrap_or_default());
    section.line("image", spec.agent.image.as_deref().unwrap_or_default());
    let command: Vec<&str> = spec
        .agent
        .command
        .iter()
        .chain(&spec.agent.args)
        .map(String::as_str)
        .collect();
    section.line("command", &command.join(" "));
    section.line("policy", spec.policy_name());
    for repository in &spec.repositories {
        let reference = repository.reference.as_deref().unwrap_or("HEAD");
        section.line(
            "repository",
            &format!(
                "{} {} at {reference}, {:?}",
                repository.name, repository.url, repository.access
            ),
        );
    }
    section.end()
}

/// What it came to.
pub fn resolved(run: &AgentRun, paint: Paint) -> String {
    let Some(status) = &run.status else {
        return String::new();
    };
    let mut section = Section::new("Resolved", paint);
    if let Some(resolved) = &status.resolved {
        if let Some(profile) = &resolved.agent_profile {
            section.line(
                "profile",
                &format!(
                    "{} of {} {}, {}",
                    profile.name, profile.policy_kind, profile.policy_name, profile.digest
                ),
            );
        }
        for policy in &resolved.policies {
            section.line(
                "policy",
                &format!(
                    "{} {}, generation {}",
                    policy.kind, policy.name, policy.generation
                ),
            );
        }
        section.line("policy hash", &resolved.policy_hash);
        section.line("runtime", &resolved.runtime_class_name);
        for image in resolved.images.iter().filter(|image| image.name == "agent") {
            section.line("image", &image.image_id);
        }
        for repository in &resolved.repositories {
            section.line("commit", &format!("{} {}", repository.name, repository.commit));
        }
    }
    section.line("inputs", &inputs::digest(run).unwrap_or_default());
    if let Some(isolation) = &status.isolation {
        section.line(
            "sandbox",
            &format!(
                "fence proven closed, own node {:?}, pod {}",
                isolation.node_access, isolation.pod_spec_digest
            ),
        );
    }
    if let Some(workload) = &status.workload {
        section.line("workload", &format!("{} {}", workload.kind, workload.name));
    }
    section.end()
}

/// What it was let do.
pub fn requests(run: &AgentRun, paint: Paint) -> String {
    let Some(status) = &run.status else {
        return String::new();
    };
    let mut section = Section::new("Requests", paint);
    if let Some(usage) = &status.usage {
        section.line("allowed", &usage.allowed_requests.to_string());
        section.line("denied", &usage.denied_requests.to_string());
    }
    for denied in &status.last_denied {
        section.line(
            "",
            &format!("{} {} ({})", denied.time.0, denied.host, denied.code),
        );
    }
    section.end()
}

/// What came out.
pub fn outputs(run: &AgentRun, paint: Paint) -> String {
    let outputs = run.status.as_ref().and_then(|status| status.outputs.as_ref());
    let mut section = Section::new("Patches", paint);
    for patch in outputs.iter().flat_map(|outputs| &outputs.patches) {
        let name = match &patch.submodule {
            Some(path) => format!("{}/{path}", patch.repository),
            None => patch.repository.clone(),
        };
        section.line(&one_line(&name), &of_patch(patch));
        if let Some(left) = patch.left_out.as_ref().filter(|left| left.count > 0) {
            section.painted("", &paint.odd(&format!("{} new paths are not in it", left.count)));
            for path in &left.paths {
                section.line("", &format!("{} ({})", path.path, path.reason));
            }
        }
    }
    section.end()
}

fn of_patch(patch: &PatchOutput) -> String {
    let mut words = vec![format!(
        "{} files, +{} -{}, {} bytes, {}",
        patch.files, patch.insertions, patch.deletions, patch.bytes, patch.digest
    )];
    if patch.snapshot == cofferdam_api::Snapshot::Live {
        words.push("taken while the agent ran".to_owned());
    }
    if patch.completeness == cofferdam_api::Completeness::Partial {
        words.push("not all of the work tree".to_owned());
    }
    words.join(", ")
}

/// Seconds after the run's creation, as the timeline counts.
pub fn after(start: Timestamp, time: Timestamp) -> String {
    format!("+{}", span(seconds_between(start, time)))
}
