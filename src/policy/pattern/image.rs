//! Image references in their canonical form, and patterns over them.

use std::fmt;
use std::str::FromStr;

use crate::pattern::segments::{SegmentError, SegmentPattern};

/// Registry of a reference that names none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Another name of the default registry.
const DEFAULT_REGISTRY_ALIAS: &str = "index.docker.io";
/// Namespace of one-segment names in the default registry.
const LIBRARY: &str = "library/";
/// Tag of a reference that names neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// Longest reference in bytes, as in the schema.
const REFERENCE_LIMIT: usize = 512;

/// What of a repository is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Version {
    Tag(String),
    Digest(String),
}

/// `registry/repository:tag` or `registry/repository@digest`, nothing implied.
///
/// Of a reference with both, the digest counts: that is what container runtimes pull.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    registry: String,
    repository: String,
    version: Version,
}

/// Why a text is not an [`ImageReference`] or an [`ImagePattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Nothing there, or too much.
    #[error("the image reference is empty or longer than 512 bytes")]
    Length,
    /// The part before the first slash.
    #[error("the registry is not a lower-case host name with an optional port")]
    Registry,
    /// The part after it.
    #[error("the repository has a segment other than a-z and 0-9 separated by '.', '_', '__' or hyphens")]
    Repository,
    /// The part after the last colon.
    #[error(
        "the tag must be 1 to 128 letters, digits, '_', '.' and '-', and must start with a letter, a digit or '_'"
    )]
    Tag,
    /// The part after `@`.
    #[error("the digest is not sha256: and 64, or sha512: and 128, lower-case hexadecimal digits")]
    Digest,
    /// A pattern whose star could mean registries.
    #[error("a pattern with '*' in its first segment must name the registry: write docker.io/…")]
    RegistryWildcard,
    /// A pattern without a slash that is the name of a registry.
    #[error("a registry alone names no image: write {0}/**")]
    RegistryAlone(String),
    /// Stars.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// Name and, where given, tag and digest.
struct Parts<'a> {
    name: &'a str,
    version: Option<Version>,
}

fn split_version(text: &str) -> Result<Parts<'_>, ImageError> {
    if text.is_empty() || text.len() > REFERENCE_LIMIT {
        return Err(ImageError::Length);
    }
    let (tagged, digest) = match text.split_once('@') {
        Some((tagged, digest)) => (tagged, Some(check_digest(digest)?)),
        None => (text, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let (name, tag) = match tagged.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(check_tag(tag)?)),
        _ => (tagged, None),
    };
    let version = digest
        .map(|d| Version::Digest(d.to_owned()))
        .or_else(|| tag.map(|t| Version::Tag(t.to_owned())));
    Ok(Parts { name, version })
}

fn check_tag(tag: &str) -> Result<&str, ImageError> {
    let first = tag
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let rest = tag
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if first && rest && tag.len() <= 128 {
        Ok(tag)
    } else {
        Err(ImageError::Tag)
    }
}

fn check_digest(digest: &str) -> Result<&str, ImageError> {
    let (hex, length) = match digest.split_once(':') {
        Some(("sha256", hex)) => (hex, 64),
        Some(("sha512", hex)) => (hex, 128),
        _ => return Err(ImageError::Digest),
    };
    let is_hex = hex
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_hex && hex.len() == length {
        Ok(digest)
    } else {
        Err(ImageError::Digest)
    }
}

/// Registry and path of a name, with what is implied filled in (the rule of Docker's reference grammar).
fn split_registry(name: &str) -> Result<(String, String), ImageError> {
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == DEFAULT_REGISTRY_ALIAS {
        DEFAULT_REGISTRY
    } else {
        registry
    };
    check_registry(registry)?;
    let implied = if registry == DEFAULT_REGISTRY && !path.contains('/') && path != "**" {
        LIBRARY
    } else {
        ""
    };
    Ok((registry.to_owned(), format!("{implied}{path}")))
}

/// A colon before a port reads as one before a tag here. No image of the default registry that is named by one segment has a
/// dot in its name.
fn is_registry_alone(name: &str) -> bool {
    !name.contains('/') && (name.contains('.') || name == "localhost")
}

fn check_registry(registry: &str) -> Result<(), ImageError> {
    let (host, port) = registry
        .split_once(':')
        .map_or((registry, None), |(h, p)| (h, Some(p)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let port_ok = port.is_none_or(|p| {
        p.bytes().all(|b| b.is_ascii_digit()) && !p.starts_with('0') && p.parse::<u16>().is_ok()
    });
    if host.split('.').all(label) && port_ok {
        Ok(())
    } else {
        Err(ImageError::Registry)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, the grammar of the OCI distribution specification.
fn check_segment(segment: &str) -> Result<(), ImageError> {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = [segment.bytes().next(), segment.bytes().last()];
    let separators = segment
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|separator| !separator.is_empty());
    let known =
        |separator: &str| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
    if edges.iter().all(|edge| edge.is_some_and(alphanumeric)) && separators.into_iter().all(known) {
        Ok(())
    } else {
        Err(ImageError::Repository)
    }
}

impl ImageReference {
    /// Reads a reference.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let parts = split_version(text)?;
        let (registry, repository) = split_registry(parts.name)?;
        repository.split('/').try_for_each(check_segment)?;
        let version = parts
            .version
            .unwrap_or_else(|| Version::Tag(DEFAULT_TAG.to_owned()));
        Ok(Self {
            registry,
            repository,
            version,
        })
    }

    /// The digest, if the image is named by one.
    pub fn digest(&self) -> Option<&str> {
        match &self.version {
            Version::Digest(digest) => Some(digest),
            Version::Tag(_) => None,
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.version.fmt(f)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl FromStr for ImageReference {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// `registry/repository[:tag|@digest]` with `*` for one whole segment of the repository and a final `**` for one or
/// more. Without tag and digest it matches every version; with a tag only references by that tag, because a digest
/// beside a tag overrules it; with a digest only that digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImagePattern {
    registry: String,
    repository: SegmentPattern,
    version: Option<Version>,
}

impl ImagePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        if text.split('/').next().is_some_and(|first| first.contains('*')) {
            return Err(ImageError::RegistryWildcard);
        }
        let Parts { name, version } = split_version(text)?;
        if is_registry_alone(name) {
            return Err(ImageError::RegistryAlone(text.to_owned()));
        }
        let (registry, repository) = split_registry(name)?;
        let repository = SegmentPattern::parse(&repository)?;
        repository.literals().try_for_each(check_segment)?;
        Ok(Self {
            registry,
            repository,
            version,
        })
    }

    /// Whether `image` is one of those meant.
    pub fn matches(&self, image: &ImageReference) -> bool {
        self.registry == image.registry
            && self.repository.matches(&image.repository)
            && self
                .version
                .as_ref()
                .is_none_or(|version| *version == image.version)
    }

    /// Whether some reference is meant by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let versions_meet = match (&self.version, &other.version) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        self.registry == other.registry && self.repository.overlaps(&other.repository) && versions_meet
    }

    /// Whether it means references by tag only, which name no digest.
    pub fn is_by_tag(&self) -> bool {
        matches!(self.version, Some(Version::Tag(_)))
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.version.as_ref().map_or(Ok(()), |version| version.fmt(f))
    }
}

impl FromStr for ImagePattern {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
