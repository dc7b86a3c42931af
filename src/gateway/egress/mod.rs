//! From an admitted request to an open connection or a denial: evidence, limits, policy, addresses.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::caller::view::ceilings::Left;
use crate::caller::{Caller, Kind, Passing};
use crate::credentials::app::held::Tokens;
use crate::credentials::store::Credentials;
use crate::denial::{Denial, denied_since};
use crate::evidence::Recorder;
use cofferdam_policy::decision::Decision;
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::route::Route;
use cofferdam_policy::route::permit::Permitted;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::runner::RunIdentity;

use self::dial::{Dialer, connect, dial, open};
use self::frozen::FrozenPolicies;
use self::limits::{ConnectionSlot, Over, RunLimits};
use self::ranges::Ranges;
use self::services::Services;
use self::tls::UpstreamTls;

pub mod authority;
pub mod deny_set;
pub mod dial;
pub mod frozen;
pub mod limits;
pub mod ranges;
pub mod services;
pub mod tls;

/// Longest time for which a request waits for its turn.
const TURN_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for which a connection does. While it waits it counts for its sandbox as one whose caller is not known yet,
/// and at 50 a second fewer wait than may.
const ENTRY_LIMIT: Duration = Duration::from_secs(2);
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

/// Opens connections for callers.
pub struct Upstreams {
    /// Whether a run's requests can be recorded.
    pub recorder: Arc<Recorder>,
    /// How many connections a run may have.
    pub limits: Arc<RunLimits>,
    /// Addresses that are never dialled.
    pub ranges: Arc<Ranges>,
    /// The Services of the cluster that policies grant.
    pub services: Services,
    /// What runs were granted when they started.
    pub policies: Arc<FrozenPolicies>,
    /// Resolves and connects.
    pub dialer: Box<dyn Dialer>,
    /// Speaks TLS to hosts whose requests are read.
    pub tls: UpstreamTls,
    /// What is added to requests that get a credential.
    pub credentials: Arc<Credentials>,
    /// The tokens of Apps.
    pub tokens: Tokens,
}

impl Upstreams {
    /// Takes a slot for one more connection of the run. A run that opens them too fast is slowed.
    ///
    /// # Errors
    /// The request cannot be recorded, or the run has reached a limit.
    pub async fn enter(&self, caller: &Caller) -> Result<ConnectionSlot, Denial> {
        if !self.has_evidence(caller).await {
            return Err(no_evidence());
        }
        let until = Instant::now() + ENTRY_LIMIT;
        in_turn(until, |now| self.limits.enter(&caller.run, now)).await
    }

    /// Whether something new of the run can be recorded, or policy lets it go on though the archive does not acknowledge.
    async fn has_evidence(&self, caller: &Caller) -> bool {
        // First, because nobody waits anew for an archive that stays away; and again where it did not answer just now.
        self.goes_on(caller).await
            || self.recorder.accepts(&caller.run.uid).await
            || self.goes_on(caller).await
    }

    /// Whether the archive does not acknowledge, and both the policies of the run and the cluster policies of now let it go on;
    /// where they do, the run's records say so.
    async fn goes_on(&self, caller: &Caller) -> bool {
        if !self.recorder.is_late(&caller.run.uid) {
            return false;
        }
        let frozen = self.policies.get(&caller.policy_hash).await;
        let goes_on = frozen.is_ok_and(|policy| policy.continues_without_evidence())
            && caller.continues_without_evidence();
        if goes_on {
            self.recorder.goes_on(&caller.run.uid);
        }
        goes_on
    }

    /// Waits for the turn of one more request on a connection that is open: a run that is too fast, for itself or for the
    /// archive, is slowed.
    ///
    /// # Errors
    /// It does not come in [`TURN_LIMIT`].
    pub async fn turn(&self, caller: &Caller) -> Result<(), Denial> {
        let run = &caller.run;
        let until = Instant::now() + TURN_LIMIT;
        while !self.has_evidence(caller).await {
            self.recorder.flush(&run.uid).await;
            if Instant::now() >= until {
                return Err(no_evidence());
            }
            tokio::time::sleep(TURN_PAUSE).await;
        }
        in_turn(until, |now| self.limits.request(run, now)).await
    }

    /// Takes the right to one more certificate for a host. A run that asks for many is slowed.
    ///
    /// # Errors
    /// The turn does not come in [`TURN_LIMIT`].
    pub async fn name(&self, run: &RunIdentity) -> Result<(), Denial> {
        let until = Instant::now() + TURN_LIMIT;
        in_turn(until, |now| self.limits.name(run, now)).await
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
                Kind::Egress => policy.agent_route(&self.services.canonical(host), port),
                // Its own calls are the control routes; it never goes outside.
                Kind::Collect => {
                    let message = "this token opens no way outside";
                    return Err(Denial::new(DenialCode::AudienceRefused, message));
                }
            };
            Decided::meet(caller, host.clone(), frozen.into_result()?, policy)
        };
        unless_cut(caller, deciding).await
    }

    /// Whether an address may still be dialled for the host of a route: neither policy nor the cluster stands against it, or
    /// it is that of the Service to which the route leads.
    pub async fn is_permitted(&self, route: &Route, address: SocketAddr) -> bool {
        if let Some(service) = route.service() {
            let now = self.services.addresses(&service, route.port()).await;
            return now.is_ok_and(|now| now.contains(&address.ip()));
        }
        let denied = self.ranges.deny_set();
        denied.is_some_and(|denied| !denied.contains(address.ip()) && route.permits_address(address.ip()))
    }

    /// Another connection to an address of the host, of which it is noted what passes; `None`: the address may be dialled no
    /// more, or cannot be, or the run has lost its right to egress.
    pub async fn reach_again(&self, caller: &Caller, route: &Route, address: SocketAddr) -> Option<Upstream> {
        if !self.is_permitted(route, address).await {
            return None;
        }
        tokio::select! {
            stream = connect(self.dialer.as_ref(), address) => Some(Upstream { stream: stream.ok()?, address }),
            _ = caller.cut() => None,
        }
    }

    /// Opens a connection to the host that was decided about, for what `passing` says.
    ///
    /// # Errors
    /// An address or the host itself stands against it, or a cluster policy of now.
    pub async fn reach(&self, caller: &Caller, route: &Route, passing: Passing) -> Result<Upstream, Denial> {
        let reaching = async {
            let (stream, address) = if let Some(service) = route.service() {
                let addresses = self.services.addresses(&service, route.port()).await?;
                open(self.dialer.as_ref(), route, addresses).await?
            } else {
                let denied = self.ranges.deny_set().ok_or_else(|| {
                    Denial::new(DenialCode::Stale, "the cluster's own addresses are not known yet")
                })?;
                dial(self.dialer.as_ref(), &denied, route).await?
            };
            note(caller, route, address, passing)?;
            Ok(Upstream { stream, address })
        };
        unless_cut(caller, reaching).await
    }
}

/// Notes what passes through a connection to this address: from here on it is cut when a cluster policy comes to deny that.
///
/// # Errors
/// One does so now.
pub fn note(caller: &Caller, route: &Route, address: SocketAddr, passing: Passing) -> Result<(), Denial> {
    match caller.kind {
        Kind::Egress => caller.dialled(route.host(), address, passing),
        // Its repositories were judged when the run started.
        Kind::Prepare | Kind::Collect => Ok(()),
    }
}

fn no_evidence() -> Denial {
    let message = "the run's records cannot be stored, and without evidence there is no traffic";
    Denial::new(DenialCode::EvidenceUnavailable, message)
}

/// What `take` gives once it is the run's turn, which is waited for until then at most.
///
/// # Errors
/// The turn does not come, or there is none to wait for.
async fn in_turn<T>(
    until: Instant,
    mut take: impl FnMut(std::time::Instant) -> Result<T, Over>,
) -> Result<T, Denial> {
    loop {
        let now = Instant::now();
        match take(now.into_std()) {
            Ok(taken) => return Ok(taken),
            Err(Over::Rate(_)) if now < until => tokio::time::sleep(TURN_PAUSE).await,
            Err(over) => return Err(Denial::new(DenialCode::LimitExceeded, over)),
        }
    }
}

/// What `work` comes to, unless the run loses its right to egress before.
///
/// # Errors
/// It loses that right, or `work` fails.
pub async fn unless_cut<T>(
    caller: &Caller,
    work: impl Future<Output = Result<T, Denial>>,
) -> Result<T, Denial> {
    tokio::select! {
        done = work => done,
        cause = caller.cut() => Err(cause.denial()),
    }
}

/// The way to a host that the run's policies allow: the frozen policy, and under it the cluster policies of now. They only
/// take away, so whatever one of them allows since the run was admitted is no use to it.
#[derive(Debug)]
pub struct Decided {
    /// The host as the client named it: policy knows a Service by one name.
    named: Host,
    frozen: Route,
    /// What the cluster policies leave of it; none stands over `prepare`.
    ceiling: Option<Left>,
    /// As both allow it.
    route: Route,
    /// The cluster policies that it was met with.
    revision: u64,
    /// The policy that grants it.
    policy: Arc<FrozenPolicy>,
}

impl Decided {
    fn meet(caller: &Caller, named: Host, frozen: Route, policy: Arc<FrozenPolicy>) -> Result<Self, Denial> {
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
            named,
            frozen,
            ceiling,
            route,
            revision,
            policy,
        })
    }

    /// The host, by the name that policy knows.
    pub const fn host(&self) -> &Host {
        self.frozen.host()
    }

    /// The host as the client named it, which its TLS is about.
    pub const fn named(&self) -> &Host {
        &self.named
    }

    /// The way, as both allow it.
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// What the run was granted when it started.
    pub const fn policy(&self) -> &Arc<FrozenPolicy> {
        &self.policy
    }

    /// Notes that this request is to pass on the caller's connection, and decides about it by the policies of now.
    ///
    /// # Errors
    /// A policy denies it.
    pub fn permit(&mut self, caller: &Caller, request: Request) -> Result<Permitted, Denial> {
        caller.passes(Passing::Request(request.clone()));
        if self.revision != caller.ceiling_revision() {
            let (named, frozen) = (self.named.clone(), self.frozen.clone());
            *self = Self::meet(caller, named, frozen, Arc::clone(&self.policy))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn who_is_too_fast_is_slowed_and_denied_only_where_the_turn_does_not_come() {
        let run = RunIdentity {
            namespace: "team-a".to_owned(),
            name: "fix".to_owned(),
            uid: "run-1".to_owned(),
        };
        let limits = Arc::new(RunLimits::new(10));
        let start = Instant::now();
        while limits.name(&run, start.into_std()).is_ok() {}
        // One comes back each second.
        for second in 1..=3 {
            let slowed = in_turn(Instant::now() + TURN_LIMIT, |now| limits.name(&run, now)).await;
            assert!(slowed.is_ok());
            assert_eq!(start.elapsed().as_secs(), second);
        }
        let asked = Cell::new(0);
        let never = in_turn(Instant::now() + TURN_LIMIT, |_| {
            asked.set(asked.get() + 1);
            Err::<(), _>(Over::Rate("too fast"))
        });
        let denial = never.await.unwrap_err();
        assert_eq!(
            (denial.code.as_str(), denial.message.as_ref()),
            ("LimitExceeded", "too fast")
        );
        assert!(start.elapsed() >= TURN_LIMIT + Duration::from_secs(3) && asked.get() > 100);
        // Where nothing comes back by itself there is nothing to wait for.
        let before = Instant::now();
        let full = in_turn(Instant::now() + TURN_LIMIT, |_| {
            Err::<(), _>(Over::Count("full".into()))
        })
        .await;
        assert!(full.is_err() && before.elapsed().is_zero());
    }
}
