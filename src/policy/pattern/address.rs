//! Which addresses are on the public internet, and which of the others a policy may grant. One table for all readers.
//!
//! Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates), the multicast blocks,
//! the IPv6 forms that carry an IPv4 address, and the metadata services of clouds that have addresses outside the
//! link-local blocks. Where a registry calls a small part of a block globally reachable, the whole block is treated as
//! special: nothing that an agent needs is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::sorted;

/// A block of addresses that is not on the public internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialRange {
    /// The block.
    pub net: IpNet,
    /// What the block is for and where that is defined, for messages.
    pub reason: &'static str,
    /// Whether the `addresses` of a policy's rule can allow it.
    pub grant: Grant,
}

/// Whether a policy can allow the addresses of a special block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A rule's `addresses` can: servers of other people may have such addresses.
    ByPolicy,
    /// No policy can: loopback, link-local, metadata services, multicast, reserved blocks, embedded IPv4 addresses.
    Never,
}

use Grant::{ByPolicy, Never};

const fn v4(octets: [u8; 4], prefix: u8, grant: Grant, reason: &'static str) -> SpecialRange {
    SpecialRange {
        net: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_octets(octets), prefix)),
        reason,
        grant,
    }
}

const fn v6(segments: [u16; 8], prefix: u8, grant: Grant, reason: &'static str) -> SpecialRange {
    SpecialRange {
        net: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_segments(segments), prefix)),
        reason,
        grant,
    }
}

/// The only IPv6 block that IANA gives out as global unicast.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What an IPv6 address outside `2000::/3` is when no narrower block contains it.
const UNASSIGNED: SpecialRange = v6([0; 8], 0, Never, "not global unicast");

/// Every special block. The first that contains an address counts, so narrow blocks come before wide ones.
#[rustfmt::skip] // One block a line, to be compared with the registries.
pub const SPECIAL: &[SpecialRange] = &[
    v4([100, 100, 100, 200], 32, Never, "metadata service (Alibaba Cloud)"),
    v4([168, 63, 129, 16], 32, Never, "metadata service (Azure)"),
    v4([0, 0, 0, 0], 8, Never, "this network (RFC 791)"),
    v4([10, 0, 0, 0], 8, ByPolicy, "private (RFC 1918)"),
    v4([100, 64, 0, 0], 10, ByPolicy, "shared by carriers (RFC 6598)"),
    v4([127, 0, 0, 0], 8, Never, "loopback (RFC 1122)"),
    v4([169, 254, 0, 0], 16, Never, "link-local (RFC 3927), metadata services of most clouds"),
    v4([172, 16, 0, 0], 12, ByPolicy, "private (RFC 1918)"),
    v4([192, 0, 0, 0], 24, Never, "protocol assignments (RFC 6890)"),
    v4([192, 0, 2, 0], 24, ByPolicy, "documentation (RFC 5737)"),
    v4([192, 88, 99, 0], 24, Never, "6to4 relays (RFC 7526)"),
    v4([192, 168, 0, 0], 16, ByPolicy, "private (RFC 1918)"),
    v4([198, 18, 0, 0], 15, ByPolicy, "benchmarking (RFC 2544)"),
    v4([198, 51, 100, 0], 24, ByPolicy, "documentation (RFC 5737)"),
    v4([203, 0, 113, 0], 24, ByPolicy, "documentation (RFC 5737)"),
    v4([224, 0, 0, 0], 4, Never, "multicast (RFC 5771)"),
    v4([255, 255, 255, 255], 32, Never, "broadcast (RFC 919)"),
    v4([240, 0, 0, 0], 4, Never, "reserved (RFC 1112)"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, Never, "unspecified (RFC 4291)"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Never, "loopback (RFC 4291)"),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, Never, "mapped IPv4 address (RFC 4291)"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, Never, "compatible IPv4 address (RFC 4291)"),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, Never, "NAT64 (RFC 6052)"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Never, "local NAT64 (RFC 8215)"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Never, "discard-only (RFC 6666)"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, Never, "dummy prefix (RFC 9780)"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, Never, "Teredo (RFC 4380)"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, Never, "benchmarking (RFC 5180)"),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, Never, "ORCHID (RFC 4843)"),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, Never, "ORCHIDv2 (RFC 7343)"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Never, "protocol assignments (RFC 2928)"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, ByPolicy, "documentation (RFC 3849)"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Never, "6to4 (RFC 3056)"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, ByPolicy, "documentation (RFC 9637)"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Never, "segment routing (RFC 9602)"),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128, Never, "metadata service (Scaleway)"),
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, Never, "metadata service (Oracle Cloud)"),
    v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200], 128, Never, "metadata service (Alibaba Cloud)"),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32, Never, "metadata service (AWS)"),
    v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1], 128, Never, "metadata service (Akamai)"),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0], 32, Never, "metadata service (Google Cloud)"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, ByPolicy, "unique local (RFC 4193)"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Never, "link-local (RFC 4291)"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Never, "site-local (RFC 3879)"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Never, "multicast (RFC 4291)"),
];

/// The blocks of [`SPECIAL`] that no policy can allow, for a gateway's list of denied addresses.
pub fn never_granted() -> impl Iterator<Item = &'static SpecialRange> {
    SPECIAL.iter().filter(|range| range.grant == Never)
}

/// The special block that contains `address`; `None` for the public internet.
pub fn special(address: IpAddr) -> Option<&'static SpecialRange> {
    let named = SPECIAL.iter().find(|range| range.net.contains(&address));
    match address {
        IpAddr::V6(v6) if named.is_none() && !GLOBAL_UNICAST.contains(&v6) => Some(&UNASSIGNED),
        _ => named,
    }
}

/// Whether `address` is on the public internet.
///
/// A mapped, compatible, translated or tunnelled IPv4 address never is, whatever it carries: in an answer from DNS it
/// is only ever an attempt to pass a check of the other family.
pub fn is_global(address: IpAddr) -> bool {
    special(address).is_none()
}

/// Whether a rule's `addresses` can allow `address` although it is not global.
pub fn is_grantable(address: IpAddr) -> bool {
    special(address).is_some_and(|range| range.grant == ByPolicy)
}

/// Networks that lie in both lists. Of two networks that overlap, one contains the other.
pub(crate) fn intersect(a: &[IpNet], b: &[IpNet]) -> Vec<IpNet> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (*x, *y)));
    let narrower = pairs.filter_map(|(x, y)| {
        if x.contains(&y) {
            Some(y)
        } else if y.contains(&x) {
            Some(x)
        } else {
            None
        }
    });
    sorted(narrower.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("1.1.1.1")]
    #[case("8.8.8.8")]
    #[case("9.255.255.255")]
    #[case("11.0.0.0")]
    #[case("100.63.255.255")]
    #[case("100.128.0.0")]
    #[case("126.255.255.255")]
    #[case("128.0.0.0")]
    #[case("168.63.129.15")]
    #[case("168.63.129.17")]
    #[case("169.253.255.255")]
    #[case("169.255.0.0")]
    #[case("172.15.255.255")]
    #[case("172.32.0.0")]
    #[case("192.0.1.0")]
    #[case("192.0.3.0")]
    #[case("192.167.255.255")]
    #[case("192.169.0.0")]
    #[case("198.17.255.255")]
    #[case("198.20.0.0")]
    #[case("198.51.101.0")]
    #[case("203.0.112.255")]
    #[case("203.0.114.0")]
    #[case("223.255.255.255")]
    #[case("2606:4700::1111")]
    #[case("2001:200::1")]
    #[case("2001:4860:4860::8888")]
    #[case("2003::1")]
    #[case("3ffe::1")]
    fn global(#[case] text: &str) {
        assert!(is_global(address(text)), "{text}");
        assert!(
            !is_grantable(address(text)),
            "{text}: a rule has nothing to allow"
        );
    }

    #[rstest]
    #[case("0.0.0.0", false)]
    #[case("0.255.255.255", false)]
    #[case("10.0.0.0", true)]
    #[case("10.255.255.255", true)]
    #[case("100.64.0.0", true)]
    #[case("100.100.100.199", true)]
    #[case("100.100.100.200", false)]
    #[case("100.100.100.201", true)]
    #[case("100.127.255.255", true)]
    #[case("127.0.0.1", false)]
    #[case("127.255.255.255", false)]
    #[case("168.63.129.16", false)]
    #[case("169.254.169.254", false)]
    #[case("169.254.20.10", false)]
    #[case("172.16.0.0", true)]
    #[case("172.31.255.255", true)]
    #[case("192.0.0.1", false)]
    #[case("192.0.0.192", false)]
    #[case("192.0.2.1", true)]
    #[case("192.88.99.1", false)]
    #[case("192.168.0.1", true)]
    #[case("198.18.0.0", true)]
    #[case("198.19.255.255", true)]
    #[case("198.51.100.1", true)]
    #[case("203.0.113.10", true)]
    #[case("224.0.0.1", false)]
    #[case("239.255.255.255", false)]
    #[case("240.0.0.1", false)]
    #[case("255.255.255.255", false)]
    #[case("::", false)]
    #[case("::1", false)]
    #[case("::10.0.0.1", false)]
    #[case("::8.8.8.8", false)]
    #[case("::ffff:10.0.0.1", false)]
    #[case("::ffff:8.8.8.8", false)]
    #[case("64:ff9b::8.8.8.8", false)]
    #[case("64:ff9b:1::1", false)]
    #[case("64:ff9b:2::1", false)]
    #[case("100::1", false)]
    #[case("100:0:0:1::1", false)]
    #[case("2001::1", false)]
    #[case("2001:0:53aa:64c::1", false)]
    #[case("2001:2::1", false)]
    #[case("2001:10::1", false)]
    #[case("2001:20::1", false)]
    #[case("2001:1ff::1", false)]
    #[case("2001:db8::1", true)]
    #[case("2002:a00:1::1", false)]
    #[case("2002:808:808::1", false)]
    #[case("3fff::1", true)]
    #[case("4000::1", false)]
    #[case("5f00::1", false)]
    #[case("fc00::1", true)]
    #[case("fd00:ec2::254", false)]
    #[case("fd00:ec3::1", true)]
    #[case("fd00:42::42", false)]
    #[case("fd00:42::43", true)]
    #[case("fd00:c1::a9fe:a9fe", false)]
    #[case("fd00:100::100:200", false)]
    #[case("fd00:a9fe:a9fe::1", false)]
    #[case("fd20:cd:ffff:ffff:ffff:ffff:ffff:ffff", true)]
    #[case("fd20:ce::254", false)]
    #[case("fd20:ce:ffff:ffff:ffff:ffff:ffff:ffff", false)]
    #[case("fd20:cf::", true)]
    #[case("fdff::1", true)]
    #[case("fe80::1", false)]
    #[case("febf::1", false)]
    #[case("fec0::1", false)]
    #[case("ff02::1", false)]
    fn special_and_grantable(#[case] text: &str, #[case] grantable: bool) {
        assert!(!is_global(address(text)), "{text}");
        assert_eq!(is_grantable(address(text)), grantable, "{text}");
    }

    #[test]
    fn special_names_the_narrowest_block() {
        for range in SPECIAL {
            for end in [range.net.network(), range.net.broadcast()] {
                let found = special(end).unwrap();
                assert!(
                    found.net.prefix_len() >= range.net.prefix_len(),
                    "{end}: {} hides {}",
                    found.reason,
                    range.reason
                );
            }
        }
    }

    #[test]
    fn never_granted_blocks_hold_no_grantable_address() {
        for range in never_granted() {
            for end in [range.net.network(), range.net.broadcast()] {
                assert!(!is_grantable(end), "{end}: {}", range.reason);
            }
            let narrower = SPECIAL.iter().filter(|other| range.net.contains(&other.net));
            for other in narrower {
                assert_eq!(other.grant, Never, "{} in {}", other.reason, range.reason);
            }
        }
    }
}
