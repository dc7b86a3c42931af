package rules

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestRangesAreSetsOfAddresses(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 4))
	set := func() Addresses {
		var made Addresses
		for range random.IntN(4) {
			made = made.union(block(netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, byte(random.IntN(256))}), 26+random.IntN(7))))
		}
		return made
	}
	for range rounds {
		a, b := set(), set()
		both, less := a.union(b), a.minus(b)
		for last := range 256 {
			address := netip.AddrFrom4([4]byte{255, 255, 255, byte(last)})
			if both.Contains(address) != (a.Contains(address) || b.Contains(address)) || less.Contains(address) != (a.Contains(address) && !b.Contains(address)) {
				t.Fatalf("%v with %v at %s: union %v, difference %v", a, b, address, both, less)
			}
		}
		for index := 1; index < len(both); index++ {
			if touches(both[index-1], both[index]) {
				t.Fatalf("spans of %v meet", both)
			}
		}
	}
}
