//! What all clones of a run share, and how each of them fails.

use std::fmt::Display;
use std::sync::Arc;

use crate::clone::bytes::Bytes;
use crate::clone::{CloneError, Transport};
use crate::deadline::Deadline;
use crate::lfs::LfsError;
use crate::text::escape;
use cofferdam_policy::pattern::repository::{RepositoryPattern, RepositoryUrl};
use cofferdam_wire::runner::CloneGrant;

/// What all clones of a run share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// How remotes are reached.
    pub transport: Transport,
    /// When all must be over.
    pub deadline: Deadline,
    /// What they come to.
    pub bytes: Arc<Bytes>,
    /// What each layer grants.
    pub grants: Arc<Vec<Grant>>,
}

/// What one layer lets be cloned.
#[derive(Clone, Debug)]
pub struct Grant {
    layer: String,
    urls: Vec<RepositoryPattern>,
}

impl Grant {
    /// Reads it from the order.
    pub fn read(grant: &CloneGrant) -> Result<Self, String> {
        let urls = grant.urls.iter().map(|url| {
            RepositoryPattern::parse(url).map_err(|error| format!("{}: {error}", escape(url.as_bytes())))
        });
        Ok(Self {
            layer: grant.layer.clone(),
            urls: urls.collect::<Result<_, _>>()?,
        })
    }
}

/// The first layer that does not let `url` be cloned.
pub fn refusing<'a>(grants: &'a [Grant], url: &RepositoryUrl) -> Option<&'a str> {
    let refuses = |grant: &&Grant| !grant.urls.iter().any(|pattern| pattern.matches(url));
    grants.iter().find(refuses).map(|grant| grant.layer.as_str())
}

/// The first layer that lets nothing of a host be fetched. Files of Git LFS have addresses of no repository, and the gateway
/// sees hosts alone.
pub fn refusing_host<'a>(grants: &'a [Grant], host: &str, port: u16) -> Option<&'a str> {
    let refuses = |grant: &&Grant| {
        let mut urls = grant.urls.iter();
        !urls.any(|pattern| pattern.host().as_str() == host && pattern.port() == port)
    };
    grants.iter().find(refuses).map(|grant| grant.layer.as_str())
}

/// A repository that is not there for the agent.
pub struct Failed {
    /// What was wrong.
    pub message: String,
    /// Whether another attempt may end otherwise.
    pub passes: bool,
    /// Whether its server wants another credential than it was given, or one where it was given none.
    pub unauthorized: bool,
}

impl Failed {
    /// What another attempt ends in the same way.
    pub fn refused(message: impl Display) -> Self {
        Self::of(message, false)
    }

    /// What may be over by itself.
    pub fn passing(message: impl Display) -> Self {
        Self::of(message, true)
    }

    /// The clone of what messages call `what`.
    pub fn of_clone(what: &impl Display, error: &CloneError) -> Self {
        Self {
            unauthorized: error.is_unauthorized(),
            ..Self::of(format_args!("{what}: {error}"), error.passes())
        }
    }

    /// Its files of Git LFS.
    pub fn of_large_files(what: &impl Display, error: &LfsError) -> Self {
        Self::of(format_args!("{what}: {error}"), error.passes())
    }

    fn of(message: impl Display, passes: bool) -> Self {
        Self {
            message: message.to_string(),
            passes,
            unauthorized: false,
        }
    }
}
