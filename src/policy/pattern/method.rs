//! Methods of HTTP requests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest method in bytes, as in the schema.
const METHOD_LIMIT: usize = 20;
/// Methods that no request may have: they are for proxies, show a client's own headers, or begin another protocol.
const NEVER: [&str; 4] = ["CONNECT", "TRACE", "TRACK", "PRI"];

/// A method in capitals. Methods are compared as they are written (RFC 9110, section 9.1); one in small letters is refused,
/// because a server may take it for the one in capitals.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

/// Why a text is not a [`Method`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// Other bytes than capitals, or too many.
    #[error("a method consists of at most 20 capitals, such as GET, with '-' only between them")]
    Spelling,
    /// One of those that are never served.
    #[error("the methods CONNECT, TRACE, TRACK and PRI are never served")]
    Never,
}

impl Method {
    /// Reads a method.
    ///
    /// # Errors
    /// [`MethodError`].
    pub fn parse(text: &str) -> Result<Self, MethodError> {
        if NEVER.iter().any(|never| never.eq_ignore_ascii_case(text)) {
            return Err(MethodError::Never);
        }
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase());
        if text.len() <= METHOD_LIMIT && text.split('-').all(is_word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MethodError::Spelling)
        }
    }

    /// The method as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Method {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Method {
    type Error = MethodError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("GET", None)]
    #[case("VERSION-CONTROL", None)]
    #[case("get", Some(MethodError::Spelling))]
    #[case("Get", Some(MethodError::Spelling))]
    #[case("", Some(MethodError::Spelling))]
    #[case("-GET", Some(MethodError::Spelling))]
    #[case("GET ", Some(MethodError::Spelling))]
    #[case("G3T", Some(MethodError::Spelling))]
    #[case("ABCDEFGHIJKLMNOPQRSTU", Some(MethodError::Spelling))]
    #[case("TRACE", Some(MethodError::Never))]
    #[case("trace", Some(MethodError::Never))]
    #[case("CONNECT", Some(MethodError::Never))]
    #[case("PRI", Some(MethodError::Never))]
    fn methods(#[case] text: &str, #[case] error: Option<MethodError>) {
        assert_eq!(Method::parse(text).err(), error);
    }
}
