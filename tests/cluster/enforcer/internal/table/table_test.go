package table

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"sigs.k8s.io/knftables"

	"cofferdam.dev/tests/cluster/enforcer/internal/rules"
)

var (
	client = netip.MustParseAddr("10.8.0.11")
	server = netip.MustParseAddr("10.8.0.12")
)

// sample has one isolated client with a grant of each form, and a server that nobody may reach.
func sample() rules.Program {
	out := &rules.Profile{Name: "out", Grants: []rules.Grant{
		{Peers: rules.Addresses{{First: server, Last: server}}, Protocol: rules.TCP, Ports: []rules.PortRange{{First: 80, Last: 80}, {First: 90, Last: 99}}},
		{Peers: rules.Addresses{{First: client, Last: server}}, Protocol: rules.UDP},
		{Peers: rules.Addresses{{First: netip.MustParseAddr("0.0.0.0"), Last: netip.MustParseAddr("255.255.255.255")}}},
		{Endpoints: []rules.Endpoint{{Address: server, Protocol: rules.TCP, Port: 8012}}},
	}}
	return rules.Program{
		PodCIDR: netip.MustParsePrefix("10.8.0.0/16"),
		Owners:  map[netip.Addr]string{client: "marsh/heron/1", server: "marsh/stork/2"},
		Egress:  map[netip.Addr]*rules.Profile{client: out},
		Ingress: map[netip.Addr]*rules.Profile{server: {Name: "in"}},
	}
}

// written runs the program against knftables' model of the kernel, which knows what refers to what.
func written(t *testing.T, program rules.Program) *knftables.Fake {
	t.Helper()
	fake := knftables.NewFake(knftables.IPv4Family, Name)
	for range 2 { // the second replaces the first
		tx := fake.NewTransaction()
		Replace(tx, program)
		if err := fake.Run(context.Background(), tx); err != nil {
			t.Fatal(err)
		}
	}
	return fake
}

func rulesOf(t *testing.T, fake *knftables.Fake, chain string) []string {
	t.Helper()
	list, err := fake.ListRules(context.Background(), chain)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, rule := range list {
		text = append(text, rule.Rule)
	}
	return text
}

func TestRepliesAreReadBackwards(t *testing.T) {
	fake := written(t, sample())
	one := nameOf("addresses", rules.Addresses{{First: server, Last: server}})
	span := nameOf("addresses", rules.Addresses{{First: client, Last: server}})
	ends := nameOf("endpoints", []rules.Endpoint{{Address: server, Protocol: rules.TCP, Port: 8012}})
	for chain, want := range map[string][]string{
		"egress-out": {
			"ip daddr @" + one + " tcp dport { 80, 90-99 } return", "ip daddr @" + span + " meta l4proto udp return",
			"return", "ip daddr . meta l4proto . th dport @" + ends + " return", "drop",
		},
		"egress-back-out": {
			"ip saddr @" + one + " tcp sport { 80, 90-99 } return", "ip saddr @" + span + " meta l4proto udp return",
			"return", "ip saddr . meta l4proto . th sport @" + ends + " return", "drop",
		},
		"ingress-in":      {"drop"},
		"ingress-back-in": {"drop"},
	} {
		if got := rulesOf(t, fake, chain); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", chain, got, want)
		}
	}
}

func TestEqualProgramsAreEqualText(t *testing.T) {
	text := func() string {
		tx := knftables.NewFake(knftables.IPv4Family, Name).NewTransaction()
		Replace(tx, sample())
		return tx.String()
	}
	first := text()
	for range 20 {
		if text() != first {
			t.Fatal("the same program is written in two ways, so the kernel would be written to without a change")
		}
	}
}

func TestRemovingLeavesNothing(t *testing.T) {
	fake := written(t, sample())
	for range 2 {
		tx := fake.NewTransaction()
		Remove(tx)
		if err := fake.Run(context.Background(), tx); err != nil {
			t.Fatal(err)
		}
	}
	if fake.Table != nil {
		t.Errorf("left:\n%s", fake.Dump())
	}
}
