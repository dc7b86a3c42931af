//! Hands each room the parts that it needs. No room holds the whole.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use cofferdam_identity::Verifier;

use crate::admission::Admission;
use crate::caller::{Admitter, View};
use crate::capacity::Capacity;
use crate::control::ControlRoutes;
use crate::credentials::app::held::Tokens;
use crate::credentials::store::Credentials;
use crate::egress::Upstreams;
use crate::egress::dial::Dialer;
use crate::egress::frozen::FrozenPolicies;
use crate::egress::limits::RunLimits;
use crate::egress::ranges::Ranges;
use crate::egress::services::{ServiceRules, ServiceSource, Services as ClusterServices};
use crate::egress::tls::UpstreamTls;
use crate::evidence::{ArchiveClient, Recorder};
use crate::forward::Requests;
use crate::inspect::Inspection;
use crate::listener::Services;
use crate::transport::failures::Failures;
use crate::transport::in_flight::InFlight;
use crate::transport::pending::PendingHandshakes;
use crate::tunnel::Tunnels;

/// The parts that reach out of the process; tests have their own.
pub struct Parts {
    /// Verifies tokens.
    pub verifier: Verifier,
    /// Reads frozen policies.
    pub policies: FrozenPolicies,
    /// The cluster's own addresses.
    pub ranges: Ranges,
    /// Reads the Services of the cluster that policies grant, and which of them are for sandboxes.
    pub services: (Box<dyn ServiceSource>, ServiceRules),
    /// Resolves and connects.
    pub dialer: Box<dyn Dialer>,
    /// Brings records to the archive.
    pub recorder: Recorder,
    /// Takes the runs' output.
    pub archive: ArchiveClient,
    /// Ends the TLS of clients.
    pub inspection: Arc<Inspection>,
    /// Speaks TLS to hosts.
    pub tls: UpstreamTls,
    /// Added to requests.
    pub credentials: Arc<Credentials>,
    /// The gateway ends.
    pub ending: CancellationToken,
    /// How much is taken on.
    pub capacity: Capacity,
}

/// The servers of requests, and what the watches and the upkeep work on.
pub struct Rooms {
    /// Serve requests.
    pub services: Arc<Services>,
    /// Filled by the watches.
    pub view: Arc<View>,
    /// Filled by the watches.
    pub ranges: Arc<Ranges>,
    /// Cleared of runs that are gone.
    pub policies: Arc<FrozenPolicies>,
    /// Cleared of runs that are gone.
    pub limits: Arc<RunLimits>,
    /// Has the tokens of runs that are gone revoked.
    pub upstreams: Arc<Upstreams>,
    /// Flushed.
    pub recorder: Arc<Recorder>,
}

/// Connects the rooms.
pub fn connect(parts: Parts) -> Rooms {
    let view: Arc<View> = Arc::default();
    let limits = Arc::new(RunLimits::new(parts.capacity.exits));
    let failures: Arc<Failures> = Arc::default();
    let (ranges, policies) = (Arc::new(parts.ranges), Arc::new(parts.policies));
    let (service_source, service_rules) = parts.services;
    let recorder = Arc::new(parts.recorder);
    let admitter = Arc::new(Admitter::new(parts.verifier, Arc::clone(&view)));
    let upstreams = Arc::new(Upstreams {
        recorder: Arc::clone(&recorder),
        limits: Arc::clone(&limits),
        ranges: Arc::clone(&ranges),
        services: ClusterServices::new(service_source, service_rules, Arc::clone(&view)),
        policies: Arc::clone(&policies),
        dialer: parts.dialer,
        tls: parts.tls,
        credentials: parts.credentials,
        tokens: Tokens::default(),
    });
    let admission = Arc::new(Admission {
        admitter: Arc::clone(&admitter),
        upstreams: Arc::clone(&upstreams),
        recorder: Arc::clone(&recorder),
        in_flight: Arc::new(InFlight::new(parts.capacity.in_flight)),
        failures: Arc::clone(&failures),
    });
    let requests = Arc::new(Requests {
        admission: Arc::clone(&admission),
        upstreams: Arc::clone(&upstreams),
        pool: Arc::default(),
        ending: parts.ending,
    });
    let services = Services {
        tunnels: Tunnels {
            admission,
            upstreams: Arc::clone(&upstreams),
            inspection: Arc::clone(&parts.inspection),
            requests: Arc::clone(&requests),
        },
        requests,
        control: ControlRoutes {
            admitter,
            view: Arc::clone(&view),
            recorder: Arc::clone(&recorder),
            archive: parts.archive,
            inspection: parts.inspection,
            failures: Arc::clone(&failures),
        },
        pending: Arc::new(PendingHandshakes::new(parts.capacity.pending)),
        failures,
        accepted: parts.capacity.accepted(),
    };
    Rooms {
        services: Arc::new(services),
        view,
        ranges,
        policies,
        limits,
        upstreams,
        recorder,
    }
}
