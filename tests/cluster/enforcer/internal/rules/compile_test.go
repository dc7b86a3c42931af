package rules

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The pods of the table: heron and stork in "marsh" (team birds), otter in "river" (team mammals), world outside.
const (
	heron = "10.8.0.11"
	stork = "10.8.0.12"
	otter = "10.8.0.13"
	world = "203.0.113.7"
)

func marshAndRiver(policies ...*networkingv1.NetworkPolicy) Input {
	return Input{
		Node: testNode, PodCIDR: testCIDR,
		Pods:       []*corev1.Pod{pod("marsh", "heron", heron), pod("marsh", "stork", stork), pod("river", "otter", otter)},
		Namespaces: []*corev1.Namespace{namespace("marsh", "birds"), namespace("river", "mammals")},
		Policies:   policies,
	}
}

func tcp(source, destination string, port uint16) flow {
	return flow{netip.MustParseAddr(source), netip.MustParseAddr(destination), TCP, port}
}

func udp(source, destination string, port uint16) flow {
	return flow{netip.MustParseAddr(source), netip.MustParseAddr(destination), UDP, port}
}

func TestPolicies(t *testing.T) {
	everyPod := metav1.LabelSelector{}
	types := func(of ...networkingv1.PolicyType) func(*networkingv1.NetworkPolicySpec) {
		return func(spec *networkingv1.NetworkPolicySpec) { spec.PolicyTypes = of }
	}
	ports := func(list ...networkingv1.NetworkPolicyPort) func(*networkingv1.NetworkPolicySpec) {
		return func(spec *networkingv1.NetworkPolicySpec) {
			spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: list}}
		}
	}
	to := func(list []networkingv1.NetworkPolicyPort, peers ...networkingv1.NetworkPolicyPeer) func(*networkingv1.NetworkPolicySpec) {
		return func(spec *networkingv1.NetworkPolicySpec) {
			spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
			spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: peers, Ports: list}}
		}
	}
	last := func(first, last int32) networkingv1.NetworkPolicyPort {
		port := number(first)
		port.EndPort = &last
		return port
	}
	udpProtocol, sctpProtocol := corev1.ProtocolUDP, corev1.ProtocolSCTP
	notOtter := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"otter"}},
	}}
	for name, test := range map[string]struct {
		policies []*networkingv1.NetworkPolicy
		allowed  []flow
		denied   []flow
	}{
		"no policy isolates nobody": {
			nil, []flow{tcp(heron, otter, 80), udp(world, heron, 53), tcp(heron, world, 443)}, nil,
		},
		"an empty policy denies ingress alone": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "shut", everyPod, nil)},
			[]flow{tcp(heron, otter, 80), tcp(heron, world, 443), tcp(heron, heron, 80)},
			[]flow{tcp(otter, heron, 80), tcp(stork, heron, 80), udp(world, stork, 53)},
		},
		"policyTypes of egress alone leaves ingress open": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "shut", everyPod, types(networkingv1.PolicyTypeEgress))},
			[]flow{tcp(otter, heron, 80)},
			[]flow{tcp(heron, otter, 80), tcp(heron, world, 443), tcp(heron, stork, 1)},
		},
		"egress rules without policyTypes isolate both ways": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "out", *app("heron"), func(spec *networkingv1.NetworkPolicySpec) {
				spec.Egress = []networkingv1.NetworkPolicyEgressRule{{Ports: []networkingv1.NetworkPolicyPort{number(80)}}}
			})},
			[]flow{tcp(heron, otter, 80)}, []flow{tcp(otter, heron, 80), tcp(heron, world, 443)},
		},
		"a pod selector speaks of the policy's own namespace": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"), from(
				networkingv1.NetworkPolicyPeer{PodSelector: app("stork")}, networkingv1.NetworkPolicyPeer{PodSelector: app("otter")}))},
			[]flow{tcp(stork, heron, 80), tcp(otter, stork, 80)}, []flow{tcp(otter, heron, 80), tcp(world, heron, 80)},
		},
		"a namespace selector takes all its pods": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"), from(
				networkingv1.NetworkPolicyPeer{NamespaceSelector: team("mammals")}))},
			[]flow{tcp(otter, heron, 80)}, []flow{tcp(stork, heron, 80)},
		},
		"both selectors in one peer must both match": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"), from(
				networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: notOtter}))},
			[]flow{tcp(stork, heron, 80)}, []flow{tcp(otter, heron, 80)},
		},
		"an ipBlock means its addresses, pods' or not, less the exceptions": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"), from(networkingv1.NetworkPolicyPeer{
				IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.8.0.12/31"}}}))},
			[]flow{tcp(world, heron, 80)}, []flow{tcp(stork, heron, 80), tcp(otter, heron, 80)},
		},
		"what one peer excepts another may grant": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"), from(
				networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.8.0.0/24", Except: []string{"10.8.0.12/31"}}},
				networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.8.0.13/32"}}))},
			[]flow{tcp(otter, heron, 80)}, []flow{tcp(stork, heron, 80)},
		},
		"a peer that selects nobody allows nobody": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"), from(
				networkingv1.NetworkPolicyPeer{PodSelector: app("nobody")}))},
			nil, []flow{tcp(stork, heron, 80), tcp(world, heron, 80)},
		},
		"ports are TCP by default, and spans include their ends": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"), ports(number(80), last(5000, 5002)))},
			[]flow{tcp(otter, heron, 80), tcp(otter, heron, 5000), tcp(world, heron, 5002)},
			[]flow{udp(otter, heron, 80), tcp(otter, heron, 81), tcp(otter, heron, 4999), tcp(otter, heron, 5003)},
		},
		"a protocol without a port is all its ports": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"),
				ports(networkingv1.NetworkPolicyPort{Protocol: &udpProtocol}, networkingv1.NetworkPolicyPort{Protocol: &sctpProtocol}))},
			[]flow{udp(otter, heron, 1), {netip.MustParseAddr(otter), netip.MustParseAddr(heron), SCTP, 7}},
			[]flow{tcp(otter, heron, 1)},
		},
		"a port name of ingress is the selected pod's own": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", everyPod, ports(named("web", corev1.ProtocolTCP)))},
			[]flow{tcp(otter, heron, 8011), tcp(otter, stork, 8012)},
			[]flow{tcp(otter, heron, 8012), tcp(otter, stork, 8011), udp(otter, heron, 8011)},
		},
		"a port name of egress is each destination's": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "out", *app("heron"), to([]networkingv1.NetworkPolicyPort{named("web", corev1.ProtocolTCP)}))},
			[]flow{tcp(heron, otter, 8013), tcp(heron, stork, 8012)},
			[]flow{tcp(heron, otter, 8012), tcp(heron, world, 8013), udp(heron, otter, 8013)},
		},
		"a port name of egress stays within the peers": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "out", *app("heron"),
				to([]networkingv1.NetworkPolicyPort{named("talk", corev1.ProtocolUDP)}, networkingv1.NetworkPolicyPeer{NamespaceSelector: team("mammals")}))},
			[]flow{udp(heron, otter, 9013)}, []flow{udp(heron, stork, 9012)},
		},
		"a port name that nobody has allows nothing": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"), ports(named("absent", corev1.ProtocolTCP)))},
			nil, []flow{tcp(otter, heron, 8011), tcp(otter, heron, 80)},
		},
		"a selector that cannot be read grants nothing and still isolates": {
			[]*networkingv1.NetworkPolicy{policy("marsh", "in", *app("heron"), from(networkingv1.NetworkPolicyPeer{
				PodSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Resembles"}}}}))},
			[]flow{tcp(heron, stork, 80)}, []flow{tcp(stork, heron, 80)},
		},
		"both ends must agree": {
			[]*networkingv1.NetworkPolicy{
				policy("marsh", "out", *app("heron"), to([]networkingv1.NetworkPolicyPort{number(80)})),
				policy("river", "in", *app("otter"), ports(number(81))),
			},
			[]flow{tcp(stork, otter, 81), tcp(heron, stork, 80)}, []flow{tcp(heron, otter, 80), tcp(heron, otter, 81)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			program, _ := Compile(marshAndRiver(test.policies...))
			for _, want := range test.allowed {
				if !program.allows(want) {
					t.Errorf("denied: %v", want)
				}
			}
			for _, want := range test.denied {
				if program.allows(want) {
					t.Errorf("allowed: %v", want)
				}
			}
		})
	}
}

func TestWhoIsKnown(t *testing.T) {
	input := marshAndRiver(policy("marsh", "shut", metav1.LabelSelector{}, nil))
	ended := pod("river", "mink", "10.8.0.20")
	ended.Status.Phase = corev1.PodSucceeded
	host := pod("river", "vole", "10.10.0.1")
	host.Spec.HostNetwork = true
	away := pod("marsh", "crane", "10.8.1.30")
	away.Spec.NodeName = "pier"
	waiting := pod("marsh", "egret", "10.8.0.40")
	waiting.Status = corev1.PodStatus{Phase: corev1.PodPending}
	leaving := pod("marsh", "coot", "10.8.0.50")
	leaving.DeletionTimestamp = &metav1.Time{}
	twin := pod("river", "beaver", otter)
	input.Pods = append(input.Pods, ended, host, away, waiting, leaving, twin)
	program, problems := Compile(input)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for address, owner := range map[string]string{
		heron: "marsh/heron/uid-heron", "10.8.1.30": "marsh/crane/uid-crane", "10.8.0.50": "marsh/coot/uid-coot",
		"10.8.0.20": "", "10.10.0.1": "", "10.8.0.40": "", otter: "", "10.8.0.99": "",
	} {
		if got := program.Owners[netip.MustParseAddr(address)]; got != owner {
			t.Errorf("%s belongs to %q, not %q", address, got, owner)
		}
	}
	if len(program.Contested) != 1 || program.Contested[0].String() != otter {
		t.Errorf("contested: %v", program.Contested)
	}
	if program.Ingress[netip.MustParseAddr("10.8.1.30")] != nil || program.Ingress[netip.MustParseAddr("10.8.0.50")] == nil {
		t.Error("pods of this node are isolated here until they are gone, and those of other nodes are not")
	}
	if program.allows(tcp("10.8.0.99", world, 80)) || program.allows(tcp(world, "10.8.0.99", 80)) || program.allows(tcp(otter, world, 80)) {
		t.Error("an address that no single known pod owns has a network")
	}
}

func TestPodsThatAreAllowedTheSameShareAProfile(t *testing.T) {
	program, _ := Compile(marshAndRiver(policy("marsh", "shut", metav1.LabelSelector{}, nil)))
	if program.Ingress[netip.MustParseAddr(heron)] != program.Ingress[netip.MustParseAddr(stork)] {
		t.Error("two profiles for one meaning")
	}
}
