//! Verifies the token of a request and asks the view whether its holder may act now.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pods::Kind;
use super::view::{Caller, View};
use crate::denial::Denial;
use cofferdam_api::names::{AUDIENCE_COLLECT, AUDIENCE_EGRESS, AUDIENCE_PREPARE};
use cofferdam_identity::{Identity, TokenError, Verifier};
use cofferdam_service::http1::Head;
use cofferdam_wire::denial::{Class, DenialCode};

/// How long a verified caller waits until the view shows its pod.
const VIEW_GRACE: Duration = Duration::from_secs(2);
/// How often the view is asked meanwhile.
const VIEW_POLL: Duration = Duration::from_millis(100);
const AUDIENCES: [&str; 3] = [AUDIENCE_PREPARE, AUDIENCE_EGRESS, AUDIENCE_COLLECT];

/// Admits callers by their tokens and the view.
pub struct Admitter {
    verifier: Verifier,
    view: Arc<View>,
}

impl Admitter {
    /// Believes the tokens that `verifier` believes, of pods that `view` shows.
    pub fn new(verifier: Verifier, view: Arc<View>) -> Self {
        Self { verifier, view }
    }

    /// Reads and verifies the token in `header`.
    ///
    /// # Errors
    /// There is no such token, or it is not to be believed.
    pub async fn authenticate(&self, head: &Head, header: &str) -> Result<(Kind, Identity), Denial> {
        let token = head
            .single(header)
            .and_then(bearer)
            .ok_or_else(|| Denial::new(DenialCode::TokenMissing, "exactly one bearer token is needed"))?;
        let verified = self
            .verifier
            .verify(token, &AUDIENCES, cofferdam_identity::now())
            .await;
        let identity = verified.map_err(|error| {
            let code = match error {
                TokenError::KeysUnavailable(_) => DenialCode::KeysUnavailable,
                _ => DenialCode::TokenInvalid,
            };
            Denial::new(code, error.to_string())
        })?;
        let kind = Kind::of_audience(&identity.audience)
            .ok_or_else(|| Denial::new(DenialCode::TokenInvalid, "the token's audience is not known here"))?;
        Ok((kind, identity))
    }

    /// Admits the caller of a request for the outside.
    ///
    /// # Errors
    /// The caller is not proven, or may not act now.
    pub async fn admit_for_egress(&self, head: &Head, peer: IpAddr) -> Result<Caller, Denial> {
        let (kind, identity) = self.authenticate(head, "proxy-authorization").await?;
        if kind == Kind::Collect {
            let message = "this token opens no way outside";
            return Err(Denial::new(DenialCode::AudienceRefused, message));
        }
        self.admit(kind, &identity, peer).await
    }

    /// Admits a caller whose token was verified. A pod that the API server is about to show is waited for, shortly:
    /// each replica's view has its own delay, and a client that is refused may not come again.
    ///
    /// # Errors
    /// The caller is not proven, or may not act now.
    pub async fn admit(&self, kind: Kind, identity: &Identity, peer: IpAddr) -> Result<Caller, Denial> {
        let until = Instant::now() + VIEW_GRACE;
        loop {
            match self.view.admit(kind, identity, peer, Instant::now()) {
                Err(denial) if denial.code.class() == Class::NotYet && Instant::now() < until => {
                    tokio::time::sleep(VIEW_POLL).await;
                }
                decided => return decided,
            }
        }
    }
}

/// The token of a bearer credential (RFC 6750, section 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for other in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(other), None, "{other}");
        }
    }
}
