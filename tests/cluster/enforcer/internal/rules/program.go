// Package rules turns NetworkPolicies, pods and namespaces into what one node has to enforce. It is pure: the same
// objects give the same program, and nothing is read or written.
package rules

import "net/netip"

// Protocol is a transport protocol by the name that nftables gives it; empty means any.
type Protocol string

// The protocols that a NetworkPolicy can name.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	SCTP Protocol = "sctp"
)

// Program is what one node enforces.
type Program struct {
	// PodCIDR holds every pod address of the cluster. An address in it that no known pod owns has no network.
	PodCIDR netip.Prefix
	// Owners names the pod of each known pod address, on any node.
	Owners map[netip.Addr]string
	// Contested are addresses that several live pods claim. None of them is known, until one pod is left.
	Contested []netip.Addr
	// Ingress and Egress hold the isolated pods of this node: who may connect to them, and where they may connect.
	// A known pod that is not in the map is not isolated in that direction.
	Ingress, Egress map[netip.Addr]*Profile
}

// Profile is what a pod is allowed in one direction; pods that are allowed the same share one.
type Profile struct {
	// Name is derived from the content: equal profiles have equal names.
	Name string
	// Grants are alternatives; a flow that none of them allows is dropped.
	Grants []Grant
}

// Grant allows flows to (egress) or from (ingress) certain peers.
type Grant struct {
	// Peers are the addresses at the other end.
	Peers Addresses
	// Protocol of the flow; any if empty, and then Ports is empty as well.
	Protocol Protocol
	// Ports at the destination; any if empty.
	Ports []PortRange
	// Endpoints, if there are any, stand instead of all the above: named ports of egress rules, which mean another
	// number at each destination pod.
	Endpoints []Endpoint
}

// Endpoint is one named port of one destination pod.
type Endpoint struct {
	Address  netip.Addr
	Protocol Protocol
	Port     uint16
}
