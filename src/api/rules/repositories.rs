//! CEL rules for repositories and what is cloned of them.

use kube::core::Rule;

use super::rule;

/// Only https can be cloned.
pub(crate) fn repository_is_https() -> Rule {
    rule(
        "self.startsWith('https://')",
        "url must start with https://: nothing else can be cloned (git@host:path is https://host/path)",
    )
}

/// No credentials in URLs. Passes what [`repository_is_https`] already refuses, so that each input gets one message.
pub(crate) fn repository_without_user() -> Rule {
    rule(
        "!self.startsWith('https://') || !self.contains('@')",
        "url must not carry user information: a sandbox holds no credentials, leave it out",
    )
}

/// The rest of a URL, as `cofferdam_policy::pattern::repository` reads it. Passes what the two rules before it already
/// refuse, so that each input gets one message.
pub(crate) fn repository_url() -> Rule {
    rule(
        "!self.startsWith('https://') || self.contains('@') || \
         (self.matches('^https://[A-Za-z0-9.-]+(:[1-9][0-9]{0,4})?(/([A-Za-z0-9._~+-]|%[0-9A-Fa-f]{2})+)+/?$') && \
         !self.matches('%([01][0-9A-Fa-f]|2[5Ff]|5[Cc]|7[Ff])'))",
        "url must be https://host[:port]/path, without query, fragment or empty segments, percent-encoded at most where it \
         must be, such as %20 for a space",
    )
}

/// Pattern of repositories, as `cofferdam_policy::pattern::repository` reads it.
pub(crate) fn repository_pattern() -> Rule {
    let segment = "/(([A-Za-z0-9._~+-]|%[0-9A-Fa-f]{2})+|[*])";
    rule(
        format!(
            "self.matches('^https://[A-Za-z0-9.-]+(:[1-9][0-9]{{0,4}})?({segment})*(/[*][*])?$') && !self.endsWith('/') && self.matches('^https://[^/]+/') && !self.matches('%([01][0-9A-Fa-f]|2[5Ff]|5[Cc]|7[Ff])')"
        ),
        "url must be https://host[:port]/path with '*' for one whole segment and '**' for the rest, such as https://github.com/team/*",
    )
}

/// A git reference, as `cofferdam_policy::pattern::reference` reads it.
pub(crate) fn git_reference() -> Rule {
    rule(
        r"!self.matches('^-|[.][.]|@[{]|//|^/|/$|(^|/)[.]|[.](/|$)|[.]lock(/|$)|[\\p{Cc}\\p{Cf}\\p{Z}~^:?*\\[\\\\]')",
        "ref must be HEAD, a branch, a tag, a full name such as refs/pull/5/head, or a commit, as git writes them: no spaces or \
         invisible characters, none of ~ ^ : ? * [ \\, no '-' at the start, no '..', no part that is empty, starts or ends with \
         '.' or ends in '.lock'",
    )
}

/// A commit that is not of a repository with SHA-256 objects.
pub(crate) fn git_reference_not_sha256() -> Rule {
    rule(
        "!self.matches('^[0-9a-fA-F]{64}$')",
        "ref must not be the id of a SHA-256 object: repositories with such objects are not supported",
    )
}

/// Directories of a sparse work tree.
pub(crate) fn sparse_directories() -> Rule {
    rule(
        r#"self.all(item, !item.matches('^/|/$|(^|/)[.]{0,2}(/|$)|^[!#]|[\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}*?\\[\\\\"]| $'))"#,
        "every item of sparse must be a directory of the repository such as src/app: no '/' at an end, no '.' or '..', no \
         patterns",
    )
}

/// Patterns of `.gitignore`, one a line.
pub(crate) fn exclude_patterns() -> Rule {
    rule(
        r"self.all(item, !item.matches('^#|^[ ]*$|[\\p{Cc}]'))",
        "every item of patterns must be a pattern as in .gitignore: not blank, no '#' at the start, no control characters",
    )
}

/// No two repositories share a directory.
pub(crate) fn directories_unique() -> Rule {
    let directory = |item: &str| format!("(has({item}.path) ? {item}.path : {item}.name)");
    rule(
        format!(
            "self.all(one, self.exists_one(other, {} == {}))",
            directory("one"),
            directory("other")
        ),
        "each of repositories needs a directory of its own: give them different values of path (where path is left out, name counts)",
    )
}
