//! Everything that was judged about a run, for people and for `-o json`: each field, its value, who decided.

use serde::Serialize;

use super::decide::Weighed;
use super::refusal::Refusal;
use super::runtime::Runtime;
use super::source::{Met, Source};

/// One governed field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The field, as in a manifest.
    pub field: String,
    /// What was found.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What was found about a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum Verdict {
    /// It is granted.
    Allowed {
        /// The value that will apply.
        value: String,
        /// Who decided it.
        by: Source,
    },
    /// It is not.
    Refused {
        /// Which layer and rule said no, why, and what would be allowed.
        refusal: Refusal,
    },
}

impl Finding {
    fn allowed(field: impl Into<String>, value: impl Into<String>, by: &Source) -> Self {
        Self {
            field: field.into(),
            verdict: Verdict::Allowed {
                value: value.into(),
                by: by.clone(),
            },
        }
    }

    fn refused(refusal: &Refusal) -> Self {
        Self {
            field: refusal.field.clone(),
            verdict: Verdict::Refused {
                refusal: refusal.clone(),
            },
        }
    }

    fn of<T: ToString>(field: &str, met: &Result<Met<T>, Refusal>) -> Self {
        match met {
            Ok(met) => Self::allowed(field, met.value.to_string(), &met.source),
            Err(refusal) => Self::refused(refusal),
        }
    }

    fn debug<T: std::fmt::Debug>(field: &str, met: &Met<T>) -> Self {
        Self::allowed(field, format!("{:?}", met.value), &met.source)
    }
}

impl Weighed {
    /// Every finding but those about egress, in the order in which [`Weighed::admit`] takes refusals.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![match &self.requester {
            Ok(met) => Finding::debug("spec.requestedBy", met),
            Err(refusal) => Finding::refused(refusal),
        }];
        match &self.runtime {
            Ok(runtime) => findings.extend(of_runtime(runtime)),
            Err(refusal) => findings.push(Finding::refused(refusal)),
        }
        for (container, image) in &self.images {
            findings.push(Finding::of(container.field(), image));
        }
        if let Some(policy) = self.pull_policy.value {
            let value = format!("{policy:?}");
            findings.push(Finding::allowed(
                "imagePullPolicy",
                value,
                &self.pull_policy.source,
            ));
        }
        for (name, granted) in &self.repositories {
            findings.push(match granted {
                Ok(granted) => Finding::allowed(
                    format!("spec.repositories[{name}].url"),
                    granted.repository.url.to_string(),
                    &granted.source,
                ),
                Err(refusal) => Finding::refused(refusal),
            });
        }
        if let Err(refusal) = &self.ask {
            findings.push(Finding::refused(refusal));
        }
        let times = &self.times;
        for (field, met) in [
            ("spec.startTimeoutSeconds", &times.start_timeout_seconds),
            ("spec.timeoutSeconds", &times.timeout_seconds),
            ("spec.ttlSecondsAfterFinished", &times.ttl_seconds_after_finished),
        ] {
            findings.push(Finding::of(field, met));
        }
        match &self.resources {
            Ok(decided) => findings.extend(decided.sources.iter().map(|(kind, source)| {
                let of = |list: &std::collections::BTreeMap<String, _>| amount(list, kind.as_str());
                let value = format!(
                    "request {}, limit {}",
                    of(&decided.resources.requests),
                    of(&decided.resources.limits)
                );
                Finding::allowed(format!("spec.resources[{kind}]"), value, source)
            })),
            Err(refusal) => findings.push(Finding::refused(refusal)),
        }
        match &self.scheduling {
            Ok(met) => {
                let name = met.value.as_ref().map_or("none", |profile| profile.name.as_str());
                findings.push(Finding::allowed("spec.schedulingProfile", name, &met.source));
            }
            Err(refusal) => findings.push(Finding::refused(refusal)),
        }
        findings.push(Finding::debug("maxRunning", &self.max_running));
        findings.push(Finding::debug("retry", &self.retry));
        findings
    }
}

fn of_runtime(runtime: &Runtime) -> Vec<Finding> {
    vec![
        Finding::allowed("runtimeClassName", &runtime.class.value, &runtime.class.source),
        Finding::debug("nodeReachability", &runtime.node_reachability),
        Finding::debug("user", &runtime.user),
        Finding::debug("userNamespace", &runtime.user_namespace),
        Finding::debug("sandboxedKernel", &runtime.sandboxed_kernel),
    ]
}

fn amount(
    list: &std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    kind: &str,
) -> String {
    list.get(kind)
        .map(|quantity| quantity.0.clone())
        .unwrap_or_default()
}
