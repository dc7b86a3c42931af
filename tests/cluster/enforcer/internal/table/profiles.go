package table

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"sigs.k8s.io/knftables"

	"cofferdam.dev/tests/cluster/enforcer/internal/rules"
)

// profiles writes chains for the profiles of a program, each once however many pods have it, and each address set
// once however many grants use it.
type profiles struct {
	tx     *knftables.Transaction
	sets   map[string]bool
	chains map[string]bool
}

// write adds a direction's chains and the two maps that lead packets and their replies to them.
func (p profiles) write(mapName, backName string, isolated map[netip.Addr]*rules.Profile) {
	addresses := sortedKeys(isolated)
	for _, address := range addresses {
		p.chain(mapName, isolated[address])
	}
	for _, name := range []string{mapName, backName} {
		p.tx.Add(&knftables.Map{Name: name, Type: "ipv4_addr : verdict"})
		for _, address := range addresses {
			p.tx.Add(&knftables.Element{
				Map: name, Key: []string{address.String()}, Value: []string{"jump " + name + "-" + isolated[address].Name},
			})
		}
	}
}

// chain adds the two chains of a profile. A grant returns to the caller, where the other end's profile has its say;
// what no grant matched is dropped.
func (p profiles) chain(direction string, profile *rules.Profile) {
	forth, back := direction+"-"+profile.Name, direction+"-back-"+profile.Name
	if p.chains[forth] {
		return
	}
	p.chains[forth] = true
	p.tx.Add(&knftables.Chain{Name: forth})
	p.tx.Add(&knftables.Chain{Name: back})
	for _, grant := range profile.Grants {
		p.tx.Add(&knftables.Rule{Chain: forth, Rule: p.grant(grant, direction == egressMap, "dport")})
		p.tx.Add(&knftables.Rule{Chain: back, Rule: p.grant(grant, direction != egressMap, "sport")})
	}
	p.tx.Add(&knftables.Rule{Chain: forth, Rule: "drop"})
	p.tx.Add(&knftables.Rule{Chain: back, Rule: "drop"})
}

// grant is the rule of one grant. The peer stands in the packet's destination or its source, the port that the grant
// means is always that of the flow's destination.
func (p profiles) grant(grant rules.Grant, peerIsDestination bool, port string) string {
	peer := "ip saddr"
	if peerIsDestination {
		peer = "ip daddr"
	}
	if len(grant.Endpoints) > 0 {
		return knftables.Concat(peer, ". meta l4proto . th", port, "@", p.endpoints(grant.Endpoints), "return")
	}
	var match []string
	if !grant.Peers.Any() {
		match = append(match, peer, "@"+p.addresses(grant.Peers))
	}
	switch {
	case len(grant.Ports) > 0:
		match = append(match, string(grant.Protocol), port, portList(grant.Ports))
	case grant.Protocol != "":
		match = append(match, "meta l4proto", string(grant.Protocol))
	}
	return strings.Join(append(match, "return"), " ")
}

// addresses adds the set of those addresses, if it is not there yet, and gives its name.
func (p profiles) addresses(addresses rules.Addresses) string {
	name := nameOf("addresses", addresses)
	if !p.sets[name] {
		p.sets[name] = true
		p.tx.Add(&knftables.Set{Name: name, Type: "ipv4_addr", Flags: []knftables.SetFlag{knftables.IntervalFlag}})
		for _, span := range addresses {
			p.tx.Add(&knftables.Element{Set: name, Key: []string{spanText(span)}})
		}
	}
	return name
}

// endpoints adds the set of those named ports, if it is not there yet, and gives its name.
func (p profiles) endpoints(endpoints []rules.Endpoint) string {
	name := nameOf("endpoints", endpoints)
	if !p.sets[name] {
		p.sets[name] = true
		p.tx.Add(&knftables.Set{Name: name, Type: "ipv4_addr . inet_proto . inet_service"})
		for _, one := range endpoints {
			key := []string{one.Address.String(), string(one.Protocol), fmt.Sprint(one.Port)}
			p.tx.Add(&knftables.Element{Set: name, Key: key})
		}
	}
	return name
}

// nameOf derives a set's name from its content.
func nameOf(kind string, content any) string {
	digest := sha256.Sum256(fmt.Append(nil, content))
	return kind + "-" + hex.EncodeToString(digest[:8])
}

// spanText is a span as nftables reads it.
func spanText(span rules.Range) string {
	if span.First == span.Last {
		return span.First.String()
	}
	return span.First.String() + "-" + span.Last.String()
}

// portList is an anonymous set of ports.
func portList(spans []rules.PortRange) string {
	var parts []string
	for _, span := range spans {
		if span.First == span.Last {
			parts = append(parts, fmt.Sprint(span.First))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", span.First, span.Last))
		}
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}
