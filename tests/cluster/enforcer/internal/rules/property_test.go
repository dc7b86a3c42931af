package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// rounds is how many random clusters each property is held against.
const rounds = 400

// plainly judges a flow straight from the objects, the slow way that the API's documentation tells it: no sets, no
// merging, no sharing. What is compiled must agree with it.
func plainly(input Input, f flow) bool {
	if f.source == f.destination {
		return true
	}
	source, destination := find(input, f.source), find(input, f.destination)
	return agrees(input, source, f, networkingv1.PolicyTypeEgress, f.destination, destination) &&
		agrees(input, destination, f, networkingv1.PolicyTypeIngress, f.source, destination)
}

func find(input Input, address netip.Addr) *corev1.Pod {
	for _, candidate := range input.Pods {
		if candidate.Status.PodIP == address.String() {
			return candidate
		}
	}
	return nil
}

// agrees is one end's word on a flow whose other end is at that address.
func agrees(input Input, subject *corev1.Pod, f flow, half networkingv1.PolicyType, other netip.Addr, destination *corev1.Pod) bool {
	isolated := false
	for _, candidate := range input.Policies {
		if subject == nil || candidate.Namespace != subject.Namespace || !matches(&candidate.Spec.PodSelector, subject.Labels) {
			continue
		}
		if half == networkingv1.PolicyTypeIngress {
			for _, rule := range candidate.Spec.Ingress {
				if peersHold(input, candidate.Namespace, rule.From, other) && portsHold(rule.Ports, f, destination) {
					return true
				}
			}
			isolated = true
		} else if slices.Contains(candidate.Spec.PolicyTypes, half) {
			for _, rule := range candidate.Spec.Egress {
				if peersHold(input, candidate.Namespace, rule.To, other) && portsHold(rule.Ports, f, destination) {
					return true
				}
			}
			isolated = true
		}
	}
	return !isolated
}

func matches(selector *metav1.LabelSelector, set map[string]string) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(labels.Set(set))
}

func peersHold(input Input, namespace string, peers []networkingv1.NetworkPolicyPeer, address netip.Addr) bool {
	other := find(input, address)
	for _, peer := range peers {
		switch {
		case peer.IPBlock != nil:
			inside := netip.MustParsePrefix(peer.IPBlock.CIDR).Contains(address)
			for _, except := range peer.IPBlock.Except {
				inside = inside && !netip.MustParsePrefix(except).Contains(address)
			}
			if inside {
				return true
			}
		case other == nil:
		case peer.PodSelector != nil && !matches(peer.PodSelector, other.Labels):
		case peer.NamespaceSelector == nil && other.Namespace == namespace:
			return true
		case peer.NamespaceSelector != nil:
			for _, candidate := range input.Namespaces {
				if candidate.Name == other.Namespace && matches(peer.NamespaceSelector, candidate.Labels) {
					return true
				}
			}
		}
	}
	return len(peers) == 0
}

func portsHold(list []networkingv1.NetworkPolicyPort, f flow, destination *corev1.Pod) bool {
	for _, entry := range list {
		wanted := TCP
		if entry.Protocol != nil {
			wanted = map[corev1.Protocol]Protocol{"TCP": TCP, "UDP": UDP, "SCTP": SCTP}[*entry.Protocol]
		}
		switch {
		case wanted != f.protocol:
		case entry.Port == nil:
			return true
		case entry.Port.Type == intstr.String:
			if destination == nil {
				continue
			}
			for _, port := range destination.Spec.Containers[0].Ports {
				if port.Name == entry.Port.StrVal && string(port.Protocol) == map[Protocol]string{TCP: "TCP", UDP: "UDP"}[wanted] &&
					port.ContainerPort == int32(f.port) {
					return true
				}
			}
		case entry.EndPort != nil:
			if entry.Port.IntVal <= int32(f.port) && int32(f.port) <= *entry.EndPort {
				return true
			}
		case entry.Port.IntVal == int32(f.port):
			return true
		}
	}
	return len(list) == 0
}

// chance makes random objects over a small world, so that things meet.
type chance struct{ *rand.Rand }

func pick[T any](c chance, from ...T) T { return from[c.IntN(len(from))] }

func (c chance) selector() *metav1.LabelSelector {
	return pick(c, &metav1.LabelSelector{}, app(pick(c, "p0", "p1", "p2", "p3")), &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: "app", Operator: pick(c, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn), Values: []string{"p0", "p3", "p4"},
		}},
	})
}

func (c chance) peer() networkingv1.NetworkPolicyPeer {
	block := networkingv1.IPBlock{
		CIDR:   fmt.Sprintf("10.8.0.%d/%d", c.IntN(8), 28+c.IntN(5)),
		Except: []string{fmt.Sprintf("10.8.0.%d/%d", c.IntN(8), 30+c.IntN(3))},
	}
	return pick(c,
		networkingv1.NetworkPolicyPeer{PodSelector: c.selector()},
		networkingv1.NetworkPolicyPeer{NamespaceSelector: team(pick(c, "t0", "t1"))},
		networkingv1.NetworkPolicyPeer{NamespaceSelector: team(pick(c, "t0", "t1")), PodSelector: c.selector()},
		networkingv1.NetworkPolicyPeer{IPBlock: &block},
		networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: block.Except}})
}

func (c chance) port() networkingv1.NetworkPolicyPort {
	protocol := pick(c, corev1.ProtocolTCP, corev1.ProtocolUDP)
	span := number(80 + int32(c.IntN(3)))
	end := span.Port.IntVal + int32(c.IntN(3))
	span.EndPort, span.Protocol = &end, &protocol
	return pick(c, number(80+int32(c.IntN(4))), span, named(pick(c, "web", "talk", "absent"), protocol), networkingv1.NetworkPolicyPort{Protocol: &protocol})
}

func some[T any](c chance, most int, make func() T) []T {
	var list []T
	for range c.IntN(most + 1) {
		list = append(list, make())
	}
	return list
}

func (c chance) policy(name string) *networkingv1.NetworkPolicy {
	return policy(pick(c, "n0", "n1"), name, *c.selector(), func(spec *networkingv1.NetworkPolicySpec) {
		spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		spec.Ingress = some(c, 2, func() networkingv1.NetworkPolicyIngressRule {
			return networkingv1.NetworkPolicyIngressRule{From: some(c, 2, c.peer), Ports: some(c, 2, c.port)}
		})
		if c.IntN(2) == 0 {
			spec.PolicyTypes = append(spec.PolicyTypes, networkingv1.PolicyTypeEgress)
			spec.Egress = some(c, 2, func() networkingv1.NetworkPolicyEgressRule {
				return networkingv1.NetworkPolicyEgressRule{To: some(c, 2, c.peer), Ports: some(c, 2, c.port)}
			})
		}
	})
}

func (c chance) cluster() Input {
	input := Input{Node: testNode, PodCIDR: testCIDR, Namespaces: []*corev1.Namespace{namespace("n0", "t0"), namespace("n1", "t1")}}
	for index := range 6 {
		input.Pods = append(input.Pods, pod(pick(c, "n0", "n1"), fmt.Sprintf("p%d", index), fmt.Sprintf("10.8.0.%d", index)))
	}
	for index := range c.IntN(4) {
		input.Policies = append(input.Policies, c.policy(fmt.Sprintf("policy-%d", index)))
	}
	return input
}

// flows are all that the small world can have: every pair of pods and the world, ports near those that rules name.
func flows(input Input) []flow {
	addresses := []netip.Addr{netip.MustParseAddr(world)}
	for _, each := range input.Pods {
		addresses = append(addresses, netip.MustParseAddr(each.Status.PodIP))
	}
	var all []flow
	for _, source := range addresses {
		for _, destination := range addresses {
			last := uint16(destination.As4()[3])
			for _, protocol := range []Protocol{TCP, UDP} {
				for _, port := range []uint16{80, 81, 83, 8000 + last, 9000 + last} {
					all = append(all, flow{source, destination, protocol, port})
				}
			}
		}
	}
	return all
}

func TestCompiledRulesSayWhatTheObjectsSay(t *testing.T) {
	allowed, denied := 0, 0
	for seed := range uint64(rounds) {
		input := chance{rand.New(rand.NewPCG(seed, 1))}.cluster()
		program, problems := Compile(input)
		if len(problems) > 0 {
			t.Fatalf("seed %d: %v", seed, problems)
		}
		for _, each := range flows(input) {
			want := plainly(input, each)
			if got := program.allows(each); got != want {
				t.Fatalf("seed %d: %v is allowed: %v, should be %v", seed, each, got, want)
			}
			if want {
				allowed++
			} else {
				denied++
			}
		}
	}
	if allowed < 10*rounds || denied < 10*rounds {
		t.Fatalf("the clusters were too simple: %d flows allowed, %d denied", allowed, denied)
	}
}

func TestAnotherRuleNeverDenies(t *testing.T) {
	for seed := range uint64(rounds) {
		random := chance{rand.New(rand.NewPCG(seed, 2))}
		input := random.cluster()
		if len(input.Policies) == 0 {
			continue
		}
		before, _ := Compile(input)
		spec := &input.Policies[0].Spec
		spec.Ingress = append(spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: some(random, 2, random.peer), Ports: some(random, 2, random.port)})
		if slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
			spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{To: some(random, 2, random.peer), Ports: some(random, 2, random.port)})
		}
		after, _ := Compile(input)
		for _, each := range flows(input) {
			if before.allows(each) && !after.allows(each) {
				t.Fatalf("seed %d: a further rule denies %v", seed, each)
			}
		}
	}
}

func TestAPolicyChangesNothingBetweenOtherNamespaces(t *testing.T) {
	for seed := range uint64(rounds) {
		random := chance{rand.New(rand.NewPCG(seed, 3))}
		input := random.cluster()
		before, _ := Compile(input)
		added := random.policy("added")
		input.Policies = append(input.Policies, added)
		after, _ := Compile(input)
		for _, each := range flows(input) {
			source, destination := find(input, each.source), find(input, each.destination)
			touched := (source != nil && source.Namespace == added.Namespace) || (destination != nil && destination.Namespace == added.Namespace)
			if !touched && before.allows(each) != after.allows(each) {
				t.Fatalf("seed %d: a policy in %s changes %v", seed, added.Namespace, each)
			}
		}
	}
}
