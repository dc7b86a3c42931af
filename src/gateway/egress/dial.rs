//! From a host's name to an open connection: what was checked is what is dialled.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use tokio::net::TcpStream;

use super::deny_set::DenySet;
use crate::denial::Denial;
use crate::transport::sockets;
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::route::Route;
use cofferdam_wire::denial::DenialCode;

/// Longest time for a name's resolution.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one host that are tried.
const TRIES: usize = 4;

/// Resolves names and opens connections; tests have one that never leaves the machine.
pub trait Dialer: Send + Sync {
    /// All addresses of `host`.
    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Vec<IpAddr>, String>>;
    /// A connection to exactly this address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, std::io::Result<TcpStream>>;
}

/// The cluster's resolver and real connections.
pub struct SystemDialer {
    resolver: TokioResolver,
}

impl SystemDialer {
    /// Uses the resolver of `/etc/resolv.conf`.
    ///
    /// # Errors
    /// The file cannot be read; for people.
    pub fn new() -> Result<Self, String> {
        let mut builder = TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
        let options = builder.options_mut();
        // A name in this pod's hosts file is not what policy means.
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = Duration::from_secs(2);
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { resolver })
    }
}

impl Dialer for SystemDialer {
    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Vec<IpAddr>, String>> {
        Box::pin(async move {
            // The dot makes the name absolute: no search list turns it into a name of this cluster.
            let found = self.resolver.lookup_ip(format!("{}.", host.as_str())).await;
            found
                .map(|addresses| addresses.iter().collect())
                .map_err(|error| error.to_string())
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, std::io::Result<TcpStream>> {
        Box::pin(sockets::connect(address))
    }
}

/// Opens a connection to the host of `route`, whose every address must be allowed.
pub async fn dial(
    dialer: &dyn Dialer,
    denied: &DenySet,
    route: &Route,
) -> Result<(TcpStream, SocketAddr), Denial> {
    let host = route.host();
    let resolved = tokio::time::timeout(RESOLVE_TIMEOUT, dialer.resolve(host))
        .await
        .unwrap_or_else(|_| Err("no answer in 5 s".to_owned()))
        .map_err(|error| {
            Denial::new(
                DenialCode::ResolveFailed,
                format!("{} does not resolve: {error}", host.as_str()),
            )
        })?;
    let addresses = check(resolved, denied, route)?;
    open(dialer, route, addresses).await
}

/// Opens a connection to the first of these addresses, which were checked, that takes one.
pub async fn open(
    dialer: &dyn Dialer,
    route: &Route,
    addresses: Vec<IpAddr>,
) -> Result<(TcpStream, SocketAddr), Denial> {
    let host = route.host();
    let mut last = String::from("no address");
    for address in addresses.into_iter().take(TRIES) {
        let address = SocketAddr::new(address, route.port());
        match connect(dialer, address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => last = error,
        }
    }
    Err(Denial::new(
        DenialCode::DialFailed,
        format!("{} cannot be reached: {last}", host.as_str()),
    ))
}

/// Opens a connection to an address that was checked; the error is for people.
pub async fn connect(dialer: &dyn Dialer, address: SocketAddr) -> Result<TcpStream, String> {
    match tokio::time::timeout(CONNECT_TIMEOUT, dialer.connect(address)).await {
        Ok(Ok(stream)) => {
            // Small messages of interactive protocols must not wait for each other.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no answer in 5 s")),
    }
}

/// Every address must pass: a name with one bad address is somebody's attempt, or a mistake to be mended.
fn check(resolved: Vec<IpAddr>, denied: &DenySet, route: &Route) -> Result<Vec<IpAddr>, Denial> {
    let host = route.host();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in resolved {
        let address = address.to_canonical();
        let allowed = !denied.contains(address) && route.permits_address(address);
        if !allowed {
            let message = format!(
                "{} resolves to {address}, which is not allowed for it",
                host.as_str()
            );
            return Err(Denial::new(DenialCode::AddressDenied, message));
        }
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(Denial::new(
            DenialCode::ResolveFailed,
            format!("{} has no address", host.as_str()),
        ));
    }
    Ok(addresses)
}

#[cfg(test)]
pub(crate) mod testing {
    //! A network of loopback listeners.

    use super::*;
    use parking_lot::Mutex;
    use std::collections::HashMap;
    use std::sync::Arc;

    /// Names with their addresses, and where a connection to an address really goes.
    #[derive(Clone, Default)]
    pub(crate) struct FakeNet {
        pub(crate) names: Arc<Mutex<HashMap<String, Vec<IpAddr>>>>,
        pub(crate) routes: Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>,
        pub(crate) dialled: Arc<Mutex<Vec<SocketAddr>>>,
    }

    impl FakeNet {
        pub(crate) fn name(&self, host: &str, addresses: &[&str]) {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            self.names.lock().insert(host.to_owned(), addresses);
        }

        pub(crate) fn route(&self, address: &str, to: SocketAddr) {
            self.routes.lock().insert(address.parse().unwrap(), to);
        }
    }

    impl Dialer for FakeNet {
        fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Vec<IpAddr>, String>> {
            let found = self.names.lock().get(host.as_str()).cloned();
            Box::pin(async move { found.ok_or_else(|| "no such name".to_owned()) })
        }

        fn connect(&self, address: SocketAddr) -> BoxFuture<'_, std::io::Result<TcpStream>> {
            self.dialled.lock().push(address);
            let to = self.routes.lock().get(&address).copied();
            Box::pin(async move {
                match to {
                    Some(to) => sockets::connect(to).await,
                    None => Err(std::io::ErrorKind::ConnectionRefused.into()),
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::FakeNet;
    use super::*;
    use cofferdam_api::{Mode, TlsMode};
    use cofferdam_policy::dimension::egress::{EgressLayer, EgressRule};
    use cofferdam_policy::refusal::LayerKind;
    use cofferdam_policy::route;
    use rstest::rstest;

    fn route(host: &str) -> Route {
        let networks = ["203.0.113.0/24", "10.0.0.0/8"].map(|network| network.parse().unwrap());
        let layer = EgressLayer {
            kind: LayerKind::SandboxPolicy,
            name: "default".to_owned(),
            mode: Mode::AllowList,
            rules: vec![EgressRule {
                name: "one".to_owned(),
                hosts: vec![host.parse().unwrap()],
                addresses: networks.to_vec(),
                ports: vec![443],
                tls: TlsMode::Tunnel,
                methods: Vec::new(),
                paths: Vec::new(),
                credential: None,
                service: None,
            }],
        };
        let host = Host::parse(host).unwrap();
        route::route(&[layer], cofferdam_api::Tunnels::Allow, None, &host, 443)
            .into_result()
            .unwrap()
    }

    fn denied() -> DenySet {
        DenySet::new(["10.244.0.0/16".parse().unwrap(), "10.96.0.0/16".parse().unwrap()])
    }

    #[rstest]
    #[case::public(&["8.8.8.8"], None)]
    #[case::listed(&["203.0.113.30"], None)]
    #[case::listed_private(&["10.1.2.3"], None)]
    #[case::listed_but_a_pods(&["10.244.1.1"], Some("AddressDenied"))]
    #[case::listed_but_a_services(&["10.96.0.1"], Some("AddressDenied"))]
    #[case::one_of_two(&["8.8.8.8", "10.244.1.1"], Some("AddressDenied"))]
    #[case::not_listed(&["192.168.1.1"], Some("AddressDenied"))]
    #[case::loopback(&["127.0.0.1"], Some("AddressDenied"))]
    #[case::metadata(&["169.254.169.254"], Some("AddressDenied"))]
    #[case::mapped(&["::ffff:10.96.0.1"], Some("AddressDenied"))]
    #[case::nat64(&["64:ff9b::a60:1"], Some("AddressDenied"))]
    #[case::nothing(&[], Some("ResolveFailed"))]
    fn addresses(#[case] resolved: &[&str], #[case] code: Option<&str>) {
        let resolved = resolved.iter().map(|address| address.parse().unwrap()).collect();
        let result = check(resolved, &denied(), &route("a.test"));
        assert_eq!(result.err().map(|denial| denial.code.as_str()), code);
    }

    #[tokio::test]
    async fn what_was_checked_is_dialled_in_order_and_not_for_ever() {
        let net = FakeNet::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        net.route("203.0.113.32:443", listener.local_addr().unwrap());
        net.name("a.test", &["203.0.113.30", "203.0.113.31", "203.0.113.32"]);
        let (_, address) = dial(&net, &denied(), &route("a.test")).await.unwrap();
        assert_eq!(address, "203.0.113.32:443".parse().unwrap());
        assert_eq!(net.dialled.lock().len(), 3);
        net.name(
            "b.test",
            &[
                "203.0.113.1",
                "203.0.113.2",
                "203.0.113.3",
                "203.0.113.4",
                "203.0.113.5",
            ],
        );
        let error = dial(&net, &denied(), &route("b.test")).await.unwrap_err();
        assert_eq!(error.code, DenialCode::DialFailed);
        assert_eq!(net.dialled.lock().len(), 3 + TRIES);
        let error = dial(&net, &denied(), &route("c.test")).await.unwrap_err();
        assert_eq!(error.code, DenialCode::ResolveFailed);
    }
}
