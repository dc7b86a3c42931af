//! URLs of git repositories, in one canonical spelling, and patterns over them.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pattern::host::{Host, HostError};
use crate::pattern::segments::{SegmentError, SegmentPattern};

/// Port of `https` where the URL names none.
const HTTPS_PORT: u16 = 443;
/// Longest URL in bytes, as in the schema.
const URL_LIMIT: usize = 512;

/// `https://host[:port]/path`: host in lower case, port 443 left out, no user-info, query or fragment, no empty or
/// dotted segments, no slash at the end. What must be percent-encoded is, such as `%20` in the names of Azure's projects;
/// what need not be is not.
///
/// A final `.git` is kept, because some forges answer the other spelling with a redirect and git is told to follow
/// none; patterns ignore it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryUrl {
    host: Host,
    port: u16,
    path: String,
    text: String,
}

/// Why a text is not a [`RepositoryUrl`] or a [`RepositoryPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    /// Another scheme, or the scp form.
    #[error("only https:// URLs can be cloned; write git@host:path as https://host/path")]
    Scheme,
    /// More than 512 bytes.
    #[error("the URL is longer than 512 bytes")]
    TooLong,
    /// `user@` or `user:password@`.
    #[error("the URL carries user information: a sandbox holds no credentials, leave it out")]
    UserInfo,
    /// Not a number from 1 to 65535 without leading zeros.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Percent-encoding that is none, or stands for what no path of a repository has.
    #[error("the path has a '%' that does not stand for a visible character, or stands for '/', '\\' or '%'")]
    PercentEncoding,
    /// Query or fragment.
    #[error("the URL has a query or a fragment: leave it out")]
    Query,
    /// A character that no path of a repository needs.
    #[error(
        "the path has a character other than letters, digits, '-', '_', '.', '~' and '+': write it percent-encoded, a \
         space as %20"
    )]
    OddByte,
    /// Nothing after the host, or an empty or dotted segment.
    #[error("the path is missing, or has an empty, '.', '..' or '.git' segment")]
    Path,
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The pattern's path.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// Scheme, host and port, and what stands behind them without the slash.
fn split(text: &str) -> Result<(Host, u16, &str), RepositoryError> {
    if text.len() > URL_LIMIT {
        return Err(RepositoryError::TooLong);
    }
    let (scheme, rest) = text.split_once("://").ok_or(RepositoryError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(RepositoryError::Scheme);
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(RepositoryError::UserInfo);
    }
    if authority.contains(['?', '#']) || path.contains(['?', '#']) {
        return Err(RepositoryError::Query);
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.contains(['[', ']']) => (host, parse_port(port)?),
        _ => (authority, HTTPS_PORT),
    };
    Ok((Host::parse(host)?, port, path))
}

fn parse_port(text: &str) -> Result<u16, RepositoryError> {
    if !text.bytes().all(|b| b.is_ascii_digit()) || text.starts_with('0') {
        return Err(RepositoryError::Port);
    }
    text.parse().map_err(|_| RepositoryError::Port)
}

/// The one spelling of a segment: percent-encoded is what has to be, in upper case.
fn canonical_segment(segment: &str) -> Result<String, RepositoryError> {
    let decoded = decode(segment)?;
    if matches!(decoded.as_str(), "" | "." | "..") || decoded.eq_ignore_ascii_case(".git") {
        return Err(RepositoryError::Path);
    }
    let mut canonical = String::with_capacity(segment.len());
    for byte in decoded.bytes() {
        if is_plain(byte) {
            canonical.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(canonical, "%{byte:02X}");
        }
    }
    Ok(canonical)
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+')
}

fn decode(segment: &str) -> Result<String, RepositoryError> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = after
                .split_at_checked(2)
                .ok_or(RepositoryError::PercentEncoding)?;
            decoded.push(hexadecimal(digits).ok_or(RepositoryError::PercentEncoding)?);
            rest = after;
        } else if is_plain(byte) {
            decoded.push(byte);
        } else {
            return Err(RepositoryError::OddByte);
        }
    }
    // A second spelling of a slash or of a percent sign would be read otherwise by whoever decodes once more.
    let odd = |char: char| cofferdam_text::is_hidden(char) || matches!(char, '/' | '\\' | '%');
    String::from_utf8(decoded)
        .ok()
        .filter(|text| !text.contains(odd))
        .ok_or(RepositoryError::PercentEncoding)
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let value = digits
        .iter()
        .try_fold(0, |value, byte| Some(value * 16 + digit(byte)?));
    value.and_then(|value| u8::try_from(value).ok())
}

fn origin(host: &Host, port: u16) -> String {
    if port == HTTPS_PORT {
        format!("https://{host}")
    } else {
        format!("https://{host}:{port}")
    }
}

impl RepositoryUrl {
    /// Reads a URL into its canonical spelling.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub fn parse(text: &str) -> Result<Self, RepositoryError> {
        let (host, port, path) = split(text)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments = path
            .split('/')
            .map(canonical_segment)
            .collect::<Result<Vec<_>, _>>()?;
        let path = segments.join("/");
        let text = format!("{}/{path}", origin(&host, port));
        let path = path.strip_suffix(".git").unwrap_or(&path).to_owned();
        Ok(Self {
            host,
            port,
            path,
            text,
        })
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port; 443 where the URL names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path without the slash before it and `.git` behind it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The canonical spelling, to be handed to git.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RepositoryUrl {
    type Err = RepositoryError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// `https://host[:port]/path` with `*` for one whole segment and a final `**` for one or more. Never a wildcard host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryPattern {
    host: Host,
    port: u16,
    path: SegmentPattern,
}

impl RepositoryPattern {
    /// The pattern that means this repository alone: every URL is a pattern of itself.
    pub fn of(url: &RepositoryUrl) -> Self {
        Self {
            host: url.host.clone(),
            port: url.port,
            path: SegmentPattern::of_path(&url.path),
        }
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub fn parse(text: &str) -> Result<Self, RepositoryError> {
        let (host, port, path) = split(text)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Err(RepositoryError::Path);
        }
        let segments = path
            .strip_suffix(".git")
            .unwrap_or(path)
            .split('/')
            .map(|segment| match segment {
                // The pattern's own parser knows stars, and refuses those that it does not.
                starred if starred.contains('*') => Ok(starred.to_owned()),
                literal => canonical_segment(literal),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let path = SegmentPattern::parse(&segments.join("/"))?;
        Ok(Self { host, port, path })
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port; 443 where the pattern names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path.
    pub(crate) const fn path(&self) -> &SegmentPattern {
        &self.path
    }

    /// Whether `url` is one of the repositories meant.
    pub fn matches(&self, url: &RepositoryUrl) -> bool {
        self.host == url.host && self.port == url.port && self.path.matches(&url.path)
    }

    /// Whether the repository with this path, without slash and `.git`, is meant at the pattern's host and port.
    pub fn matches_path(&self, path: &str) -> bool {
        self.path.matches(path)
    }

    /// Whether some repository is meant by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port && self.path.overlaps(&other.path)
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", origin(&self.host, self.port), self.path)
    }
}

impl Serialize for RepositoryPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RepositoryPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl FromStr for RepositoryPattern {
    type Err = RepositoryError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
