//! From a request's head to an admitted caller.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Gateway;
use super::denial::Denial;
use super::head::Head;
use super::pods::Kind;
use super::view::Admission;
use cofferdam_api::names::{AUDIENCE_COLLECT, AUDIENCE_EGRESS, AUDIENCE_PREPARE};
use cofferdam_identity::{self, Identity, TokenError};
use cofferdam_wire::denial::{Class, DenialCode};

/// How long a verified caller waits for the view to know its pod.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the view is asked meanwhile.
const PATIENCE_STEP: Duration = Duration::from_millis(100);
const AUDIENCES: [&str; 3] = [AUDIENCE_PREPARE, AUDIENCE_EGRESS, AUDIENCE_COLLECT];

/// Reads and verifies the token in `header`.
pub async fn authenticate(gateway: &Gateway, head: &Head, header: &str) -> Result<(Kind, Identity), Denial> {
    let token = head
        .single(header)
        .and_then(bearer)
        .ok_or_else(|| Denial::new(DenialCode::TokenMissing, "exactly one bearer token is needed"))?;
    let identity = gateway
        .verifier
        .verify(token, &AUDIENCES, cofferdam_identity::now())
        .await
        .map_err(|error| match error {
            TokenError::KeysUnavailable(_) => Denial::new(DenialCode::KeysUnavailable, error.to_string()),
            _ => Denial::new(DenialCode::TokenInvalid, error.to_string()),
        })?;
    let kind = Kind::of_audience(&identity.audience)
        .ok_or_else(|| Denial::new(DenialCode::TokenInvalid, "the token's audience is not known here"))?;
    Ok((kind, identity))
}

/// Admits the caller of a request on the data path.
pub async fn admit(gateway: &Arc<Gateway>, head: &Head, peer: IpAddr) -> Result<Admission, Denial> {
    let (kind, identity) = authenticate(gateway, head, "proxy-authorization").await?;
    if kind == Kind::Collect {
        return Err(Denial::new(
            DenialCode::AudienceRefused,
            "this token opens no way outside",
        ));
    }
    admit_when_known(gateway, kind, &identity, peer).await
}

/// Admits a caller whose token was verified. What the API is about to show is waited for, shortly: each replica's
/// view has its own delay, and a client that is refused may not come again.
pub async fn admit_when_known(
    gateway: &Gateway,
    kind: Kind,
    identity: &Identity,
    peer: IpAddr,
) -> Result<Admission, Denial> {
    let until = Instant::now() + PATIENCE;
    loop {
        match gateway.view.admit(kind, identity, peer, Instant::now()) {
            Err(denial) if denial.code.class() == Class::NotYet && Instant::now() < until => {
                tokio::time::sleep(PATIENCE_STEP).await;
            }
            decided => return decided,
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
