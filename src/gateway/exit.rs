//! One request for the outside: evidence, limits, policy, addresses; then an open connection or a denial.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::TcpStream;

use super::Gateway;
use super::denial::{Denial, printable};
use super::dial::dial;
use super::limits::Place;
use super::pods::Kind;
use super::view::Admission;
use cofferdam_policy::frozen::{Egress, FrozenPolicy};
use cofferdam_policy::host::Host;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::{CloseCause, RecordEvent, RequestId};

/// An open connection to where the request may go.
#[derive(Debug)]
pub struct Exit {
    /// The connection.
    pub stream: TcpStream,
    /// Where it goes.
    pub address: SocketAddr,
    /// `Kind/name/rule` that granted it, one for each layer.
    pub rules: Vec<String>,
    /// The run's place for it.
    pub place: Place,
}

/// Takes a place for one more connection of the run.
pub fn enter(gateway: &Gateway, admission: &Admission) -> Result<Place, Denial> {
    if !gateway.recorder.accepts(&admission.run.uid) {
        let message = "the run's records cannot be stored, and without evidence there is no traffic";
        return Err(Denial::new(DenialCode::EvidenceUnavailable, message));
    }
    gateway
        .limits
        .enter(&admission.run.uid, Instant::now())
        .map_err(|limit| Denial::new(DenialCode::LimitExceeded, limit))
}

/// Opens the way to `host`, or says why not. Ends early when the run's right does.
pub async fn open(
    gateway: &Gateway,
    admission: &Admission,
    place: Place,
    host: &Host,
    port: u16,
) -> Result<Exit, Denial> {
    tokio::select! {
        result = find(gateway, admission, place, host, port) => result,
        cause = admission.cut() => Err(cause.denial()),
    }
}

async fn find(
    gateway: &Gateway,
    admission: &Admission,
    place: Place,
    host: &Host,
    port: u16,
) -> Result<Exit, Denial> {
    let denied = gateway
        .ranges
        .deny_set()
        .ok_or_else(|| Denial::new(DenialCode::Stale, "the cluster's own addresses are not known yet"))?;
    let policy = gateway.policies.get(&admission.policy_hash).await?;
    let egress = match admission.kind {
        Kind::Prepare => policy.prepare_egress(host, port),
        Kind::Egress => agent_egress(&policy, admission, host, port)?,
        // Its own calls are the control routes; it never goes outside.
        Kind::Collect => {
            return Err(Denial::new(
                DenialCode::AudienceRefused,
                "this token opens no way outside",
            ));
        }
    };
    let rules = match &egress {
        Egress::Allowed { rules, .. } => rules.clone(),
        Egress::Denied { code, message } => return Err(Denial::new(code_of(code), message.clone())),
    };
    let (stream, address) = dial(gateway.outside.as_ref(), &denied, &egress, host, port).await?;
    if admission.kind == Kind::Egress {
        admission.dialled(host, address)?;
    }
    Ok(Exit {
        stream,
        address,
        rules,
        place,
    })
}

/// What the frozen policy grants, met with what cluster policies say now: they only take away, so whatever one of
/// them grants since the run was admitted is no use to it.
fn agent_egress(
    policy: &FrozenPolicy,
    admission: &Admission,
    host: &Host,
    port: u16,
) -> Result<Egress, Denial> {
    match policy.agent_egress(host, port) {
        Egress::Allowed { rules, mut addresses } => {
            addresses.extend(admission.meet_ceilings(host, port)?);
            Ok(Egress::Allowed { rules, addresses })
        }
        denied @ Egress::Denied { .. } => Ok(denied),
    }
}

/// Policy spells its codes as text; each is one of the closed list, which a test holds.
fn code_of(text: &str) -> DenialCode {
    text.parse().unwrap_or(DenialCode::EgressDenied)
}

/// What a request asked for, for its records.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request's id, in all of them.
    pub id: RequestId,
    /// `host:port`, made printable.
    pub host: String,
    /// The method, made printable.
    pub method: String,
}

impl Asked {
    /// From the request as it stood.
    pub fn new(id: RequestId, authority: &str, method: &str) -> Self {
        Self {
            id,
            host: printable(authority),
            method: printable(method),
        }
    }

    /// Records that it was let through.
    pub fn allowed(&self, gateway: &Gateway, admission: &Admission, exit: &Exit) {
        let event = RecordEvent::Allowed {
            host: self.host.clone(),
            method: self.method.clone(),
            address: exit.address.to_string(),
            rules: exit.rules.clone(),
            by: admission.kind.as_str().to_owned(),
        };
        gateway
            .recorder
            .record(&admission.run.uid, Some(self.id.clone()), event);
    }

    /// Records that it was denied.
    pub fn denied(&self, gateway: &Gateway, admission: &Admission, denial: &Denial) {
        let event = RecordEvent::Denied {
            host: self.host.clone(),
            method: self.method.clone(),
            code: denial.code.into(),
            message: denial.message.chars().take(300).collect(),
            by: admission.kind.as_str().to_owned(),
            count: 1,
        };
        gateway
            .recorder
            .record(&admission.run.uid, Some(self.id.clone()), event);
    }

    /// Records that what was let through has ended.
    pub fn closed(
        &self,
        gateway: &Gateway,
        admission: &Admission,
        sent: u64,
        received: u64,
        cause: CloseCause,
    ) {
        let event = RecordEvent::Closed {
            host: self.host.clone(),
            sent,
            received,
            cause: cause.into(),
        };
        gateway
            .recorder
            .record(&admission.run.uid, Some(self.id.clone()), event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_policy::egress::{
        EGRESS_DENIED, HOST_NOT_ALLOWED, NO_EGRESS_POLICY, NOT_A_REPOSITORY_HOST, NOT_ASKED_FOR,
        PORT_NOT_ALLOWED,
    };

    #[test]
    fn codes_of_policy_are_denial_codes() {
        for code in [
            EGRESS_DENIED,
            HOST_NOT_ALLOWED,
            NO_EGRESS_POLICY,
            NOT_A_REPOSITORY_HOST,
            NOT_ASKED_FOR,
            PORT_NOT_ALLOWED,
        ] {
            assert_eq!(code.parse::<DenialCode>().unwrap().as_str(), code);
        }
    }
}
