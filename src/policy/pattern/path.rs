//! What a request asks for, and patterns over it: a path by whole segments and a query by its pairs.
//!
//! What was judged is what is sent, so nothing is normalised. A path that two servers could read differently is no
//! [`Target`] and is not sent; percent-encoding that stands for a delimiter is kept, and only a pattern that has it
//! literally means it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::pattern::segments::{SegmentError, SegmentPattern};

/// Longest pattern in bytes, as in the schema.
const PATTERN_LIMIT: usize = 256;
/// Bytes that some servers take for a delimiter once they have decoded them; no star stands for these.
const DELIMITERS: [u8; 5] = *b"/%;?#";

/// The path and query of a request, with one meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// As it was received and is sent.
    text: String,
    /// The path without its first slash, with hexadecimal digits in capitals.
    path: String,
    /// What stands behind the `?`, with hexadecimal digits in capitals.
    query: String,
}

/// Why the path and query of a request are no [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Another form.
    #[error("the path does not begin with '/'")]
    NotAbsolute,
    /// Spaces, control characters, other alphabets, `#` and `\`, which is a slash to some servers.
    #[error("the path or the query has a space, '#', '\\', a control character or one that is not ASCII")]
    OddByte,
    /// `;` begins parameters of a segment to some servers.
    #[error("the path has a ';', which begins a parameter to some servers and not to others")]
    Semicolon,
    /// `//`.
    #[error("the path has an empty segment ('//'), which some servers leave out")]
    EmptySegment,
    /// `.` and `..`, and what some servers read as these.
    #[error(
        "the path has a '.' or '..' segment, or one that some servers read so: send the path that is meant"
    )]
    DotSegment,
    /// `%` that stands for nothing, or for a dot, a backslash or a control character, or a character in too many bytes.
    #[error(
        "the path has a '%' that stands for a dot, a backslash or a control character, for nothing, or for a character in more \
         bytes than UTF-8 has for it"
    )]
    Encoded,
}

impl Target {
    /// Reads `/path` or `/path?query`.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let rest = text.strip_prefix('/').ok_or(TargetError::NotAbsolute)?;
        if text
            .bytes()
            .any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'#' | b'\\'))
        {
            return Err(TargetError::OddByte);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.contains(';') {
            return Err(TargetError::Semicolon);
        }
        if encoded(path)
            .any(|byte| byte.is_none_or(|byte| byte.is_ascii_control() || matches!(byte, b'.' | b'\\')))
        {
            return Err(TargetError::Encoded);
        }
        if has_overlong(&decoded(path)) {
            return Err(TargetError::Encoded);
        }
        refuse_odd_segments(path)?;
        Ok(Self {
            text: text.to_owned(),
            path: in_capitals(path).into_owned(),
            query: in_capitals(query).into_owned(),
        })
    }

    /// As it was received and is sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path, without the query, as it was received.
    pub fn path(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }

    /// What stands behind the `?`, as it was received.
    pub fn query(&self) -> Option<&str> {
        self.text.split_once('?').map(|(_, query)| query)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The segments of a path without its first slash; the last may be empty.
fn refuse_odd_segments(path: &str) -> Result<(), TargetError> {
    let whole = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(());
    }
    for segment in whole.split('/') {
        match segment {
            "" => return Err(TargetError::EmptySegment),
            _ if may_be_dots(&decoded(segment)) => return Err(TargetError::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a server may take a segment for `.` or `..`: dots alone, but for white space, which some file systems drop, or dots
/// of another width, which some servers map to ASCII.
fn may_be_dots(segment: &[u8]) -> bool {
    let text = String::from_utf8_lossy(segment);
    let mut letters = text.chars().filter(|letter| !letter.is_whitespace()).peekable();
    letters.peek().is_some()
        && letters.all(|letter| {
            matches!(
                letter,
                '.' | '\u{2024}'..='\u{2026}' | '\u{3002}' | '\u{fe52}' | '\u{ff0e}'
            )
        })
}

/// Whether a character stands in more bytes than it needs, as no encoder writes it and some decoders read it (RFC 3629,
/// section 10).
fn has_overlong(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, 0xc0 | 0xc1))
        || bytes
            .windows(2)
            .any(|pair| matches!(pair, [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]))
}

/// The bytes that a text stands for.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

/// What each `%` stands for; `None` where it stands for nothing.
fn encoded(text: &str) -> impl Iterator<Item = Option<u8>> {
    text.split('%').skip(1).map(|after| {
        let digits = after.get(..2)?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    })
}

/// Percent-encoding has one spelling: capitals (RFC 3986, section 6.2.2.1).
fn in_capitals(text: &str) -> Cow<'_, str> {
    let mut capitals = Cow::Borrowed(text);
    for (at, _) in text.match_indices('%') {
        let lower = text
            .get(at + 1..at + 3)
            .filter(|digits| digits.bytes().any(|byte| byte.is_ascii_lowercase()));
        if let Some(digits) = lower.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            capitals
                .to_mut()
                .replace_range(at + 1..at + 3, &digits.to_ascii_uppercase());
        }
    }
    capitals
}

/// Whether a star may stand for the text.
fn is_plain(text: &str) -> bool {
    !encoded(text).any(|byte| byte.is_none_or(|byte| DELIMITERS.contains(&byte)))
}

/// The pairs of a query, sorted: their order means nothing, how often one stands there does.
fn pairs(query: &str) -> Vec<&str> {
    let mut pairs: Vec<&str> = match query {
        "" => Vec::new(),
        query => query.split('&').collect(),
    };
    pairs.sort_unstable();
    pairs
}

/// Paths that requests may have: `/a/*/b`, `/a/**`, `/a?k=v&l=w`.
///
/// `*` is one whole segment, `**` the rest of the path behind its slash, which may be nothing. With a query the request
/// has exactly its pairs, in any order; a `?` alone means no query. Without one the request has any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    path: SegmentPattern,
    query: Option<Vec<String>>,
}

/// Why a text is not a [`PathPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// More than 256 bytes.
    #[error("the path is longer than 256 bytes")]
    TooLong,
    /// No request has it.
    #[error("no request has such a path: {0}")]
    Target(#[from] TargetError),
    /// A character that has to be percent-encoded.
    #[error(
        "the path has a character other than letters, digits and -._~!$&()+,=:@/: write it percent-encoded, a space as %20"
    )]
    OddByte,
    /// `?a&&b`.
    #[error("the query has an empty pair")]
    EmptyPair,
    /// Stars.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > PATTERN_LIMIT {
            return Err(PathError::TooLong);
        }
        // A path that no request can have would be a rule that does nothing.
        let Target { path, query, .. } = Target::parse(text)?;
        let is_meant = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&()+,=:@%".contains(&byte);
        let is_odd = |byte: u8| !is_meant(byte) && !matches!(byte, b'/' | b'*');
        let is_odd_in_query = |byte: u8| !is_meant(byte) && !matches!(byte, b'/' | b'?');
        if path.bytes().any(is_odd) || query.bytes().any(is_odd_in_query) {
            return Err(PathError::OddByte);
        }
        if encoded(&query)
            .any(|byte| byte.is_none_or(|byte| byte.is_ascii_control() || matches!(byte, b'.' | b'\\')))
        {
            return Err(PathError::Target(TargetError::Encoded));
        }
        let query = text.contains('?').then(|| pairs(&query));
        if query.iter().flatten().any(|pair| pair.is_empty()) {
            return Err(PathError::EmptyPair);
        }
        Ok(Self {
            path: SegmentPattern::parse_with_end(&path)?,
            query: query.map(|pairs| pairs.into_iter().map(str::to_owned).collect()),
        })
    }

    /// Whether the target is meant.
    pub fn matches(&self, target: &Target) -> bool {
        let query = self
            .query
            .as_ref()
            .is_none_or(|meant| pairs(&target.query) == *meant);
        query && self.path.matches_where(&target.path, is_plain)
    }

    /// The targets that both mean, which are a pattern again; `None`: there are none.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let query = match (&self.query, &other.query) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.as_ref().or(two.as_ref()).cloned(),
        };
        let path = self.path.meet_where(&other.path, is_plain)?;
        Some(Self { path, query })
    }

    /// Whether every target that `other` means is meant.
    pub fn covers(&self, other: &Self) -> bool {
        self.meet(other).is_some_and(|met| met == *other)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.path)?;
        match &self.query {
            Some(pairs) => write!(f, "?{}", pairs.join("&")),
            None => Ok(()),
        }
    }
}

impl FromStr for PathPattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for PathPattern {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests;
