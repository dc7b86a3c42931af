//! Everything that was judged about a run, for people and for `-o json`: each field, its value, who decided.

use super::fields::{
    of_clone, of_credential, of_evidence, of_profile, of_repository, of_requester, of_resources, of_runtime,
    of_submodules, of_times, of_tunnels, of_vulnerabilities,
};
use crate::decide::Evaluation;
use crate::dimension::images;

pub use super::finding::{Finding, Verdict};

impl Evaluation {
    /// Every finding but those about egress, in the order in which [`Evaluation::admit`] takes refusals.
    pub fn findings(&self) -> Vec<Finding> {
        // Without `..`: a dimension that is judged and never shown here does not compile.
        let Self {
            mistakes,
            requester,
            profile,
            runtime,
            agent_image,
            vulnerabilities,
            pull_policy,
            repositories,
            submodules,
            // The layers are shown host by host, by `reach`; here only an ask that cannot be read.
            egress: _,
            presets: _,
            tunnels,
            evidence,
            ask,
            credentials,
            literals,
            times,
            resources,
            scheduling,
            max_running,
            max_clone_bytes,
            retry,
            // In the run's status and pod, decided by nobody else.
            agent: _,
            policies: _,
            image_pull_secrets: _,
        } = self;
        let mut findings: Vec<Finding> = mistakes.iter().map(Finding::refused).collect();
        match profile {
            Ok(decided) => findings.extend(of_profile(decided)),
            Err(refusal) => findings.push(Finding::refused(refusal)),
        }
        if let Err(refusal) = literals {
            findings.push(Finding::refused(refusal));
        }
        findings.push(of_requester(requester));
        match runtime {
            Ok(runtime) => findings.extend(of_runtime(runtime)),
            Err(refusal) => findings.push(Finding::refused(refusal)),
        }
        // Without its profile the run has no image.
        if profile.is_ok() {
            findings.push(Finding::of(images::FIELD, agent_image));
        }
        findings.extend(vulnerabilities.as_ref().and_then(of_vulnerabilities));
        findings.push(match pull_policy.value {
            Some(policy) => Finding::allowed("imagePullPolicy", format!("{policy:?}"), &pull_policy.source),
            None => Finding::allowed(
                "imagePullPolicy",
                "as Kubernetes does by default",
                &pull_policy.source,
            ),
        });
        for (name, granted) in repositories {
            findings.push(match granted {
                Ok(granted) => of_repository(name, granted),
                Err(refusal) => Finding::refused(refusal),
            });
            if let Ok(granted) = granted {
                findings.extend(of_clone(name, &granted.repository.clone));
            }
        }
        if let Some(submodules) = submodules {
            findings.push(of_submodules(submodules));
        }
        if let Err(refusal) = ask {
            findings.push(Finding::refused(refusal));
        }
        findings.push(of_tunnels(tunnels));
        findings.extend(of_evidence(evidence));
        match credentials {
            Ok(granted) => findings.extend(granted.iter().map(of_credential)),
            Err(refusal) => findings.push(Finding::refused(refusal)),
        }
        findings.extend(of_times(times));
        match resources {
            Ok(decided) => findings.extend(of_resources(decided)),
            Err(refusal) => findings.push(Finding::refused(refusal)),
        }
        match scheduling {
            Ok(met) => {
                let name = met.value.as_ref().map_or("none", |profile| profile.name.as_str());
                findings.push(Finding::allowed("spec.schedulingProfileName", name, &met.source));
            }
            Err(refusal) => findings.push(Finding::refused(refusal)),
        }
        findings.push(Finding::mode("limits.maxRunning", max_running));
        findings.push(Finding::mode("limits.maxCloneBytes", max_clone_bytes));
        findings.push(Finding::mode("limits.retry", retry));
        findings
    }
}
