//! Vocabularies that grow with versions, as a reader sees them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A value of a closed vocabulary, or the text of a newer version's value, kept as it came.
///
/// Whoever writes uses the closed type. Whoever reads what another process wrote uses this one, so that a new value
/// is passed on and shown instead of making its whole document unreadable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Extensible<T> {
    /// A value that this version knows.
    Known(T),
    /// A value that it does not know.
    Unknown(String),
}

impl<T> Extensible<T> {
    /// The value, if this version knows it.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

impl<T> From<T> for Extensible<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: FromStr> Extensible<T> {
    /// The value that `text` spells.
    pub fn read(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Unknown(text.to_owned()), Self::Known)
    }
}

impl<T: fmt::Display> fmt::Display for Extensible<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::DenialCode;

    #[test]
    fn known_and_unknown_values_keep_their_spelling() {
        for (text, known) in [("HostNotAllowed", true), ("HostOnHold", false), ("", false)] {
            let json = serde_json::to_string(text).unwrap();
            let value: Extensible<DenialCode> = serde_json::from_str(&json).unwrap();
            assert_eq!(value.known().is_some(), known, "{text}");
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
            assert_eq!(value.to_string(), text);
            assert_eq!(value, Extensible::read(text));
        }
        assert!(serde_json::from_str::<Extensible<DenialCode>>("7").is_err());
    }
}
