package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// gone matches the flows that an address has an end of, as client or as the server behind a service.
type gone []netip.Addr

// MatchConntrackFlow is asked about every tracked flow.
func (g gone) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	client, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
	server, _ := netip.AddrFromSlice(flow.Reverse.SrcIP)
	return slices.Contains(g, client.Unmap()) || slices.Contains(g, server.Unmap())
}

// forgetFlows removes the tracked connections of addresses, so that the next pod of one does not inherit an answer
// to a question that it was never asked.
func forgetFlows(addresses []netip.Addr) error {
	if len(addresses) == 0 {
		return nil
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, gone(addresses)); err != nil {
		return fmt.Errorf("connection tracker: %w", err)
	}
	return nil
}
