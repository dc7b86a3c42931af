//! From an admitted request to an open connection or a denial: evidence, limits, policy, addresses.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use crate::caller::{Caller, Kind, Passing};
use crate::denial::{Denial, denied_since};
use crate::evidence::Recorder;
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::route::Route;
use cofferdam_policy::route::permit::Permitted;
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
}

impl Upstream {
    /// Notes what passes through the connection: from here on it is cut when a cluster policy comes to deny that.
    ///
    /// # Errors
    /// One does so now.
    pub fn note(&self, caller: &Caller, host: &Host, passing: Passing) -> Result<(), Denial> {
        match caller.kind {
            Kind::Egress => caller.dialled(host, self.address, passing),
            // Its repositories were judged when the run started.
            Kind::Prepare | Kind::Collect => Ok(()),
        }
    }
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
    pub async fn enter(&self, run: &RunIdentity) -> Result<ConnectionSlot, Denial> {
        if !self.recorder.accepts(&run.uid).await {
            let message = "the run's records cannot be stored, and without evidence there is no traffic";
            return Err(Denial::new(DenialCode::EvidenceUnavailable, message));
        }
        self.limits
            .enter(run, Instant::now())
            .map_err(|limit| Denial::new(DenialCode::LimitExceeded, limit))
    }

    /// Decides about `host`. Nothing is resolved or dialled.
    ///
    /// # Errors
    /// A policy denies it, or cannot be read.
    pub async fn decide(&self, caller: &Caller, host: &Host, port: u16) -> Result<Decided, Denial> {
        let deciding = async {
            let policy = self.policies.get(&caller.policy_hash).await?;
            match caller.kind {
                Kind::Prepare => {
                    let route = policy.prepare_route(host, port).into_result()?;
                    Ok(Decided { route, ceiling: None })
                }
                Kind::Egress => {
                    let route = policy.agent_route(host, port).into_result()?;
                    let ceiling = caller.meet_ceilings(host, port)?;
                    Ok(Decided { route, ceiling })
                }
                // Its own calls are the control routes; it never goes outside.
                Kind::Collect => {
                    let message = "this token opens no way outside";
                    Err(Denial::new(DenialCode::AudienceRefused, message))
                }
            }
        };
        unless_cut(caller, deciding).await
    }

    /// Opens a connection to the host that was decided about, for what `passing` says.
    ///
    /// # Errors
    /// An address or the host itself stands against it, or a cluster policy of now.
    pub async fn reach(
        &self,
        caller: &Caller,
        decided: &Decided,
        passing: Passing,
    ) -> Result<Upstream, Denial> {
        let reaching = async {
            let denied = self.ranges.deny_set().ok_or_else(|| {
                Denial::new(DenialCode::Stale, "the cluster's own addresses are not known yet")
            })?;
            let (stream, address) = dial(self.dialer.as_ref(), &denied, &decided.route()).await?;
            let upstream = Upstream { stream, address };
            upstream.note(caller, decided.host(), passing)?;
            Ok(upstream)
        };
        unless_cut(caller, reaching).await
    }
}

/// What `work` comes to, unless the run loses its right to egress before.
async fn unless_cut<T>(caller: &Caller, work: impl Future<Output = Result<T, Denial>>) -> Result<T, Denial> {
    tokio::select! {
        done = work => done,
        cause = caller.cut() => Err(cause.denial()),
    }
}

/// The way to a host that the run's policies allow: the frozen policy, and under it the cluster policies of now. They only
/// take away, so whatever one of them allows since the run was admitted is no use to it.
#[derive(Debug)]
pub struct Decided {
    route: Route,
    ceiling: Option<Route>,
}

impl Decided {
    /// The host.
    pub const fn host(&self) -> &Host {
        self.route.host()
    }

    /// The way, as both allow it.
    pub fn route(&self) -> Route {
        match &self.ceiling {
            Some(ceiling) => self.route.clone().under(ceiling.clone()),
            None => self.route.clone(),
        }
    }

    /// Decides about one request.
    ///
    /// # Errors
    /// A policy denies it.
    pub fn permit(&self, request: Request) -> Result<Permitted, Denial> {
        if let Some(ceiling) = &self.ceiling {
            self.route.permit(request.clone()).into_result()?;
            ceiling
                .permit(request.clone())
                .into_result()
                .map_err(denied_since)?;
        }
        Ok(self.route().permit(request).into_result()?)
    }
}
