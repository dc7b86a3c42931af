//! URLs of git repositories, in one canonical spelling, and patterns over them.

use std::fmt::{self, Write as _};
use std::str::FromStr;

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryPattern {
    host: Host,
    port: u16,
    path: SegmentPattern,
}

impl RepositoryPattern {
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

    /// Whether `url` is one of the repositories meant.
    pub fn matches(&self, url: &RepositoryUrl) -> bool {
        self.host == url.host && self.port == url.port && self.path.matches(&url.path)
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

impl FromStr for RepositoryPattern {
    type Err = RepositoryError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://github.com/team/app", "https://github.com/team/app")]
    #[case("HTTPS://GitHub.COM/Team/app", "https://github.com/Team/app")]
    #[case("https://github.com:443/team/app", "https://github.com/team/app")]
    #[case(
        "https://git.example.com:8443/app.git",
        "https://git.example.com:8443/app.git"
    )]
    #[case("https://github.com/team/app/", "https://github.com/team/app")]
    #[case(
        "https://git.example.com/a/b/c/d~e+f_g",
        "https://git.example.com/a/b/c/d~e+f_g"
    )]
    #[case(
        "https://dev.azure.com/org/My%20Project/_git/shop",
        "https://dev.azure.com/org/My%20Project/_git/shop"
    )]
    #[case("https://github.com/%74eam/app", "https://github.com/team/app")]
    #[case(
        "https://dev.azure.com/org/C%23%20%26%20%c3%a9t%C3%A9/_git/x",
        "https://dev.azure.com/org/C%23%20%26%20%C3%A9t%C3%A9/_git/x"
    )]
    #[case("https://github.com/a%2Ab/app", "https://github.com/a%2Ab/app")]
    #[case("https://github.com/a%2bb/app%2Egit", "https://github.com/a+b/app.git")]
    fn urls_have_one_spelling(#[case] text: &str, #[case] canonical: &str) {
        assert_eq!(RepositoryUrl::parse(text).unwrap().as_str(), canonical);
        assert_eq!(RepositoryUrl::parse(canonical).unwrap().as_str(), canonical);
    }

    #[rstest]
    #[case("git@github.com:team/app.git", RepositoryError::Scheme)]
    #[case("github.com/team/app", RepositoryError::Scheme)]
    #[case("http://github.com/team/app", RepositoryError::Scheme)]
    #[case("ssh://git@github.com/team/app", RepositoryError::Scheme)]
    #[case("file:///etc", RepositoryError::Scheme)]
    #[case("ext::sh -c id", RepositoryError::Scheme)]
    #[case(" https://github.com/team/app", RepositoryError::Scheme)]
    #[case("https://user@github.com/team/app", RepositoryError::UserInfo)]
    #[case("https://user:word@github.com/team/app", RepositoryError::UserInfo)]
    #[case("https://github.com@evil.example/team/app", RepositoryError::UserInfo)]
    #[case("https://github.com:0/team/app", RepositoryError::Port)]
    #[case("https://github.com:65536/team/app", RepositoryError::Port)]
    #[case("https://github.com:0443/team/app", RepositoryError::Port)]
    #[case("https://github.com:/team/app", RepositoryError::Port)]
    #[case("https://github.com:+443/team/app", RepositoryError::Port)]
    #[case("https://github.com/team%2fapp", RepositoryError::PercentEncoding)]
    #[case("https://github.com/%2e%2e/app", RepositoryError::Path)]
    #[case("https://github.com/team/%2egit", RepositoryError::Path)]
    #[case("https://github.com/team%5Capp", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team%252fapp", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team%00app", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team%0aapp", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team%E2%80%AEapp", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team%ff", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team%2", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team%", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team%+1", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team%é1", RepositoryError::PercentEncoding)]
    #[case("https://github.com/team/app?x=1", RepositoryError::Query)]
    #[case("https://github.com/team/app#x", RepositoryError::Query)]
    #[case("https://github.com?/team/app", RepositoryError::Query)]
    #[case("https://github.com/team\\app", RepositoryError::OddByte)]
    #[case("https://github.com/team app", RepositoryError::OddByte)]
    #[case("https://github.com/team\napp", RepositoryError::OddByte)]
    #[case("https://github.com/team/äpp", RepositoryError::OddByte)]
    #[case("https://github.com/team/*", RepositoryError::OddByte)]
    #[case("https://github.com", RepositoryError::Path)]
    #[case("https://github.com/", RepositoryError::Path)]
    #[case("https://github.com//team/app", RepositoryError::Path)]
    #[case("https://github.com/team//app", RepositoryError::Path)]
    #[case("https://github.com/team/../app", RepositoryError::Path)]
    #[case("https://github.com/team/./app", RepositoryError::Path)]
    #[case("https://github.com/team/.git", RepositoryError::Path)]
    #[case("https://github.com/team/app//", RepositoryError::Path)]
    #[case("https://127.0.0.1/team/app", RepositoryError::Host(HostError::Address))]
    #[case("https://[::1]:443/team/app", RepositoryError::Host(HostError::Address))]
    #[case("https://localhost/team/app", RepositoryError::Host(HostError::SingleLabel))]
    #[case("https://github.com./team/app", RepositoryError::Host(HostError::TrailingDot))]
    #[case("https:///team/app", RepositoryError::Host(HostError::Empty))]
    fn other_urls_are_refused(#[case] text: &str, #[case] error: RepositoryError) {
        assert_eq!(RepositoryUrl::parse(text), Err(error));
    }

    #[rstest]
    #[case("https://github.com/team/app", "https://github.com/team/app.git", true)]
    #[case("https://github.com/team/app.git", "https://github.com/team/app", true)]
    #[case("https://GITHUB.com:443/team/app", "https://github.com/team/app", true)]
    #[case("https://github.com/team/*", "https://github.com/team/app", true)]
    #[case("https://github.com/team/*", "https://github.com/team-evil/app", false)]
    #[case("https://github.com/team/*", "https://github.com/team/sub/app", false)]
    #[case("https://github.com/team/**", "https://github.com/team/sub/app", true)]
    #[case("https://github.com/**", "https://github.com/team/app", true)]
    #[case(
        "https://dev.azure.com/org/My%20Project/**",
        "https://dev.azure.com/org/My%20Project/_git/shop",
        true
    )]
    #[case(
        "https://dev.azure.com/org/my%2dproject/*",
        "https://dev.azure.com/org/my-project/x",
        true
    )]
    #[case(
        "https://dev.azure.com/org/My%20Project/**",
        "https://dev.azure.com/org/My/_git/shop",
        false
    )]
    #[case("https://github.com/%2A/app", "https://github.com/team/app", false)]
    #[case("https://github.com/**", "https://github.com:8443/team/app", false)]
    #[case("https://github.com/**", "https://github.com.evil.example/team/app", false)]
    #[case("https://github.com/Team/*", "https://github.com/team/app", false)]
    fn patterns_compare_host_port_and_segments(
        #[case] pattern: &str,
        #[case] url: &str,
        #[case] matches: bool,
    ) {
        let pattern = RepositoryPattern::parse(pattern).unwrap();
        assert_eq!(pattern.matches(&RepositoryUrl::parse(url).unwrap()), matches);
    }

    #[rstest]
    #[case("https://*.example.com/team/*")]
    #[case("https://github.com")]
    #[case("https://github.com/team*")]
    #[case("https://github.com/**/app")]
    #[case("https://github.com/team/../*")]
    #[case("**")]
    fn patterns_that_could_be_misread_are_refused(#[case] text: &str) {
        assert!(RepositoryPattern::parse(text).is_err());
    }

    #[rstest]
    #[case("https://a.example/team/**", "https://a.example/team/app.git", true)]
    #[case("https://a.example/team/**", "https://b.example/team/**", false)]
    #[case("https://a.example/team/**", "https://a.example:8443/team/**", false)]
    fn patterns_that_share_a_repository(#[case] one: &str, #[case] two: &str, #[case] overlap: bool) {
        let [one, two] = [one, two].map(|text| RepositoryPattern::parse(text).unwrap());
        assert_eq!((one.overlaps(&two), two.overlaps(&one)), (overlap, overlap));
    }
}
