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
use cofferdam_policy::decision::{Denied, DenyReason};
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::route::Route;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::{CloseCause, RecordEvent, RequestId};

/// An open connection to where the request may go.
#[derive(Debug)]
pub struct Exit {
    /// The connection.
    pub stream: TcpStream,
    /// Where it goes.
    pub address: SocketAddr,
    /// `Kind/name/rule` of each rule that granted it.
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
    let route = match admission.kind {
        Kind::Prepare => policy.prepare_route(host, port).into_result().map_err(denial)?,
        Kind::Egress => agent_route(&policy, admission, host, port)?,
        // Its own calls are the control routes; it never goes outside.
        Kind::Collect => {
            return Err(Denial::new(
                DenialCode::AudienceRefused,
                "this token opens no way outside",
            ));
        }
    };
    let (stream, address) = dial(gateway.outside.as_ref(), &denied, &route).await?;
    if admission.kind == Kind::Egress {
        admission.dialled(host, address)?;
    }
    Ok(Exit {
        stream,
        address,
        rules: route.rules().to_vec(),
        place,
    })
}

/// What the frozen policy grants, met with what cluster policies say now: they only take away, so whatever one of
/// them grants since the run was admitted is no use to it.
fn agent_route(
    policy: &FrozenPolicy,
    admission: &Admission,
    host: &Host,
    port: u16,
) -> Result<Route, Denial> {
    let route = policy.agent_route(host, port).into_result().map_err(denial)?;
    Ok(match admission.meet_ceilings(host, port)? {
        Some(ceiling) => route.under(ceiling),
        None => route,
    })
}

/// The answer to what policy denies.
fn denial(denied: Denied) -> Denial {
    let code = match denied.reason {
        DenyReason::NoEgressPolicy => DenialCode::NoEgressPolicy,
        DenyReason::EgressDenied => DenialCode::EgressDenied,
        DenyReason::HostNotAllowed => DenialCode::HostNotAllowed,
        DenyReason::PortNotAllowed => DenialCode::PortNotAllowed,
        DenyReason::NotAskedFor => DenialCode::NotAskedFor,
        DenyReason::NotARepositoryHost => DenialCode::NotARepositoryHost,
    };
    Denial::new(code, denied.message)
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

    #[test]
    fn denials_of_policy_keep_their_spelling() {
        for reason in DenyReason::ALL {
            let denied = Denied {
                reason,
                layer: None,
                message: String::new(),
            };
            assert_eq!(denial(denied).code.as_str(), reason.as_str());
        }
    }
}
