// Package table writes a rules.Program as nftables tables.
//
// Every packet of a flow is judged, in both directions, by the program of the moment: packets of the original
// direction by source and destination, replies by the same grants read backwards. Nothing is let through for being
// "established", so a policy that forbids a flow also ends it, whatever the connection tracker remembers.
package table

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/knftables"

	"cofferdam.dev/tests/cluster/enforcer/internal/rules"
)

// Name is what both tables are called: the one of family ip, which enforces, and the one of family bridge.
const Name = "cofferdam-network-policy"

// The names of the sets and maps in the ip table.
const (
	known       = "known"        // addresses of known pods
	themselves  = "themselves"   // pairs of one address: no policy stands between a pod and itself
	egressMap   = "egress"       // isolated source → chain that drops what is not granted
	ingressMap  = "ingress"      // isolated destination → the same
	egressBack  = "egress-back"  // the same for replies, which come from the destination
	ingressBack = "ingress-back" // and go to the source
)

// Replace writes the operations that put the program in the place of whatever the table held, in one transaction:
// there is no moment without rules.
func Replace(tx *knftables.Transaction, program rules.Program) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("NetworkPolicies of this node; written by the enforcer, replaced whole")})
	writeKnown(tx, program)
	writer := profiles{tx: tx, sets: map[string]bool{}, chains: map[string]bool{}}
	writer.write(egressMap, egressBack, program.Egress)
	writer.write(ingressMap, ingressBack, program.Ingress)
	writeReplies(tx)
	writeForward(tx, program.PodCIDR)
	writeInput(tx, program.PodCIDR)
}

// Remove writes the operations that leave no table, whether there was one or not.
func Remove(tx *knftables.Transaction) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
}

// writeKnown writes the addresses that have a network at all, and that each may talk to itself.
func writeKnown(tx *knftables.Transaction, program rules.Program) {
	tx.Add(&knftables.Set{Name: known, Type: "ipv4_addr"})
	tx.Add(&knftables.Set{Name: themselves, Type: "ipv4_addr . ipv4_addr"})
	for _, address := range sortedKeys(program.Owners) {
		tx.Add(&knftables.Element{Set: known, Key: []string{address.String()}})
		tx.Add(&knftables.Element{Set: themselves, Key: []string{address.String(), address.String()}})
	}
}

// writeForward judges what passes through the node: from pod to pod (also on one bridge, which br_netfilter shows to
// this hook), and between pods and the world. Service addresses are translated by then.
func writeForward(tx *knftables.Transaction, podCIDR netip.Prefix) {
	base(tx, "forward", knftables.ForwardHook)
	for _, rule := range []string{
		related,
		knftables.Concat("ip saddr . ip daddr", "@", themselves, "accept"),
		knftables.Concat("ip saddr", podCIDR, "ip saddr", "!=", "@", known, "drop"),
		knftables.Concat("ip daddr", podCIDR, "ip daddr", "!=", "@", known, "drop"),
		"ct direction reply goto replies",
		knftables.Concat("ip saddr", "vmap", "@", egressMap),
		knftables.Concat("ip daddr", "vmap", "@", ingressMap),
	} {
		tx.Add(&knftables.Rule{Chain: "forward", Rule: rule})
	}
}

// writeInput judges what pods send to their node. What the node itself sends to its pods, the kubelet's probes for
// example, no policy may stop: it goes through no chain of ours, and here its replies are let in.
func writeInput(tx *knftables.Transaction, podCIDR netip.Prefix) {
	base(tx, "input", knftables.InputHook)
	for _, rule := range []string{
		"iifname lo accept",
		"ct direction reply accept",
		related,
		knftables.Concat("ip saddr", podCIDR, "ip saddr", "!=", "@", known, "drop"),
		knftables.Concat("ip saddr", "vmap", "@", egressMap),
	} {
		tx.Add(&knftables.Rule{Chain: "input", Rule: rule})
	}
}

// related lets the errors of the network through that belong to a known flow; path MTU discovery lives on them.
const related = "ct state related icmp type { destination-unreachable, time-exceeded, parameter-problem } accept"

// writeReplies judges the packets that answer a flow: their destination opened it, their source accepted it.
func writeReplies(tx *knftables.Transaction) {
	tx.Add(&knftables.Chain{Name: "replies"})
	tx.Add(&knftables.Rule{Chain: "replies", Rule: knftables.Concat("ip daddr", "vmap", "@", egressBack)})
	tx.Add(&knftables.Rule{Chain: "replies", Rule: knftables.Concat("ip saddr", "vmap", "@", ingressBack)})
}

// base adds a chain on a hook, ahead of kube-proxy's: a packet that a policy drops is nobody else's business.
func base(tx *knftables.Transaction, name string, hook knftables.BaseChainHook) {
	tx.Add(&knftables.Chain{
		Name:     name,
		Type:     knftables.PtrTo(knftables.FilterType),
		Hook:     knftables.PtrTo(hook),
		Priority: knftables.PtrTo(knftables.FilterPriority + "-10"),
	})
}

// ReplaceBridge writes the table of family bridge: pods exchange IPv4 and ARP and nothing else. The cluster is IPv4
// only, yet each pod has a link-local IPv6 address, and frames of other types would pass the ip table unseen.
func ReplaceBridge(tx *knftables.Transaction) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})
	for name, hook := range map[string]knftables.BaseChainHook{"forward": knftables.ForwardHook, "input": knftables.InputHook} {
		base(tx, name, hook)
		tx.Add(&knftables.Rule{Chain: name, Rule: "ether type != { ip, arp } drop"})
	}
}

// sortedKeys lists a map's addresses in order, so that equal programs are written as equal text.
func sortedKeys[V any](from map[netip.Addr]V) []netip.Addr {
	keys := make([]netip.Addr, 0, len(from))
	for address := range from {
		keys = append(keys, address)
	}
	slices.SortFunc(keys, netip.Addr.Compare)
	return keys
}
