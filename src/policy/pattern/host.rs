//! Host names: parsed once, and the same value is matched, resolved, dialled and compared with the TLS server name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest host name (RFC 1035 §2.3.4, without the root's dot).
const NAME_LIMIT: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const LABEL_LIMIT: usize = 63;
/// The label behind the namespace in a Service's name (Kubernetes' DNS specification).
pub(super) const ZONE: &str = "svc";

/// A fully qualified DNS name: lower-case ASCII letters, digits and hyphens, at least two labels, no trailing dot.
///
/// It is never an address: whatever a resolver or a URL parser could take for an IPv4 or IPv6 literal is refused,
/// in every spelling (`127.1`, `0x7f.0.0.1`, `2130706433`, `[::1]`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(String);

/// Why a text is not a [`Host`] or a [`HostPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A pattern with capitals.
    #[error("the host name has capitals: write it in lower case, its canonical form")]
    Capitals,
    /// Nothing there.
    #[error("the host name is empty")]
    Empty,
    /// Longer than DNS allows.
    #[error("the host name is longer than 253 characters, or one of its labels is longer than 63")]
    TooLong,
    /// A trailing dot is another spelling of the same name.
    #[error("the host name ends in a dot: leave it out")]
    TrailingDot,
    /// An address, or what some parser would take for one.
    #[error("this is an IP address, not a host name: policies grant names only")]
    Address,
    /// One label only: what it means depends on search domains.
    #[error("the host name has one label only: write the full name, such as git.example.com")]
    SingleLabel,
    /// A byte that host names do not have.
    #[error(
        "the host name has a character other than a-z, 0-9, '-' and '.' (write internationalised names as xn--…)"
    )]
    OddByte,
    /// An empty label, or a hyphen at the edge of one.
    #[error("the host name has an empty label, or one that starts or ends with a hyphen")]
    Label,
    /// A star that is not the whole left-most label.
    #[error("'*' can only stand for the whole left-most label, as in *.example.com")]
    Wildcard,
    /// The rest of a wildcard is a single label, such as `*.com`.
    #[error("the wildcard covers a whole top-level domain: name at least two labels after '*.'")]
    WildcardTooWide,
    /// The rest of a wildcard is a public suffix, such as `*.co.uk` or `*.github.io`: anyone can have a name there.
    #[error(
        "the wildcard covers a public suffix (publicsuffix.org), under which anyone can rent a name: name the hosts"
    )]
    WildcardOverPublicSuffix,
}

impl Host {
    /// Reads a host name; ASCII upper case is folded.
    ///
    /// # Errors
    /// [`HostError`], for everything that is not one unambiguous DNS name.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.contains([':', '[', ']']) {
            return Err(HostError::Address);
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        {
            return Err(HostError::OddByte);
        }
        if text.ends_with('.') {
            return Err(HostError::TrailingDot);
        }
        if text.len() > NAME_LIMIT || text.split('.').any(|label| label.len() > LABEL_LIMIT) {
            return Err(HostError::TooLong);
        }
        let name = text.to_ascii_lowercase();
        if name.rsplit('.').next().is_some_and(is_number) {
            return Err(HostError::Address);
        }
        if name
            .split('.')
            .any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-'))
        {
            return Err(HostError::Label);
        }
        if !name.contains('.') {
            return Err(HostError::SingleLabel);
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name and namespace of the Service that `name.namespace.svc` means; `None`: the host is no name of that form.
    #[inline]
    pub fn as_service(&self) -> Option<(&str, &str)> {
        let mut labels = self.0.split('.');
        match (labels.next(), labels.next(), labels.next(), labels.next()) {
            (Some(name), Some(namespace), Some(ZONE), None) => Some((name, namespace)),
            _ => None,
        }
    }

    /// The name without its left-most label, if a wildcard over it would be a [`HostPattern`].
    pub fn parent(&self) -> Option<Self> {
        let (_, parent) = self.0.split_once('.')?;
        parent.contains('.').then(|| Self(parent.to_owned()))
    }
}

/// Whether a URL parser would read a host with this last label as an IPv4 address (URL standard, "ends in a number").
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x");
    (!label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()))
        || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Host {
    type Err = HostError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A [`Host`], or every name with exactly one label more than it: `*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This name.
    Exact(Host),
    /// One label, then this name. The name itself does not match, nor do deeper ones.
    Wildcard(Host),
}

impl HostPattern {
    /// Reads `host` or `*.host`, in lower case, as the API server takes them.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(HostError::Capitals);
        }
        let Some(rest) = text.strip_prefix("*.") else {
            if text.contains('*') {
                return Err(HostError::Wildcard);
            }
            return Host::parse(text).map(Self::Exact);
        };
        if rest.contains('*') {
            return Err(HostError::Wildcard);
        }
        match Host::parse(rest) {
            Err(HostError::SingleLabel) => Err(HostError::WildcardTooWide),
            Ok(rest) if is_public_suffix(&rest) => Err(HostError::WildcardOverPublicSuffix),
            other => other.map(Self::Wildcard),
        }
    }

    /// Whether `host` is one of the names meant.
    #[inline]
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(rest) => host
                .as_str()
                .split_once('.')
                .is_some_and(|(_, parent)| parent == rest.as_str()),
        }
    }

    /// Whether the names that it means are names of Services, which no rule for hosts means.
    pub fn is_of_services(&self) -> bool {
        match self {
            Self::Exact(host) => host.as_service().is_some(),
            // Names right below it are Services of a namespace.
            Self::Wildcard(rest) => rest
                .as_str()
                .split_once('.')
                .is_some_and(|(_, zone)| zone == ZONE),
        }
    }

    /// Whether every name that `other` means is meant by this one.
    pub fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(host) => self.matches(host),
            Self::Wildcard(_) => self == other,
        }
    }

    /// Whether some name is meant by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => pattern.matches(name),
            (Self::Wildcard(one), Self::Wildcard(two)) => one == two,
        }
    }
}

/// Whether names right below this one belong to whoever asks for them: the public suffix list, its private section
/// (`github.io`, `s3.amazonaws.com`) too. A name that the list does not know is nobody's suffix.
fn is_public_suffix(host: &Host) -> bool {
    psl::suffix(host.as_str().as_bytes())
        .is_some_and(|suffix| suffix.is_known() && suffix.as_bytes() == host.as_str().as_bytes())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Wildcard(rest) => write!(f, "*.{rest}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Serialises as the text, and reads it back through the one parser.
macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Host, HostPattern);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("github.com", "github.com")]
    #[case("API.GitHub.COM", "api.github.com")]
    #[case("xn--bcher-kva.example", "xn--bcher-kva.example")]
    #[case("a-b.3com.net", "a-b.3com.net")]
    #[case("1.2.3.example", "1.2.3.example")]
    #[case("0x7f.example", "0x7f.example")]
    fn a_host_name_is_read_and_folded(#[case] text: &str, #[case] read: &str) {
        assert_eq!(Host::parse(text).unwrap().as_str(), read);
    }

    #[rstest]
    #[case("", HostError::Empty)]
    #[case("github.com.", HostError::TrailingDot)]
    #[case(".", HostError::TrailingDot)]
    #[case("localhost", HostError::SingleLabel)]
    #[case("kubernetes", HostError::SingleLabel)]
    #[case("127.0.0.1", HostError::Address)]
    #[case("127.1", HostError::Address)]
    #[case("2130706433", HostError::Address)]
    #[case("0x7f000001", HostError::Address)]
    #[case("0X7F.0.0.0x1", HostError::Address)]
    #[case("0177.0.0.01", HostError::Address)]
    #[case("example.0x", HostError::Address)]
    #[case("a.256", HostError::Address)]
    #[case("[::1]", HostError::Address)]
    #[case("::1", HostError::Address)]
    #[case("::ffff:10.0.0.1", HostError::Address)]
    #[case("github.com:443", HostError::Address)]
    #[case("git hub.com", HostError::OddByte)]
    #[case("github.com\0.evil.example", HostError::OddByte)]
    #[case("github.com%2eevil.example", HostError::OddByte)]
    #[case("user@github.com", HostError::OddByte)]
    #[case("git_hub.com", HostError::OddByte)]
    #[case("github。com", HostError::OddByte)]
    #[case("gıthub.com", HostError::OddByte)]
    #[case("①.example", HostError::OddByte)]
    #[case("*.github.com", HostError::OddByte)]
    #[case("a..b", HostError::Label)]
    #[case(".github.com", HostError::Label)]
    #[case("-a.example", HostError::Label)]
    #[case("a-.example", HostError::Label)]
    fn what_is_not_one_clear_name_is_refused(#[case] text: &str, #[case] error: HostError) {
        assert_eq!(Host::parse(text), Err(error));
    }

    #[test]
    fn names_at_the_bounds() {
        let label = "a".repeat(63);
        assert!(Host::parse(&format!("{label}.com")).is_ok());
        assert_eq!(Host::parse(&format!("{label}a.com")), Err(HostError::TooLong));
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(Host::parse(&longest).is_ok());
        assert_eq!(Host::parse(&format!("{longest}a")), Err(HostError::TooLong));
    }

    #[rstest]
    #[case("*.example.com", "a.example.com", true)]
    #[case("*.example.com", "A.example.COM", true)]
    #[case("*.example.com", "example.com", false)]
    #[case("*.example.com", "a.b.example.com", false)]
    #[case("*.example.com", "evilexample.com", false)]
    #[case("*.example.com", "a.example.com.evil.org", false)]
    // Below a name that someone has under a public suffix, the labels are that one's own.
    #[case("*.team.github.io", "a.team.github.io", true)]
    // `!www.ck` is an exception of the list.
    #[case("*.www.ck", "a.www.ck", true)]
    #[case("*.internet.test", "a.internet.test", true)]
    #[case("example.com", "example.com", true)]
    #[case("example.com", "a.example.com", false)]
    #[case("example.com", "example.com.evil.org", false)]
    fn a_star_is_one_left_label(#[case] pattern: &str, #[case] host: &str, #[case] matches: bool) {
        let pattern = HostPattern::parse(pattern).unwrap();
        assert_eq!(pattern.matches(&Host::parse(host).unwrap()), matches);
    }

    #[rstest]
    #[case("*", HostError::Wildcard)]
    #[case("**.example.com", HostError::Wildcard)]
    #[case("*.*.example.com", HostError::Wildcard)]
    #[case("a*.example.com", HostError::Wildcard)]
    #[case("a.*.example.com", HostError::Wildcard)]
    #[case("*.com", HostError::WildcardTooWide)]
    #[case("*.co.uk", HostError::WildcardOverPublicSuffix)]
    #[case("*.github.io", HostError::WildcardOverPublicSuffix)]
    #[case("*.s3.amazonaws.com", HostError::WildcardOverPublicSuffix)]
    #[case("*.blob.core.windows.net", HostError::WildcardOverPublicSuffix)]
    #[case("*.pages.dev", HostError::WildcardOverPublicSuffix)]
    // A rule of the list that is itself a wildcard, `*.ck`: every name of two labels is a suffix.
    #[case("*.com.ck", HostError::WildcardOverPublicSuffix)]
    #[case("*.127.0.0.1", HostError::Address)]
    #[case("*.", HostError::Empty)]
    #[case("A.example.com", HostError::Capitals)]
    #[case("*.Example.com", HostError::Capitals)]
    fn stars_elsewhere_are_refused(#[case] text: &str, #[case] error: HostError) {
        assert_eq!(HostPattern::parse(text), Err(error));
    }

    #[rstest]
    #[case("a.example.com", "a.example.com", true)]
    #[case("a.example.com", "b.example.com", false)]
    #[case("a.example.com", "*.example.com", true)]
    #[case("*.example.com", "example.com", false)]
    #[case("*.example.com", "*.example.com", true)]
    #[case("*.example.com", "*.a.example.com", false)]
    fn patterns_that_share_a_name(#[case] one: &str, #[case] two: &str, #[case] overlap: bool) {
        let [one, two] = [one, two].map(|text| HostPattern::parse(text).unwrap());
        assert_eq!((one.overlaps(&two), two.overlaps(&one)), (overlap, overlap));
    }
}
