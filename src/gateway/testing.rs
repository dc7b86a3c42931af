//! The whole gateway on a caller's address, without a cluster: for benches that hold it beside other proxies, each a
//! process of its own. Identity, policy, limits and records are the real ones; the archive takes every record at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::caller::pods::{Owner, SandboxPod};
use crate::caller::view::Source;
use crate::caller::view::ceilings::Labels;
use crate::capacity::{Capacity, raise_descriptors};
use crate::egress::dial::Dialer;
use crate::egress::frozen::{FrozenPolicies, PolicySource};
use crate::egress::ranges::Ranges;
use crate::egress::services::{ServiceRules, ServiceSource};
use crate::egress::tls::UpstreamTls;
use crate::evidence::{ArchiveClient, Recorder, Sink, SinkError};
use crate::inspect::{self, Inspection};
use crate::transport::sockets;
use crate::wiring::{self, Parts, Rooms};
use crate::{listener, upkeep};
use cofferdam_api::names::{
    AUDIENCE_EGRESS, FROZEN_POLICY_KEY, LABEL_FROZEN_POLICY, SANDBOX_SERVICE_ACCOUNT, frozen_policy_name,
};
use cofferdam_api::{Mode, TlsMode, Tunnels};
use cofferdam_identity::Verifier;
use cofferdam_identity::testing::{FixedKeys, Issuer};
use cofferdam_policy::dimension::egress::{EgressLayer, EgressRule};
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::pattern::service::{DEFAULT_DOMAIN, ServiceName};
use cofferdam_policy::refusal::LayerKind;
use cofferdam_wire::record::{ProcessId, StreamEnd, StreamId};
use cofferdam_wire::runner::RunIdentity;

/// How often the view is said to be current.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);

/// A gateway without a cluster.
pub struct StandAlone {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The one host that every run may reach, at 80 and 443.
    pub host: Host,
    /// Where it is.
    pub address: IpAddr,
    /// How its TLS is treated.
    pub tls: TlsMode,
    /// So many runs, each in a namespace of its own and at an address of its own ([`address_of`]).
    pub runs: u8,
    /// The CA of the host, PEM.
    pub trusted_ca: Vec<u8>,
    /// Directory of the certificate authority.
    pub inspection_ca: PathBuf,
    /// Memory from which it derives what it takes on, in bytes.
    pub memory: u64,
}

/// The address of the pod of a run.
pub const fn address_of(run: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 0, run)
}

impl StandAlone {
    /// Serves until the future is dropped. `ready` gets the token of each run once it listens.
    ///
    /// # Errors
    /// It cannot start; for people.
    pub async fn serve(self, ready: impl FnOnce(Vec<String>)) -> Result<(), String> {
        let issuer = Issuer::new("key-1");
        let frozen = self.policy();
        let inspection = Arc::new(Inspection::new(Bytes::new()).map_err(|error| error.to_string())?);
        let ranges = Ranges::new(Vec::new(), "cofferdam-system".to_owned());
        ranges.replace_nodes([]);
        ranges.replace_services(Vec::new());
        let capacity = Capacity::of(raise_descriptors(), self.memory);
        let Rooms {
            services,
            view,
            policies,
            limits,
            upstreams,
            recorder,
            ..
        } = wiring::connect(Parts {
            verifier: Verifier::new(FixedKeys::of(&issuer)),
            policies: FrozenPolicies::new(Fixed(map(&frozen))),
            ranges,
            services: (
                Box::new(NoServices),
                ServiceRules {
                    domain: DEFAULT_DOMAIN.to_owned(),
                    closed: Vec::new(),
                },
            ),
            dialer: Box::new(OneHost(self.address)),
            recorder: Recorder::new(ProcessId(1), Taken),
            archive: ArchiveClient::new("http://127.0.0.1:1", PathBuf::from("/nonexistent")),
            inspection: Arc::clone(&inspection),
            tls: UpstreamTls::new(&self.trusted_ca).map_err(|error| error.to_string())?,
            credentials: Arc::default(),
            ending: CancellationToken::new(),
            capacity,
        });
        let runs: Vec<u8> = (1..=self.runs).collect();
        for run in &runs {
            let pod = pod(*run, frozen.hash());
            view.set_run(pod.run.clone(), true);
            view.put_pod(pod);
        }
        view.replace_cluster_policies(Vec::new());
        view.replace_namespaces(runs.iter().map(|run| (namespace(*run), Labels::new())));
        for source in Source::ALL {
            view.set_open(source, true);
        }
        view.confirm(Instant::now());
        let listener = sockets::listen(self.listen).map_err(|error| error.to_string())?;
        ready(runs.iter().map(|run| token(&issuer, *run)).collect());
        let never = CancellationToken::new();
        let confirm = async {
            loop {
                tokio::time::sleep(CONFIRM_EVERY).await;
                view.confirm(Instant::now());
            }
        };
        tokio::select! {
            () = listener::serve(services, listener, &never) => {}
            () = inspect::follow::follow(&self.inspection_ca, &inspection) => {}
            () = upkeep::forget(&view, &policies, &limits) => {}
            () = upkeep::send_records(&view, &limits, &upstreams.tokens, &recorder) => {}
            () = confirm => {}
        }
        recorder.flush_all(|_| false, StreamEnd::GatewayEnded).await;
        Ok(())
    }

    fn policy(&self) -> FrozenPolicy {
        let rule = EgressRule {
            name: "host".to_owned(),
            hosts: vec![cofferdam_policy::pattern::host::HostPattern::Exact(
                self.host.clone(),
            )],
            addresses: vec![self.address.into()],
            ports: vec![80, 443],
            tls: self.tls,
            methods: Vec::new(),
            paths: Vec::new(),
            credential: None,
            service: None,
        };
        let layer = EgressLayer {
            kind: LayerKind::SandboxPolicy,
            name: "default".to_owned(),
            mode: Mode::AllowList,
            rules: vec![rule],
        };
        FrozenPolicy::of_layers(vec![Arc::new(layer)], Tunnels::Allow)
    }
}

fn namespace(run: u8) -> String {
    format!("team-{run}")
}

fn pod_name(run: u8) -> String {
    format!("agr-run-{run}")
}

fn token(issuer: &Issuer, run: u8) -> String {
    let (name, uid) = (pod_name(run), format!("pod-{run}"));
    issuer.pod_token(
        AUDIENCE_EGRESS,
        &namespace(run),
        SANDBOX_SERVICE_ACCOUNT,
        (&name, &uid),
    )
}

/// A pod whose agent runs.
fn pod(run: u8, policy_hash: String) -> SandboxPod {
    SandboxPod {
        uid: format!("pod-{run}"),
        name: pod_name(run),
        run: RunIdentity {
            namespace: namespace(run),
            name: format!("run-{run}"),
            uid: format!("run-{run}"),
        },
        policy_hash,
        addresses: vec![address_of(run).into()],
        built: "as built".to_owned(),
        live: "as built".to_owned(),
        owner: Owner::ItsJob,
        deleting: false,
        prepare_ended: true,
        agent_started_at: Some(jiff::Timestamp::now().to_string()),
        active_deadline: Some(Duration::from_hours(1)),
        agent_ended: false,
        stop: None,
    }
}

/// The ConfigMap of a policy.
fn map(policy: &FrozenPolicy) -> ConfigMap {
    let mut map = ConfigMap {
        immutable: Some(true),
        data: Some([(FROZEN_POLICY_KEY.to_owned(), policy.to_json())].into()),
        ..ConfigMap::default()
    };
    map.metadata.name = Some(frozen_policy_name(&policy.hash()));
    map.metadata.labels = Some([(LABEL_FROZEN_POLICY.to_owned(), "true".to_owned())].into());
    map
}

struct Fixed(ConfigMap);

impl PolicySource for Fixed {
    fn read<'a>(&'a self, _hash: &'a str) -> BoxFuture<'a, Result<ConfigMap, String>> {
        std::future::ready(Ok(self.0.clone())).boxed()
    }
}

/// A cluster without Services.
struct NoServices;

impl ServiceSource for NoServices {
    fn read<'a>(&'a self, _name: &'a ServiceName) -> BoxFuture<'a, Result<Option<Service>, String>> {
        std::future::ready(Ok(None)).boxed()
    }
}

/// Every name is at one address.
struct OneHost(IpAddr);

impl Dialer for OneHost {
    fn resolve<'a>(&'a self, _host: &'a Host) -> BoxFuture<'a, Result<Vec<IpAddr>, String>> {
        std::future::ready(Ok(vec![self.0])).boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, std::io::Result<TcpStream>> {
        sockets::connect(address).boxed()
    }
}

/// An archive that has every record at once.
struct Taken;

impl Sink for Taken {
    fn store<'a>(
        &'a self,
        _run_uid: &'a str,
        _stream: &'a StreamId,
        _lines: Bytes,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// What reads foreign bytes, for fuzz targets.
pub mod parse {
    use crate::egress::authority;
    use crate::tunnel::hello::{Hidden, judge};

    /// Whether the first bytes of a tunnel are a whole TLS hello for `host`; `None`: they never will be.
    pub fn hello(received: &[u8], host: &str) -> Option<bool> {
        judge(received, host, Hidden::Refused).ok()
    }

    /// The host and port of a request's authority.
    pub fn authority(text: &str) -> Option<(String, u16)> {
        let (host, port) = authority::parse(text, None).ok()?;
        Some((host.as_str().to_owned(), port))
    }
}
