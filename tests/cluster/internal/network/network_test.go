package network

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"cofferdam.dev/tests/cluster/internal/layout"
)

func TestNoAddressIsTheMachinesOwnBusiness(t *testing.T) {
	// Documentation and private ranges only: nothing that exists in the world.
	allowed := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, command := range append(nodeCommands(), internetCommands()...) {
		for _, word := range strings.Fields(command) {
			address, err := netip.ParseAddr(strings.Split(word, "/")[0])
			if err != nil {
				continue
			}
			if !slices.ContainsFunc(allowed, func(prefix netip.Prefix) bool { return prefix.Contains(address) }) {
				t.Errorf("%q uses %s", command, address)
			}
		}
	}
}

func TestInternetHasEveryAddressAndAWayBack(t *testing.T) {
	commands := strings.Join(internetCommands(), "\n")
	for _, address := range layout.InternetAddresses {
		if !strings.Contains(commands, "addr add "+address+"/32 ") {
			t.Errorf("no address %s in\n%s", address, commands)
		}
	}
	for _, network := range []string{layout.PodCIDR, layout.NodeNetwork} {
		if !strings.Contains(commands, "route add "+network+" via "+layout.UplinkNode) {
			t.Errorf("no way back to %s in\n%s", network, commands)
		}
	}
	if !netip.MustParsePrefix(layout.NodeNetwork).Contains(netip.MustParseAddr(layout.NodeIP)) {
		t.Errorf("%s is not in %s", layout.NodeIP, layout.NodeNetwork)
	}
}
