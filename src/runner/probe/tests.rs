use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::TcpListener;

const SHORT: Duration = Duration::from_millis(300);

fn probe(name: &str, address: &str, protocol: ProbeProtocol) -> Probe {
    Probe {
        name: name.to_owned(),
        address: address.to_owned(),
        protocol,
    }
}

async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((read, peer)) = socket.recv_from(&mut buffer).await {
            socket.send_to(&buffer[..read], peer).await.unwrap();
        }
    });
    address
}

/// An address where nothing listens: a port that was free a moment ago.
async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn each_protocol_sees_a_hole_and_sees_none_where_there_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (open_tcp, open_udp, shut) = (listener.local_addr().unwrap(), echo().await, closed().await);
    let targets = targets(
        &[
            probe("tcp-open", &open_tcp.to_string(), ProbeProtocol::Tcp),
            probe("tcp-shut", &shut.to_string(), ProbeProtocol::Tcp),
            probe("udp-open", &open_udp.to_string(), ProbeProtocol::Udp),
            probe("udp-shut", &shut.to_string(), ProbeProtocol::Udp),
            probe("dns-open", &open_udp.to_string(), ProbeProtocol::DnsUdp),
            probe("dns-shut", &shut.to_string(), ProbeProtocol::DnsUdp),
        ],
        None,
    )
    .unwrap();
    let Round { open, unmade } = round(&targets, LONGEST_WAIT).await;
    let names: Vec<String> = open.into_iter().map(|open| open.name).collect();
    assert_eq!(names, ["tcp-open", "udp-open", "dns-open"]);
    assert_eq!(unmade, Vec::<String>::new());
}

/// Whether the kernel lets this process send echo requests at all decides what is seen of an address that answers them.
#[tokio::test]
async fn an_echo_is_seen_where_one_can_be_sent() {
    let may = std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default();
    let range: Vec<u32> = may
        .split_ascii_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect();
    let group = rustix::process::getegid().as_raw();
    let may = matches!(range.as_slice(), [first, last] if (*first..=*last).contains(&group));
    let probes = [probe("loopback", "127.0.0.1:0", ProbeProtocol::Echo)];
    let Round { open, unmade } = round(&targets(&probes, None).unwrap(), LONGEST_WAIT).await;
    let details: Vec<String> = open.into_iter().map(|open| open.detail).collect();
    let seen: &[&str] = if may {
        &["an ICMP echo request was answered by 127.0.0.1:0 (loopback)"]
    } else {
        &[]
    };
    assert_eq!(
        (details, unmade),
        (seen.iter().map(ToString::to_string).collect(), Vec::new())
    );
}

/// What the sandbox itself lacks is no closed way.
#[test]
fn errors_of_the_sandbox_prove_nothing() {
    let (four, six) = (
        "203.0.113.1:443".parse().unwrap(),
        "[2001:db8::1]:443".parse().unwrap(),
    );
    for (errno, local) in [
        (Errno::ADDRNOTAVAIL, [true, false]),
        (Errno::MFILE, [true, true]),
        (Errno::AGAIN, [true, true]),
        (Errno::NOBUFS, [true, true]),
        (Errno::CONNREFUSED, [false, false]),
        (Errno::NETUNREACH, [false, false]),
        (Errno::HOSTUNREACH, [false, false]),
        (Errno::PERM, [false, false]),
        (Errno::ACCESS, [false, false]),
        (Errno::TIMEDOUT, [false, false]),
    ] {
        let error = std::io::Error::from_raw_os_error(errno.raw_os_error());
        assert_eq!(
            [four, six].map(|address| is_local(&error, address)),
            local,
            "{errno:?}"
        );
    }
}

#[tokio::test]
async fn a_hole_names_what_was_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let targets = targets(
        &[probe("gateway-canary", &address.to_string(), ProbeProtocol::Tcp)],
        None,
    )
    .unwrap();
    let error = prove(&targets, false, SHORT, async || Ok(())).await.unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(&format!("a TCP connection opened to {address} (gateway-canary)")),
        "{message}"
    );
}

#[tokio::test]
async fn closed_rounds_count_only_between_calls_that_succeed() {
    let targets = targets(
        &[probe("shut", &closed().await.to_string(), ProbeProtocol::Tcp)],
        None,
    )
    .unwrap();
    let error = prove(&targets, false, SHORT, async || Err("no route".to_owned()))
        .await
        .unwrap_err();
    assert!(matches!(error, NotProven::Gateway(_)), "{error}");

    // The gateway fails every fifth call: a streak must be begun again.
    let calls = AtomicU32::new(0);
    let proof = prove(&targets, false, BUDGET, async || {
        match calls.fetch_add(1, Ordering::Relaxed) {
            2 => Err("lost".to_owned()),
            _ => Ok(()),
        }
    })
    .await
    .unwrap();
    assert_eq!(
        proof,
        Proof {
            node_open: false,
            probes_made: 4
        }
    );
}

#[tokio::test]
async fn a_fence_that_comes_up_late_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let targets = targets(&[probe("late", &address.to_string(), ProbeProtocol::Tcp)], None).unwrap();
    // Two calls belong to the first round; the fence comes before the second.
    let (calls, open) = (AtomicU32::new(0), Mutex::new(Some(listener)));
    let proof = prove(&targets, false, BUDGET, async || {
        if calls.fetch_add(1, Ordering::Relaxed) == 2 {
            drop(open.lock().unwrap().take());
        }
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(proof.probes_made, 1 + ROUNDS);
}

#[tokio::test]
async fn a_hole_that_opens_between_two_closed_rounds_is_seen() {
    let address = closed().await;
    let targets = targets(
        &[probe("flapping", &address.to_string(), ProbeProtocol::Tcp)],
        None,
    )
    .unwrap();
    let (calls, open) = (AtomicU32::new(0), Mutex::new(None));
    let error = prove(&targets, false, Duration::ZERO, async || {
        if calls.fetch_add(1, Ordering::Relaxed) == 2 {
            let listener = TcpListener::bind(address).await.unwrap();
            *open.lock().unwrap() = Some(listener);
        }
        Ok(())
    })
    .await
    .unwrap_err();
    assert!(matches!(error, NotProven::Open(_)), "{error}");
}

#[test]
fn a_round_waits_in_proportion_to_the_gateway_within_bounds() {
    for (slowest, wait) in [(0, 400), (5, 400), (20, 400), (30, 600), (50, 1000), (5000, 1000)] {
        assert_eq!(
            patience(Duration::from_millis(slowest)),
            Duration::from_millis(wait),
            "{slowest} ms"
        );
    }
}

#[test]
fn each_dns_query_is_one_that_a_server_reads() {
    for query in DNS_QUERIES {
        // Identity and flags, one question, no other section; then labels up to the root, type and class.
        assert_eq!(query[2..12], *b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00");
        let mut at = 12;
        while query[at] != 0 {
            at += 1 + usize::from(query[at]);
        }
        assert_eq!(query.len(), at + 5);
    }
}

#[tokio::test]
async fn the_node_is_a_fact_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let probes = [
        probe("kubelet", &format!("node:{}", address.port()), ProbeProtocol::Tcp),
        probe("shut", &closed().await.to_string(), ProbeProtocol::Tcp),
    ];
    let targets = targets(&probes, Some(address.ip())).unwrap();
    assert_eq!(forbidden(&targets, true).len(), 1);
    assert_eq!(forbidden(&targets, false).len(), 2);
    let tolerated = prove(&targets, true, BUDGET, async || Ok(())).await.unwrap();
    assert!(tolerated.node_open);
    let error = prove(&targets, false, SHORT, async || Ok(())).await.unwrap_err();
    assert!(
        error.to_string().contains("limits.runtime.nodeAccess: Allow"),
        "{error}"
    );
}

#[test]
fn probes_without_addresses_are_refused() {
    assert!(matches!(targets(&[], None), Err(ProbeError::None)));
    for address in ["node:10250", "node:", "name.test:1", "10.0.0.1", "node"] {
        assert!(
            targets(&[probe("p", address, ProbeProtocol::Tcp)], None).is_err(),
            "{address}"
        );
    }
}
