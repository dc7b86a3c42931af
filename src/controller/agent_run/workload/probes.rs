//! What every run proves that it cannot reach.

use std::net::SocketAddr;

use super::Input;
use cofferdam_api::names::GATEWAY_CANARY_PORT;
use cofferdam_wire::runner::{Probe, ProbeProtocol};

/// Stands for the address of the pod's own node, which is known only where it runs.
const NODE: &str = "node";
const KUBELET_PORT: u16 = 10_250;
/// Where clouds serve instance metadata, and with it credentials.
const METADATA: &str = "169.254.169.254:80";

/// All probes of a run. The gateway's canary shows that the fence tells ports apart: its neighbour port is open.
pub fn all(input: &Input<'_>) -> Vec<Probe> {
    let canary = SocketAddr::new(input.gateway.ip(), GATEWAY_CANARY_PORT).to_string();
    let mut probes = vec![
        probe("gateway-canary", canary.clone(), ProbeProtocol::Tcp),
        probe("gateway-canary-udp", canary, ProbeProtocol::Udp),
        probe("api-server", input.config.api_server.clone(), ProbeProtocol::Tcp),
        probe("kubelet", format!("{NODE}:{KUBELET_PORT}"), ProbeProtocol::Tcp),
        probe("node-echo", format!("{NODE}:0"), ProbeProtocol::Echo),
        probe("metadata", METADATA.to_owned(), ProbeProtocol::Tcp),
    ];
    for (index, address) in input.config.cluster_dns.iter().enumerate() {
        let (tcp, udp) = (format!("dns-{index}"), format!("dns-{index}-udp"));
        probes.push(probe(&tcp, address.to_string(), ProbeProtocol::Tcp));
        probes.push(probe(&udp, address.to_string(), ProbeProtocol::DnsUdp));
    }
    for (index, address) in input.config.public_probes.iter().enumerate() {
        let (tcp, echo) = (format!("public-{index}"), format!("public-{index}-echo"));
        probes.push(probe(&tcp, address.to_string(), ProbeProtocol::Tcp));
        let host = SocketAddr::new(address.ip(), 0);
        probes.push(probe(&echo, host.to_string(), ProbeProtocol::Echo));
    }
    probes
}

fn probe(name: &str, address: String, protocol: ProbeProtocol) -> Probe {
    Probe {
        name: name.to_owned(),
        address,
        protocol,
    }
}
