//! Which addresses are somewhere on the public internet, and which of the others a policy may grant.
//!
//! Source: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates), the multicast
//! blocks, the IPv6 forms that carry an IPv4 address, and two metadata services of clouds that live outside the
//! link-local block. Where a registry calls a small part of a block globally reachable, the whole block is treated
//! as special: nothing that an agent needs lives there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A block of addresses that is not the public internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialRange {
    /// The block.
    pub net: IpNet,
    /// What it is, for messages.
    pub name: &'static str,
    /// Whether a policy's `addresses` can lift it. Only blocks in which other people's servers stand can be;
    /// loopback, link-local, metadata services, multicast and embedded IPv4 addresses never are.
    pub grantable: bool,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, name: &'static str, grantable: bool) -> SpecialRange {
    SpecialRange {
        net: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)),
        name,
        grantable,
    }
}

const fn v6(s: [u16; 8], prefix: u8, name: &'static str, grantable: bool) -> SpecialRange {
    let address = Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
    SpecialRange {
        net: IpNet::V6(Ipv6Net::new_assert(address, prefix)),
        name,
        grantable,
    }
}

/// The only IPv6 block that IANA gives out as global unicast.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What an IPv6 address outside `2000::/3` is when no narrower block names it.
const UNASSIGNED: SpecialRange = v6([0; 8], 0, "not global unicast", false);

/// Every special block. The first that contains an address names it, so narrow blocks come before wide ones.
pub const SPECIAL: &[SpecialRange] = &[
    v4(168, 63, 129, 16, 32, "a cloud's metadata service", false),
    v4(0, 0, 0, 0, 8, "this network (RFC 791)", false),
    v4(10, 0, 0, 0, 8, "private (RFC 1918)", true),
    v4(100, 64, 0, 0, 10, "shared by carriers (RFC 6598)", true),
    v4(127, 0, 0, 0, 8, "loopback (RFC 1122)", false),
    v4(169, 254, 0, 0, 16, "link-local (RFC 3927)", false),
    v4(172, 16, 0, 0, 12, "private (RFC 1918)", true),
    v4(192, 0, 0, 0, 24, "protocol assignments (RFC 6890)", false),
    v4(192, 0, 2, 0, 24, "documentation (RFC 5737)", true),
    v4(192, 88, 99, 0, 24, "6to4 relays (RFC 7526)", false),
    v4(192, 168, 0, 0, 16, "private (RFC 1918)", true),
    v4(198, 18, 0, 0, 15, "benchmarking (RFC 2544)", true),
    v4(198, 51, 100, 0, 24, "documentation (RFC 5737)", true),
    v4(203, 0, 113, 0, 24, "documentation (RFC 5737)", true),
    v4(224, 0, 0, 0, 4, "multicast (RFC 5771)", false),
    v4(255, 255, 255, 255, 32, "broadcast (RFC 919)", false),
    v4(240, 0, 0, 0, 4, "reserved (RFC 1112)", false),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified (RFC 4291)", false),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback (RFC 4291)", false),
    v6(
        [0, 0, 0, 0, 0, 0xffff, 0, 0],
        96,
        "a mapped IPv4 address (RFC 4291)",
        false,
    ),
    v6(
        [0, 0, 0, 0, 0, 0, 0, 0],
        96,
        "a compatible IPv4 address (RFC 4291)",
        false,
    ),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "NAT64 (RFC 6052)", false),
    v6(
        [0x64, 0xff9b, 1, 0, 0, 0, 0, 0],
        48,
        "local NAT64 (RFC 8215)",
        false,
    ),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard-only (RFC 6666)", false),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "dummy prefix (RFC 9780)", false),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo (RFC 4380)", false),
    v6(
        [0x2001, 2, 0, 0, 0, 0, 0, 0],
        48,
        "benchmarking (RFC 5180)",
        false,
    ),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, "ORCHID (RFC 4843)", false),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, "ORCHIDv2 (RFC 7343)", false),
    v6(
        [0x2001, 0, 0, 0, 0, 0, 0, 0],
        23,
        "protocol assignments (RFC 2928)",
        false,
    ),
    v6(
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0],
        32,
        "documentation (RFC 3849)",
        true,
    ),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4 (RFC 3056)", false),
    v6(
        [0x3fff, 0, 0, 0, 0, 0, 0, 0],
        20,
        "documentation (RFC 9637)",
        true,
    ),
    v6(
        [0x5f00, 0, 0, 0, 0, 0, 0, 0],
        16,
        "segment routing (RFC 9602)",
        false,
    ),
    v6(
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0],
        32,
        "a cloud's metadata service",
        false,
    ),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique local (RFC 4193)", true),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local (RFC 4291)", false),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local (RFC 3879)", false),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast (RFC 4291)", false),
];

/// The special block that `address` lies in; `None` for the public internet.
pub fn special(address: IpAddr) -> Option<&'static SpecialRange> {
    let named = SPECIAL.iter().find(|range| range.net.contains(&address));
    match address {
        IpAddr::V6(v6) if named.is_none() && !GLOBAL_UNICAST.contains(&v6) => Some(&UNASSIGNED),
        _ => named,
    }
}

/// Whether `address` is somewhere on the public internet.
///
/// A mapped, compatible, translated or tunnelled IPv4 address never is, whatever it carries: such an answer from
/// DNS is only ever an attempt to slip past a check of the other family.
pub fn is_global(address: IpAddr) -> bool {
    special(address).is_none()
}

/// Whether a policy's `addresses` may open the way to `address` though it is not global.
pub fn is_grantable(address: IpAddr) -> bool {
    special(address).is_some_and(|range| range.grantable)
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
    fn the_public_internet_is_global(#[case] text: &str) {
        assert!(is_global(address(text)), "{text}");
        assert!(!is_grantable(address(text)), "{text}: nothing to lift");
    }

    #[rstest]
    #[case("0.0.0.0", false)]
    #[case("0.255.255.255", false)]
    #[case("10.0.0.0", true)]
    #[case("10.255.255.255", true)]
    #[case("100.64.0.0", true)]
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
    #[case("fdff::1", true)]
    #[case("fe80::1", false)]
    #[case("febf::1", false)]
    #[case("fec0::1", false)]
    #[case("ff02::1", false)]
    fn the_rest_is_not_and_only_servers_of_others_can_be_granted(
        #[case] text: &str,
        #[case] grantable: bool,
    ) {
        assert!(!is_global(address(text)), "{text}");
        assert_eq!(is_grantable(address(text)), grantable, "{text}");
    }

    #[test]
    fn both_ends_of_every_block_are_special_and_named_after_the_narrowest() {
        for range in SPECIAL {
            for end in [range.net.network(), range.net.broadcast()] {
                let named = special(end).unwrap();
                assert!(
                    named.net.prefix_len() >= range.net.prefix_len(),
                    "{end}: {} hides {}",
                    named.name,
                    range.name
                );
            }
        }
    }
}
