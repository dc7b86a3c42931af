package rules

import (
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

// peers collects the addresses of a rule's peers. No peers at all means everybody.
func (c *compiler) peers(list []networkingv1.NetworkPolicyPeer, namespace string) (Addresses, error) {
	if len(list) == 0 {
		return everything, nil
	}
	var all Addresses
	for _, peer := range list {
		addresses, err := c.peer(peer, namespace)
		if err != nil {
			return nil, err
		}
		all = all.union(addresses)
	}
	return all, nil
}

// peer is the addresses of one peer: a CIDR less its exceptions, or those of the selected pods.
func (c *compiler) peer(peer networkingv1.NetworkPolicyPeer, namespace string) (Addresses, error) {
	if peer.IPBlock != nil {
		return ipBlock(*peer.IPBlock)
	}
	if peer.PodSelector == nil && peer.NamespaceSelector == nil {
		return nil, nil
	}
	selected, err := c.stock.selected(peer, namespace)
	if err != nil {
		return nil, err
	}
	var addresses Addresses
	for _, one := range selected {
		for _, address := range one.addresses {
			addresses = append(addresses, Range{address, address})
		}
	}
	return addresses.union(nil), nil
}

// ipBlock is a CIDR less its exceptions. Pods are in it by their address like anybody else.
func ipBlock(given networkingv1.IPBlock) (Addresses, error) {
	prefix, err := netip.ParsePrefix(given.CIDR)
	if err != nil {
		return nil, fmt.Errorf("ipBlock.cidr: %w", err)
	}
	var holes Addresses
	for _, entry := range given.Except {
		except, err := netip.ParsePrefix(entry)
		if err != nil {
			return nil, fmt.Errorf("ipBlock.except: %w", err)
		}
		holes = holes.union(block(except))
	}
	return block(prefix).minus(holes), nil
}

// endpoints finds the named ports of every known pod among the peers.
func (c *compiler) endpoints(peers Addresses, named []namedPort) []Endpoint {
	var found []Endpoint
	for _, name := range named {
		for _, candidate := range c.stock.endpoints {
			for _, address := range candidate.addresses {
				if !peers.Contains(address) {
					continue
				}
				for _, port := range name.resolve(candidate.pod) {
					found = append(found, portsOf(address, name.protocol, port)...)
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b Endpoint) int {
		return slices.Compare(
			[]string{a.Address.String(), string(a.Protocol), fmt.Sprint(a.Port)},
			[]string{b.Address.String(), string(b.Protocol), fmt.Sprint(b.Port)})
	})
	return slices.Compact(found)
}

// portsOf lists each port of a span at one address; a name that two neighbouring ports share gives a span.
func portsOf(address netip.Addr, protocol Protocol, span PortRange) []Endpoint {
	var each []Endpoint
	for port := int(span.First); port <= int(span.Last); port++ {
		each = append(each, Endpoint{address, protocol, uint16(port)})
	}
	return each
}
