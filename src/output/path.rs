//! What a path asks for. Pure, and strict: a name is plain or there is no such path, so that no spelling of a path means
//! to this role what it does not mean to the API server, which decided on it.

use cofferdam_wire::output_api::{GROUP, VERSION};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The groups of this API.
    Groups,
    /// The group.
    Group,
    /// The resources.
    Resources,
    /// `OpenAPI` v2, which the aggregator wants.
    OpenApiV2,
    /// The index of `OpenAPI` v3.
    OpenApiIndex,
    /// `OpenAPI` v3.
    OpenApi,
    /// Whether the server lives.
    Health,
    /// A run itself, which is not here.
    Run,
    /// A part of what a run left behind.
    Part {
        /// Namespace of the run.
        namespace: &'a str,
        /// Name of the run.
        run: &'a str,
        /// Which part.
        part: Part,
    },
    /// Nothing that there is.
    Nothing,
}

/// A part of what a run left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the archive knows of it.
    Summary,
    /// What the agent changed in one repository.
    Patch,
    /// The chain of records.
    Records,
    /// The signed statement.
    Statement,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 4] = [Self::Summary, Self::Patch, Self::Records, Self::Statement];

    /// Name of the subresource.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Patch => "patch",
            Self::Records => "records",
            Self::Statement => "statement",
        }
    }

    /// What a document about the API calls it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Summary => "AgentRunSummary",
            Self::Patch => "AgentRunPatch",
            Self::Records => "AgentRunRecords",
            Self::Statement => "AgentRunStatement",
        }
    }

    /// What it is, for documents about the API.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Summary => {
                "What the archive knows of a run: its receipt with the digests of its patches, counts, the end of its chain of records."
            }
            Self::Patch => "What the agent changed in one repository, as git applies it.",
            Self::Records => "The chain of the run's records, a line of JSON each.",
            Self::Statement => "The signed statement about the run, in a DSSE envelope.",
        }
    }
}

/// Reads the path of a request.
pub fn read(path: &str) -> Asked<'_> {
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    match parts.as_slice() {
        ["healthz" | "livez" | "readyz"] => Asked::Health,
        ["openapi", "v2"] => Asked::OpenApiV2,
        ["openapi", "v3"] => Asked::OpenApiIndex,
        ["openapi", "v3", "apis", group, version] if (*group, *version) == (GROUP, VERSION) => Asked::OpenApi,
        ["apis"] => Asked::Groups,
        ["apis", group, rest @ ..] if *group == GROUP => match rest {
            [] => Asked::Group,
            [version] if *version == VERSION => Asked::Resources,
            [version, "namespaces", namespace, "agentruns", run, rest @ ..]
                if *version == VERSION && is_label(namespace) && is_label(run) =>
            {
                match rest {
                    [] => Asked::Run,
                    [name] => Part::ALL
                        .into_iter()
                        .find(|part| part.name() == *name)
                        .map_or(Asked::Nothing, |part| Asked::Part { namespace, run, part }),
                    _ => Asked::Nothing,
                }
            }
            [version, "namespaces", namespace, "agentruns"] if *version == VERSION && is_label(namespace) => {
                Asked::Run
            }
            [version, "agentruns"] if *version == VERSION => Asked::Run,
            _ => Asked::Nothing,
        },
        _ => Asked::Nothing,
    }
}

/// Names of namespaces and runs are DNS labels.
pub fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const RUN: &str = "/apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/fix";

    #[test]
    fn paths_of_parts() {
        for part in Part::ALL {
            let path = format!("{RUN}/{}", part.name());
            assert_eq!(
                read(&path),
                Asked::Part {
                    namespace: "team-a",
                    run: "fix",
                    part
                }
            );
        }
        assert_eq!(read(RUN), Asked::Run);
        assert_eq!(read("/apis/output.cofferdam.dev/v1alpha1"), Asked::Resources);
    }

    #[rstest]
    #[case("/apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/fix/patch/")]
    #[case("/apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/fix//patch")]
    #[case("/apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/../patch")]
    #[case("/apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/x%2f..%2f..%2fteam-b/patch")]
    #[case("/apis/output.cofferdam.dev/v1alpha1/namespaces/team%2da/agentruns/fix/patch")]
    #[case("/apis/output.cofferdam.dev/v1alpha1/namespaces/Team-a/agentruns/fix/patch")]
    #[case("/apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/fix;a/patch")]
    #[case("/apis/output.cofferdam.dev/v1alpha1/namespaces//agentruns/fix/patch")]
    #[case("/apis/output.cofferdam.dev/v1alpha1/agentruns/fix/patch")]
    #[case("/apis/output.cofferdam.dev/v1/namespaces/team-a/agentruns/fix/patch")]
    #[case("/apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/fix/log")]
    #[case("//apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/fix/patch")]
    #[case("/api/v1/namespaces/team-a/agentruns/fix/patch")]
    fn other_spellings_are_nothing(#[case] path: &str) {
        assert_eq!(read(path), Asked::Nothing);
    }

    proptest! {
        /// Whatever a path names can be written in one way only.
        #[test]
        fn a_part_has_one_spelling(path in "/apis/output\\.cofferdam\\.dev/v1alpha1/namespaces/[a-z%./-]{1,6}/agentruns/[a-z%./-]{1,6}/(patch|records)") {
            if let Asked::Part { namespace, run, part } = read(&path) {
                prop_assert_eq!(&path, &cofferdam_wire::output_api::path(namespace, run, part.name()));
                prop_assert!(is_label(namespace) && is_label(run));
            }
        }
    }
}
