//! Submodules as a commit declares them: which there are, and where they are to be cloned from. Pure.

use std::collections::BTreeMap;

use cofferdam_policy::pattern::repository::{RepositoryError, RepositoryUrl};

use crate::text::escape;

/// A submodule as `.gitmodules` declares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Where it stands in the work tree.
    pub path: String,
    /// Where it comes from, as it is written.
    pub url: String,
    /// Whether the project wants it left out (`update = none`).
    skipped: bool,
}

/// Why a submodule has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// `../../../../x`.
    #[error("its url {0} leads above the server's root")]
    AboveRoot(String),
    /// It cannot be cloned by https.
    #[error("its url {0} cannot be used: {1}")]
    Url(String, RepositoryError),
}

/// Reads what `git config --null --list` says of a `.gitmodules`; those without a path or an address, and those that the
/// project wants left out, are none.
pub fn read(listed: &[u8]) -> Vec<Declared> {
    let mut declared: BTreeMap<String, Declared> = BTreeMap::new();
    for record in String::from_utf8_lossy(listed).split('\0') {
        let Some((key, value)) = record.split_once('\n') else {
            continue;
        };
        // The last part of a key is in lower case; a name may hold dots.
        let Some((name, field)) = key
            .strip_prefix("submodule.")
            .and_then(|key| key.rsplit_once('.'))
        else {
            continue;
        };
        let entry = declared.entry(name.to_owned()).or_insert_with(|| Declared {
            name: name.to_owned(),
            ..Declared::default()
        });
        match field {
            "path" => value.trim_end_matches('/').clone_into(&mut entry.path),
            "url" => value.clone_into(&mut entry.url),
            "update" => entry.skipped = value == "none",
            _ => {}
        }
    }
    declared
        .into_values()
        .filter(|each| !each.path.is_empty() && !each.url.is_empty() && !each.skipped)
        .collect()
}

/// Where a submodule is cloned from: its url, or what that is relative to the repository's own; `git@host:path` and
/// `ssh://` are read as `https://`, for nothing else can be cloned.
pub fn address(url: &str, parent: &RepositoryUrl) -> Result<RepositoryUrl, AddressError> {
    let absolute = if url.starts_with("./") || url.starts_with("../") {
        relative(url, parent.as_str()).ok_or_else(|| AddressError::AboveRoot(escape(url.as_bytes())))?
    } else {
        over_https(url)
    };
    RepositoryUrl::parse(&absolute).map_err(|error| AddressError::Url(escape(url.as_bytes()), error))
}

/// As git does: each `../` takes away one part of the parent's path.
fn relative(url: &str, parent: &str) -> Option<String> {
    let (mut base, mut rest) = (parent, url);
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            base = base.rsplit_once('/')?.0;
        } else {
            break;
        }
    }
    // What is left has at least `https://host`.
    (base.matches('/').count() >= 2 && base.len() > "https://".len()).then(|| format!("{base}/{rest}"))
}

fn over_https(url: &str) -> String {
    let without_user = |rest: &str| rest.rsplit_once('@').map_or(rest, |(_, host)| host).to_owned();
    if let Some(rest) = url
        .strip_prefix("ssh://")
        .or_else(|| url.strip_prefix("git+ssh://"))
    {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // The port of ssh says nothing of that of https.
        let host = without_user(authority);
        let host = host.split(':').next().unwrap_or_default();
        return format!("https://{host}/{path}");
    }
    match url.split_once(':') {
        Some((authority, path)) if !path.starts_with("//") && !authority.contains('/') => {
            format!(
                "https://{}/{}",
                without_user(authority),
                path.trim_start_matches('/')
            )
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const PARENT: &str = "https://git.example.com/team/app.git";

    #[rstest]
    #[case("../lib.git", "https://git.example.com/team/lib.git")]
    #[case("../../other/lib", "https://git.example.com/other/lib")]
    #[case("./sub", "https://git.example.com/team/app.git/sub")]
    #[case(".././../x/./y", "")]
    #[case("https://git.example.com/a/b/", "https://git.example.com/a/b")]
    #[case("https://GIT.example.com:443/a/b.git", "https://git.example.com/a/b.git")]
    #[case("git@git.example.com:team/lib.git", "https://git.example.com/team/lib.git")]
    #[case("git.example.com:team/lib.git", "https://git.example.com/team/lib.git")]
    #[case(
        "ssh://git@git.example.com:7999/team/lib.git",
        "https://git.example.com/team/lib.git"
    )]
    #[case(
        "https://dev.azure.com/org/My%20Project/_git/lib",
        "https://dev.azure.com/org/My%20Project/_git/lib"
    )]
    #[case("../../../../../lib", "")]
    #[case("../../../lib", "")]
    #[case("http://git.example.com/a/b", "")]
    #[case("git://git.example.com/a/b", "")]
    #[case("https://user:word@git.example.com/a/b", "")]
    #[case("file:///etc", "")]
    #[case("/srv/git/lib", "")]
    #[case("ext::sh -c id", "")]
    #[case("https://127.0.0.1/a/b", "")]
    #[case("https://git.example.com/a/../b", "")]
    #[case("-oops", "")]
    fn where_a_submodule_comes_from(#[case] url: &str, #[case] address: &str) {
        let parent = RepositoryUrl::parse(PARENT).unwrap();
        let found = super::address(url, &parent).map(|url| url.to_string());
        assert_eq!(found.unwrap_or_default(), address, "{url}");
    }

    #[test]
    fn declarations_are_read_by_name() {
        let listed = "submodule.lib.path\nlib/\0submodule.lib.url\n../lib.git\0submodule.a.b.path\nx\0submodule.a.b.url\nu\0\
            submodule.off.path\noff\0submodule.off.url\nu\0submodule.off.update\nnone\0submodule.half.path\nhalf\0\
            core.bare\ntrue\0submodule.lib.shallow\ntrue\0";
        let read = read(listed.as_bytes());
        let seen: Vec<_> = read
            .iter()
            .map(|each| (each.name.as_str(), each.path.as_str(), each.url.as_str()))
            .collect();
        assert_eq!(seen, [("a.b", "x", "u"), ("lib", "lib", "../lib.git")]);
        assert!(super::read(b"").is_empty());
    }
}
