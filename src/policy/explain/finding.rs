//! What was found about one field of a run.

use std::fmt;

use serde::Serialize;

use crate::refusal::Refusal;
use crate::source::{Source, Sourced};

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
#[serde(tag = "verdict")]
pub enum Verdict {
    /// It is granted.
    Allowed {
        /// The value that will apply.
        value: String,
        /// The same for people, where that helps.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
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
    pub(super) fn allowed(field: impl Into<String>, value: impl Into<String>, by: &Source) -> Self {
        Self {
            field: field.into(),
            verdict: Verdict::Allowed {
                value: value.into(),
                note: None,
                by: by.clone(),
            },
        }
    }

    pub(super) fn noted(mut self, text: impl Into<String>) -> Self {
        if let Verdict::Allowed { note, .. } = &mut self.verdict {
            *note = Some(text.into());
        }
        self
    }

    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self {
            field: refusal.field.clone(),
            verdict: Verdict::Refused {
                refusal: refusal.clone(),
            },
        }
    }

    pub(super) fn of<T: ToString>(field: &str, met: &Result<Sourced<T>, Refusal>) -> Self {
        match met {
            Ok(met) => Self::allowed(field, met.value.to_string(), &met.source),
            Err(refusal) => Self::refused(refusal),
        }
    }

    /// A word of the API, spelt as there.
    pub(super) fn mode<T: fmt::Debug>(field: &str, met: &Sourced<T>) -> Self {
        Self::allowed(field, format!("{:?}", met.value), &met.source)
    }
}
