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
    #[error("the tag is not 1 to 128 letters, digits, '_', '.' and '-', starting with none of the last two")]
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
mod tests {
    use super::*;
    use rstest::rstest;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const OTHER: &str = "sha256:0000c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[rstest]
    #[case("nginx", "docker.io/library/nginx:latest")]
    #[case("team/app:1", "docker.io/team/app:1")]
    #[case("index.docker.io/nginx", "docker.io/library/nginx:latest")]
    #[case("localhost/app", "localhost/app:latest")]
    #[case("localhost:5000/app:x", "localhost:5000/app:x")]
    #[case("ghcr.io/team/sub/app_b.c--d:V1.2-rc", "ghcr.io/team/sub/app_b.c--d:V1.2-rc")]
    #[case("cofferdam.test/busybox:dev", "cofferdam.test/busybox:dev")]
    fn references_have_one_spelling(#[case] text: &str, #[case] canonical: &str) {
        assert_eq!(ImageReference::parse(text).unwrap().to_string(), canonical);
    }

    #[test]
    fn a_digest_overrules_the_tag_beside_it() {
        let both = ImageReference::parse(&format!("team/app:1@{DIGEST}")).unwrap();
        assert_eq!(both.to_string(), format!("docker.io/team/app@{DIGEST}"));
    }

    #[rstest]
    #[case("", ImageError::Length)]
    #[case("Team/app", ImageError::Repository)]
    #[case("GHCR.io/team/app", ImageError::Registry)]
    #[case("ghcr.io:99999/team/app", ImageError::Registry)]
    #[case("-a.io/app", ImageError::Registry)]
    #[case("ghcr.io//app", ImageError::Repository)]
    #[case("ghcr.io/app/", ImageError::Repository)]
    #[case("ghcr.io/team/../app", ImageError::Repository)]
    #[case("team/app___x", ImageError::Repository)]
    #[case("team/-app", ImageError::Repository)]
    #[case("team/app x", ImageError::Repository)]
    #[case("team/аpp", ImageError::Repository)]
    #[case("team/*", ImageError::Repository)]
    #[case("app:", ImageError::Tag)]
    #[case("app:-x", ImageError::Tag)]
    #[case("app:a b", ImageError::Tag)]
    #[case("app@sha256:abc", ImageError::Digest)]
    #[case("app@md5:d41d8cd98f00b204e9800998ecf8427e", ImageError::Digest)]
    fn other_references_are_refused(#[case] text: &str, #[case] error: ImageError) {
        assert_eq!(ImageReference::parse(text), Err(error));
    }

    #[rstest]
    #[case("ghcr.io/team/*", "ghcr.io/team/app:1", true)]
    #[case("ghcr.io/team/*", "ghcr.io/team-evil/app:1", false)]
    #[case("ghcr.io/team/*", "ghcr.io/team/sub/app:1", false)]
    #[case("ghcr.io/team/**", "ghcr.io/team/sub/app:1", true)]
    #[case("ghcr.io/team/**", "ghcr.io.evil.example/team/app", false)]
    #[case("ghcr.io/**", "ghcr.io:8443/team/app", false)]
    #[case("docker.io/**", "nginx", true)]
    #[case("docker.io/**", "ghcr.io/nginx", false)]
    #[case("nginx", "docker.io/library/nginx:1.2", true)]
    #[case("docker.io/*", "nginx", true)]
    #[case("docker.io/*", "team/app", false)]
    #[case("ghcr.io/team/app:1", "ghcr.io/team/app:1", true)]
    #[case("ghcr.io/team/app:1", "ghcr.io/team/app:2", false)]
    #[case("ghcr.io/team/app:latest", "ghcr.io/team/app", true)]
    fn patterns_compare_segments_and_versions(
        #[case] pattern: &str,
        #[case] image: &str,
        #[case] matches: bool,
    ) {
        let pattern = ImagePattern::parse(pattern).unwrap();
        assert_eq!(pattern.matches(&ImageReference::parse(image).unwrap()), matches);
    }

    #[test]
    fn a_tag_and_a_digest_never_stand_for_each_other() {
        let image = |text: &str| ImageReference::parse(text).unwrap();
        let by_tag = ImagePattern::parse("team/app:1").unwrap();
        let by_digest = ImagePattern::parse(&format!("team/app@{DIGEST}")).unwrap();
        assert!(by_tag.matches(&image("team/app:1")));
        assert!(!by_tag.matches(&image(&format!("team/app:1@{OTHER}"))));
        assert!(by_digest.matches(&image(&format!("team/app:2@{DIGEST}"))));
        assert!(!by_digest.matches(&image(&format!("team/app:1@{OTHER}"))));
        assert!(!by_digest.matches(&image("team/app:1")));
    }

    #[rstest]
    #[case("**", ImageError::RegistryWildcard)]
    #[case("*/app", ImageError::RegistryWildcard)]
    #[case("*.io/app", ImageError::RegistryWildcard)]
    #[case("ghcr.io/team*", ImageError::Segment(SegmentError::Star))]
    #[case("ghcr.io/**/app", ImageError::Segment(SegmentError::Star))]
    #[case("ghcr.io/team/*:*", ImageError::Tag)]
    #[case("ghcr.io", ImageError::RegistryAlone("ghcr.io".to_owned()))]
    #[case("localhost:5000", ImageError::RegistryAlone("localhost:5000".to_owned()))]
    #[case("registry.example.com:5000", ImageError::RegistryAlone("registry.example.com:5000".to_owned()))]
    fn patterns_that_could_be_misread_are_refused(#[case] text: &str, #[case] error: ImageError) {
        assert_eq!(ImagePattern::parse(text), Err(error));
    }

    #[rstest]
    #[case("ghcr.io/team/**", "ghcr.io/team/app:1", true)]
    #[case("ghcr.io/team/**", "quay.io/team/**", false)]
    #[case("ghcr.io/team/app:1", "ghcr.io/team/app:2", false)]
    #[case("ghcr.io/team/app:1", "ghcr.io/*/app", true)]
    fn patterns_that_share_an_image(#[case] one: &str, #[case] two: &str, #[case] overlap: bool) {
        let [one, two] = [one, two].map(|text| ImagePattern::parse(text).unwrap());
        assert_eq!((one.overlaps(&two), two.overlaps(&one)), (overlap, overlap));
        let by_digest = ImagePattern::parse(&format!("ghcr.io/team/app@{DIGEST}")).unwrap();
        assert_eq!(by_digest.overlaps(&one), one.to_string() == "ghcr.io/team/**");
        assert!(!by_digest.is_by_tag());
    }
}
