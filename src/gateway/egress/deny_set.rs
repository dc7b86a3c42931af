//! Addresses that the gateway never dials for a run, whatever a policy allows (design: seam 3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use cofferdam_policy::pattern::address::never_granted;

/// The cluster's own ranges and addresses, and the special blocks that no policy can allow.
#[derive(Clone, Debug)]
pub struct DenySet {
    ranges: Vec<IpNet>,
}

impl DenySet {
    /// The set of these ranges and of the special blocks that no policy can allow.
    pub fn new(cluster: impl IntoIterator<Item = IpNet>) -> Self {
        let always = never_granted().map(|range| range.net);
        let mut ranges: Vec<IpNet> = always.chain(cluster).collect();
        ranges.sort_unstable();
        ranges.dedup();
        Self { ranges }
    }

    /// Whether `address`, or an IPv4 address that is embedded in it, is denied.
    pub fn contains(&self, address: IpAddr) -> bool {
        let denied = |address: &IpAddr| self.ranges.iter().any(|range| range.contains(address));
        denied(&address) || embedded(address).any(|inner| denied(&IpAddr::V4(inner)))
    }
}

/// IPv4 addresses to which some router may turn an IPv6 address: mapped, compatible, NAT64 and 6to4.
fn embedded(address: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let v6 = match address {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    };
    v6.into_iter().filter_map(embedded_in)
}

fn embedded_in(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// The range that holds this one address.
pub fn single(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn set() -> DenySet {
        DenySet::new(["10.244.0.0/16", "10.96.0.0/16", "fd01::/48"].map(|range| range.parse().unwrap()))
    }

    #[rstest]
    #[case("10.244.3.4", true)]
    #[case("10.96.0.1", true)]
    #[case("fd01::5", true)]
    #[case("127.0.0.1", true)]
    #[case("0.0.0.0", true)]
    #[case("169.254.169.254", true)]
    #[case("168.63.129.16", true)]
    #[case("::1", true)]
    #[case("::", true)]
    #[case("fe80::1", true)]
    #[case("fd00:ec2::254", true)]
    #[case("::ffff:10.96.0.1", true)]
    #[case("::10.96.0.1", true)]
    #[case("64:ff9b::10.244.0.9", true)]
    #[case("2002:0af4:0001::1", true)]
    #[case("203.0.113.30", false)]
    #[case("10.95.255.255", false)]
    #[case("10.245.0.0", false)]
    #[case("fd02::5", false)]
    #[case("64:ff9b::203.0.113.30", true)]
    #[case("fd20:ce::254", true)]
    #[case("100.100.100.200", true)]
    fn addresses(#[case] address: IpAddr, #[case] denied: bool) {
        assert_eq!(set().contains(address), denied, "{address}");
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_denied_address_gets_through(last in any::<[u8; 2]>()) {
            let inner = Ipv4Addr::new(10, 244, last[0], last[1]);
            let [_, _, c, d] = inner.octets().map(u16::from);
            let low = c << 8 | d;
            for address in [
                IpAddr::V4(inner),
                IpAddr::V6(inner.to_ipv6_mapped()),
                IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x0af4, low)),
                IpAddr::V6(Ipv6Addr::new(0x2002, 0x0af4, low, 0, 0, 0, 0, 1)),
            ] {
                prop_assert!(set().contains(address), "{}", address);
            }
        }
    }
}
