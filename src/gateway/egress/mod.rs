//! From an admitted request to an open connection or a denial: evidence, limits, policy, addresses.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::caller::view::ceilings::Left;
use crate::caller::{Caller, Kind, Passing};
use crate::denial::{Denial, denied_since};
use crate::evidence::Recorder;
use cofferdam_policy::decision::Decision;
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
use self::tls::UpstreamTls;

pub mod authority;
pub mod deny_set;
pub mod dial;
pub mod frozen;
pub mod limits;
pub mod ranges;
pub mod tls;

/// Longest time for which a request waits for its turn.
const TURN_LIMIT: Duration = Duration::from_secs(10);
/// How often is looked whether it has come.
const TURN_PAUSE: Duration = Duration::from_millis(20);

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
    fn note(&self, caller: &Caller, host: &Host, passing: Passing) -> Result<(), Denial> {
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
    /// Speaks TLS to hosts whose requests are read.
    pub tls: UpstreamTls,
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

    /// Waits for the turn of one more request on a connection that is open: a run that is too fast, for itself or for the
    /// archive, is slowed.
    ///
    /// # Errors
    /// It does not come in [`TURN_LIMIT`].
    pub async fn turn(&self, run: &RunIdentity) -> Result<(), Denial> {
        let until = Instant::now() + TURN_LIMIT;
        loop {
            let now = Instant::now();
            let (code, message) = if !self.recorder.accepts(&run.uid).await {
                self.recorder.flush(&run.uid).await;
                let message = "the run's records cannot be stored, and without evidence there is no traffic";
                (DenialCode::EvidenceUnavailable, message)
            } else if !self.limits.request(run, now) {
                (
                    DenialCode::LimitExceeded,
                    "the run makes more than 500 requests a second",
                )
            } else {
                return Ok(());
            };
            if now >= until {
                return Err(Denial::new(code, message));
            }
            tokio::time::sleep(TURN_PAUSE).await;
        }
    }

    /// Takes the right to one more certificate for a host.
    ///
    /// # Errors
    /// The run has asked for too many names.
    pub fn name(&self, run: &RunIdentity) -> Result<(), Denial> {
        self.limits
            .name(run, Instant::now())
            .map_err(|limit| Denial::new(DenialCode::LimitExceeded, limit))
    }

    /// Decides about `host`. Nothing is resolved or dialled.
    ///
    /// # Errors
    /// A policy denies it, or cannot be read.
    pub async fn decide(&self, caller: &Caller, host: &Host, port: u16) -> Result<Decided, Denial> {
        let deciding = async {
            let policy = self.policies.get(&caller.policy_hash).await?;
            let frozen = match caller.kind {
                Kind::Prepare => policy.prepare_route(host, port),
                Kind::Egress => policy.agent_route(host, port),
                // Its own calls are the control routes; it never goes outside.
                Kind::Collect => {
                    let message = "this token opens no way outside";
                    return Err(Denial::new(DenialCode::AudienceRefused, message));
                }
            };
            Decided::meet(caller, frozen.into_result()?)
        };
        unless_cut(caller, deciding).await
    }

    /// Opens a connection to the host that was decided about, for what `passing` says.
    ///
    /// # Errors
    /// An address or the host itself stands against it, or a cluster policy of now.
    pub async fn reach(&self, caller: &Caller, route: &Route, passing: Passing) -> Result<Upstream, Denial> {
        let reaching = async {
            let denied = self.ranges.deny_set().ok_or_else(|| {
                Denial::new(DenialCode::Stale, "the cluster's own addresses are not known yet")
            })?;
            let (stream, address) = dial(self.dialer.as_ref(), &denied, route).await?;
            let upstream = Upstream { stream, address };
            upstream.note(caller, route.host(), passing)?;
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
    frozen: Route,
    /// What the cluster policies leave of it; none stands over `prepare`.
    ceiling: Option<Left>,
    /// As both allow it.
    route: Route,
    /// The cluster policies that it was met with.
    revision: u64,
}

impl Decided {
    fn meet(caller: &Caller, frozen: Route) -> Result<Self, Denial> {
        let revision = caller.ceiling_revision();
        let ceiling = match caller.kind {
            Kind::Egress => Some(caller.meet_ceilings(frozen.host(), frozen.port())?),
            // Its repositories were judged when the run started.
            Kind::Prepare | Kind::Collect => None,
        };
        let route = match &ceiling {
            Some(left) => left.of(frozen.clone()),
            None => frozen.clone(),
        };
        Ok(Self {
            frozen,
            ceiling,
            route,
            revision,
        })
    }

    /// The host.
    pub const fn host(&self) -> &Host {
        self.frozen.host()
    }

    /// The way, as both allow it.
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// Notes that this request is to pass on the caller's connection, and decides about it by the policies of now.
    ///
    /// # Errors
    /// A policy denies it.
    pub fn permit(&mut self, caller: &Caller, request: Request) -> Result<Permitted, Denial> {
        caller.passes(Passing::Request(request.clone()));
        if self.revision != caller.ceiling_revision() {
            *self = Self::meet(caller, self.frozen.clone())?;
        }
        let denied = match self.route.permit(request.clone()).into_result() {
            Ok(permitted) => return Ok(permitted),
            Err(denied) => denied,
        };
        // Who denies it: the run's own policies, or one that came to do so.
        self.frozen.permit(request.clone()).into_result()?;
        let ceiling = self.ceiling.as_ref().and_then(|left| left.route.as_ref());
        let ceiling = ceiling.map(|ceiling| ceiling.permit(request));
        match ceiling.map(Decision::into_result) {
            Some(Err(since)) => Err(denied_since(since)),
            Some(Ok(_)) | None => Err(denied.into()),
        }
    }
}
