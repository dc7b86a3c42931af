package rules

import (
	"cmp"
	"net/netip"
	"slices"
)

// Range is a span of IPv4 addresses, both ends included.
type Range struct{ First, Last netip.Addr }

// Addresses is a set of IPv4 addresses as sorted spans that neither overlap nor touch.
type Addresses []Range

// everything is the whole IPv4 space, the meaning of a rule without peers.
var everything = Addresses{{netip.AddrFrom4([4]byte{}), netip.AddrFrom4([4]byte{255, 255, 255, 255})}}

// block is the set of a CIDR's addresses; a CIDR of IPv6 has none.
func block(prefix netip.Prefix) Addresses {
	if !prefix.IsValid() || !prefix.Addr().Is4() {
		return nil
	}
	first := prefix.Masked().Addr()
	last := first.As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return Addresses{{first, netip.AddrFrom4(last)}}
}

// union holds every address of either set.
func (a Addresses) union(b Addresses) Addresses {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y Range) int { return x.First.Compare(y.First) })
	var merged Addresses
	for _, next := range all {
		end := len(merged) - 1
		if end >= 0 && touches(merged[end], next) {
			if merged[end].Last.Less(next.Last) {
				merged[end].Last = next.Last
			}
			continue
		}
		merged = append(merged, next)
	}
	return merged
}

// touches says whether next, which does not start before earlier, continues it without a gap.
func touches(earlier, next Range) bool {
	after := earlier.Last.Next()
	return !after.IsValid() || !after.Less(next.First)
}

// minus holds the addresses of a that are not in b.
func (a Addresses) minus(b Addresses) Addresses {
	left := slices.Clone(a)
	for _, hole := range b {
		var kept Addresses
		for _, span := range left {
			if hole.Last.Less(span.First) || span.Last.Less(hole.First) {
				kept = append(kept, span)
				continue
			}
			if span.First.Less(hole.First) {
				kept = append(kept, Range{span.First, hole.First.Prev()})
			}
			if hole.Last.Less(span.Last) {
				kept = append(kept, Range{hole.Last.Next(), span.Last})
			}
		}
		left = kept
	}
	return left
}

// Contains says whether the address is in the set.
func (a Addresses) Contains(address netip.Addr) bool {
	_, found := slices.BinarySearchFunc(a, address, func(span Range, want netip.Addr) int {
		switch {
		case span.Last.Less(want):
			return -1
		case want.Less(span.First):
			return 1
		}
		return 0
	})
	return found
}

// Any says whether the set is the whole IPv4 space, so that no match on it is needed.
func (a Addresses) Any() bool { return len(a) == 1 && a[0] == everything[0] }

// PortRange is a span of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// mergePorts sorts spans of ports and joins those that overlap or touch, as nftables wants them.
func mergePorts(spans []PortRange) []PortRange {
	sorted := slices.Clone(spans)
	slices.SortFunc(sorted, func(x, y PortRange) int { return cmp.Compare(x.First, y.First) })
	var merged []PortRange
	for _, next := range sorted {
		end := len(merged) - 1
		if end >= 0 && int(next.First) <= int(merged[end].Last)+1 {
			merged[end].Last = max(merged[end].Last, next.Last)
			continue
		}
		merged = append(merged, next)
	}
	return merged
}
