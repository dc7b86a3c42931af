//! Proof that the fence holds: what must be reachable is, what must not be is not, seen in the same moments.
//!
//! A dropped packet looks like a dead network, so negative probes prove nothing alone: each round stands between
//! two calls to the gateway that succeed. How long a round waits follows from how long those calls take
//! ([`patience`]), because they leave the same sandbox by the same interface and node. A network that programs its
//! rules only after the pod has started gets [`BUDGET`] to close; nothing hostile runs yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout};

use cofferdam_wire::runner::{Probe, ProbeProtocol};

/// How long the fence may take to come up.
pub const BUDGET: Duration = Duration::from_secs(15);
/// The longest that a probe waits for an answer. A kernel repeats a lost SYN after 1 s, so more would buy nothing.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The shortest: an open way around the globe and back takes less.
const SHORTEST_WAIT: Duration = Duration::from_millis(400);
/// A probe waits this many times as long as the slowest call to the gateway took.
const WAIT_FACTOR: u32 = 20;
/// Least time between the beginnings of two rounds, also where the network answers with a reset at once.
const SPACING: Duration = Duration::from_millis(200);
/// Closed rounds in a row that make a proof: one lost packet must not look like a fence.
const ROUNDS: u32 = 2;
/// Stands for the node's address in a probe.
const NODE: &str = "node";

/// What a DNS server is asked; any answer at all shows a way out. `cofferdam.invalid`, type A, is an ordinary query,
/// for which a server may have to ask others; `version.bind`, type TXT, class CH, it answers or refuses by itself.
const DNS_QUERIES: &[&[u8]] = &[
    b"\xcd\x0f\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09cofferdam\x07invalid\x00\x00\x01\x00\x01",
    b"\xcd\x10\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03",
];

/// An echo request of ICMP: kind, code, checksum, identifier, number, data. The kernel puts in its own identifier, and
/// the checksum.
const ECHO_REQUEST: &[u8] = b"\x08\0\0\0\0\0\0\x01cofferdam";
/// The same of `ICMPv6`.
const ECHO_REQUEST_V6: &[u8] = b"\x80\0\0\0\0\0\0\x01cofferdam";

/// Why probes cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There are none, so nothing could be proven.
    #[error("there are no probes")]
    None,
    /// An address is none.
    #[error("probe {0} has no usable address")]
    Address(String),
}

/// A probe with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    name: String,
    address: SocketAddr,
    protocol: ProbeProtocol,
    node: bool,
}

/// A probe that got out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Name of the probe.
    pub name: String,
    /// What was seen.
    pub detail: String,
    /// Whether it reached the pod's own node, which many networks cannot close.
    pub node: bool,
}

/// What was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whether the pod's own node could be reached.
    pub node_open: bool,
    /// Probes that were made.
    pub probes_made: u32,
}

/// Why nothing was proven within the budget.
#[derive(Debug, thiserror::Error)]
pub enum NotProven {
    /// Something could be reached.
    #[error(
        "NetworkPolicy is not enforced for this pod: the sandbox reached {}. Use a network plugin that enforces NetworkPolicy",
        list(.0)
    )]
    Open(Vec<Open>),
    /// The pod's own node alone could be reached.
    #[error(
        "the sandbox can reach its own node: {}. Many networks cannot close that way, and every other one was seen closed: \
         where this is so here, a policy may allow it (limits.runtime.nodeAccess: Allow)",
        list(.0)
    )]
    Node(Vec<Open>),
    /// Probes could not be made.
    #[error("not every probe of the fence could be made, so that nothing is proven: {0}")]
    Unmade(String),
    /// The gateway could not be reached next to the probes.
    #[error("the gateway could not be reached next to the probes, so that nothing is proven: {0}")]
    Gateway(String),
}

fn list(open: &[Open]) -> String {
    let shown: Vec<&str> = open.iter().map(|open| open.detail.as_str()).collect();
    shown.join("; ")
}

/// The targets of `probes`, with the pod's node at `node`.
///
/// # Errors
/// A probe without an address, or no probe at all.
pub fn targets(probes: &[Probe], node: Option<IpAddr>) -> Result<Vec<Target>, ProbeError> {
    if probes.is_empty() {
        return Err(ProbeError::None);
    }
    probes.iter().map(|probe| target(probe, node)).collect()
}

fn target(probe: &Probe, node: Option<IpAddr>) -> Result<Target, ProbeError> {
    let malformed = || ProbeError::Address(probe.name.clone());
    let on_node = probe
        .address
        .strip_prefix(NODE)
        .and_then(|rest| rest.strip_prefix(':'));
    let address = match on_node {
        Some(port) => SocketAddr::new(
            node.ok_or_else(malformed)?,
            port.parse().map_err(|_| malformed())?,
        ),
        None => probe.address.parse().map_err(|_| malformed())?,
    };
    Ok(Target {
        name: probe.name.clone(),
        address,
        protocol: probe.protocol,
        node: on_node.is_some(),
    })
}

/// The targets that may not be reached: all, or all but those on the pod's node.
pub fn forbidden(targets: &[Target], node_tolerated: bool) -> Vec<Target> {
    targets
        .iter()
        .filter(|target| !(target.node && node_tolerated))
        .cloned()
        .collect()
}

/// How long a round waits after calls to the gateway of which the slowest took `slowest`.
fn patience(slowest: Duration) -> Duration {
    slowest
        .saturating_mul(WAIT_FACTOR)
        .clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

/// What came of a round of probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Those that got out, in the targets' order.
    pub open: Vec<Open>,
    /// Why probes could not be made: they are no proof of anything.
    pub unmade: Vec<String>,
}

/// Tries all targets at once and waits for each at most `wait`.
pub async fn round(targets: &[Target], wait: Duration) -> Round {
    let mut round = Round::default();
    for seen in join_all(targets.iter().map(|target| attempt(target, wait))).await {
        match seen {
            Seen::Open(open) => round.open.push(open),
            Seen::Unmade(why) => round.unmade.push(why),
            Seen::Closed => {}
        }
    }
    round
}

/// Whether a new connection to `address` can be opened; nothing that is kept open stands for it.
///
/// # Errors
/// Why not.
pub async fn opens(address: SocketAddr) -> Result<(), Unopened> {
    match timeout(LONGEST_WAIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if is_local(&error, address) => Err(Unopened::Here(error.to_string())),
        _ => Err(Unopened::There),
    }
}

/// Why a connection did not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// The sandbox has nothing left to open it with.
    Here(String),
    /// Whoever was called, or the network between, did not answer.
    There,
}

/// What came of a probe.
enum Seen {
    Open(Open),
    Closed,
    Unmade(String),
}

async fn attempt(target: &Target, wait: Duration) -> Seen {
    let address = target.address;
    let (exchange, what) = match target.protocol {
        ProbeProtocol::Tcp => {
            let opened = timeout(wait, TcpStream::connect(address)).await;
            (
                opened.map(|opened| opened.map(drop)),
                "a TCP connection opened to",
            )
        }
        ProbeProtocol::Udp => (
            timeout(wait, answered(address, &[b"cofferdam\n"])).await,
            "a datagram was answered by",
        ),
        ProbeProtocol::DnsUdp => (
            timeout(wait, answered(address, DNS_QUERIES)).await,
            "a DNS query was answered by",
        ),
        ProbeProtocol::Echo => (
            timeout(wait, echoed(address.ip())).await,
            "an ICMP echo request was answered by",
        ),
    };
    match exchange {
        Ok(Ok(())) => Seen::Open(Open {
            name: target.name.clone(),
            detail: format!("{what} {address} ({})", target.name),
            node: target.node,
        }),
        Ok(Err(error)) if is_local(&error, address) => Seen::Unmade(format!("{} ({})", error, target.name)),
        _ => Seen::Closed,
    }
}

/// Whether an error says that the sandbox has nothing left to send with. An agent that uses up its ports or descriptors
/// would otherwise make every way look closed. Without an IPv6 address of its own no way of IPv6 is open.
fn is_local(error: &std::io::Error, address: SocketAddr) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN | Errno::ADDRINUSE,
        ) => true,
        Some(Errno::ADDRNOTAVAIL) => address.is_ipv4(),
        _ => false,
    }
}

/// Waits until anything comes back for one of `datagrams`. That nothing can be sent is a closed way, too.
async fn answered(address: SocketAddr, datagrams: &[&[u8]]) -> std::io::Result<()> {
    let local: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0)).await?;
    exchange(&socket, address, datagrams).await
}

/// Waits until `address` answers an echo request. Many kernels let nobody send one without a right that no sandbox has.
async fn echoed(address: IpAddr) -> std::io::Result<()> {
    let (family, protocol, request) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, ECHO_REQUEST),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, ECHO_REQUEST_V6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol))?;
    let socket = UdpSocket::from_std(std::net::UdpSocket::from(socket))?;
    exchange(&socket, SocketAddr::new(address, 0), &[request]).await
}

async fn exchange(socket: &UdpSocket, address: SocketAddr, datagrams: &[&[u8]]) -> std::io::Result<()> {
    socket.connect(address).await?;
    for datagram in datagrams {
        socket.send(datagram).await?;
    }
    socket.recv(&mut [0; 512]).await.map(drop)
}

/// Probes until the fence is seen closed [`ROUNDS`] times in a row, each time with `positive` before and after.
///
/// # Errors
/// `budget` passed without such a proof.
pub async fn prove(
    targets: &[Target],
    node_tolerated: bool,
    budget: Duration,
    positive: impl AsyncFn() -> Result<(), String>,
) -> Result<Proof, NotProven> {
    let end = Instant::now() + budget;
    let made = u32::try_from(targets.len()).unwrap_or(u32::MAX);
    let mut probes_made: u32 = 0;
    let mut closed = 0;
    let mut slowest = Duration::ZERO;
    let mut call_gateway = async || {
        let asked = Instant::now();
        let answer = positive().await;
        slowest = slowest.max(asked.elapsed());
        (answer, patience(slowest))
    };
    loop {
        let begun = Instant::now();
        let (before, wait) = call_gateway().await;
        let Round { open, unmade } = round(targets, wait).await;
        let (fatal, tolerated): (Vec<Open>, Vec<Open>) =
            open.into_iter().partition(|open| !(open.node && node_tolerated));
        let (after, _) = call_gateway().await;
        probes_made = probes_made.saturating_add(made);
        let failed = if fatal.is_empty() {
            let unmade = (!unmade.is_empty()).then(|| NotProven::Unmade(unmade.join("; ")));
            unmade.or_else(|| before.and(after).err().map(NotProven::Gateway))
        } else if fatal.iter().all(|open| open.node) {
            Some(NotProven::Node(fatal))
        } else {
            Some(NotProven::Open(fatal))
        };
        closed = if failed.is_none() { closed + 1 } else { 0 };
        if closed == ROUNDS {
            return Ok(Proof {
                node_open: !tolerated.is_empty(),
                probes_made,
            });
        }
        if let Some(failed) = failed
            && Instant::now() >= end
        {
            return Err(failed);
        }
        sleep_until(begun + SPACING).await;
    }
}

#[cfg(test)]
mod tests;
