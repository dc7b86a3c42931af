//! From an admitted request to an open connection or a denial: evidence, limits, policy, addresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use crate::caller::{Caller, Kind};
use crate::denial::Denial;
use crate::evidence::Recorder;
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::route::Route;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::runner::RunIdentity;

use self::dial::{Dialer, dial};
use self::frozen::FrozenPolicies;
use self::limits::{ConnectionSlot, RunLimits};
use self::ranges::Ranges;

pub mod authority;
pub mod deny_set;
pub mod dial;
pub mod frozen;
pub mod limits;
pub mod ranges;

/// An open connection to the host that a request asked for.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub stream: TcpStream,
    /// Its address.
    pub address: SocketAddr,
    /// `Kind/name/rule` of each rule of each policy layer that allowed it.
    pub rules: Vec<String>,
}

/// Opens connections for callers.
pub struct Upstreams {
    /// Whether a run's requests can be recorded.
    pub recorder: Arc<Recorder>,
    /// How many connections a run may have.
    pub limits: Arc<RunLimits>,
    /// Addresses that are never dialled.
    pub ranges: Arc<Ranges>,
    /// What runs were granted when they started.
    pub policies: Arc<FrozenPolicies>,
    /// Resolves and connects.
    pub dialer: Box<dyn Dialer>,
}

impl Upstreams {
    /// Takes a slot for one more connection of the run.
    ///
    /// # Errors
    /// The request cannot be recorded, or the run has reached a limit.
    pub fn enter(&self, run: &RunIdentity) -> Result<ConnectionSlot, Denial> {
        if !self.recorder.accepts(&run.uid) {
            let message = "the run's records cannot be stored, and without evidence there is no traffic";
            return Err(Denial::new(DenialCode::EvidenceUnavailable, message));
        }
        self.limits
            .enter(run, Instant::now())
            .map_err(|limit| Denial::new(DenialCode::LimitExceeded, limit))
    }

    /// Opens a connection to `host`. Cancelled when the run loses its right to egress.
    ///
    /// # Errors
    /// A policy, an address or the host itself stands against it.
    pub async fn open(&self, caller: &Caller, host: &Host, port: u16) -> Result<Upstream, Denial> {
        tokio::select! {
            opened = self.reach(caller, host, port) => opened,
            cause = caller.cut() => Err(cause.denial()),
        }
    }

    async fn reach(&self, caller: &Caller, host: &Host, port: u16) -> Result<Upstream, Denial> {
        let denied = self
            .ranges
            .deny_set()
            .ok_or_else(|| Denial::new(DenialCode::Stale, "the cluster's own addresses are not known yet"))?;
        let policy = self.policies.get(&caller.policy_hash).await?;
        let route = match caller.kind {
            Kind::Prepare => policy.prepare_route(host, port).into_result()?,
            Kind::Egress => agent_route(&policy, caller, host, port)?,
            // Its own calls are the control routes; it never goes outside.
            Kind::Collect => {
                let message = "this token opens no way outside";
                return Err(Denial::new(DenialCode::AudienceRefused, message));
            }
        };
        let (stream, address) = dial(self.dialer.as_ref(), &denied, &route).await?;
        if caller.kind == Kind::Egress {
            caller.dialled(host, address)?;
        }
        Ok(Upstream {
            stream,
            address,
            rules: route.rules().to_vec(),
        })
    }
}

/// What the frozen policy allows, under the cluster policies of now: they only take away, so whatever one of them
/// allows since the run was admitted is no use to it.
fn agent_route(policy: &FrozenPolicy, caller: &Caller, host: &Host, port: u16) -> Result<Route, Denial> {
    let route = policy.agent_route(host, port).into_result()?;
    Ok(match caller.meet_ceilings(host, port)? {
        Some(ceiling) => route.under(ceiling),
        None => route,
    })
}
