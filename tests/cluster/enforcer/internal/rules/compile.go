package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// direction is the half of a policy that is being compiled.
type direction int

const (
	ingress direction = iota
	egress
)

// clause is a rule of either direction: a grant to all of its peers on all of its ports.
type clause struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

// Compile turns the cluster's objects into the node's program. A rule that cannot be read (a selector that no API
// server would have accepted) grants nothing and is reported; the isolation of its policy holds all the same.
func Compile(input Input) (Program, []error) {
	stock := take(input)
	program := Program{
		PodCIDR:   input.PodCIDR,
		Owners:    stock.owners,
		Contested: stock.contested,
		Ingress:   map[netip.Addr]*Profile{},
		Egress:    map[netip.Addr]*Profile{},
	}
	compiler := compiler{stock: stock, profiles: map[string]*Profile{}, clauses: map[string][]shared{}}
	policies := slices.SortedFunc(slices.Values(input.Policies), func(a, b *networkingv1.NetworkPolicy) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	for _, subject := range stock.endpoints {
		if subject.pod.Spec.NodeName != input.Node {
			continue
		}
		for towards, isolated := range map[direction]map[netip.Addr]*Profile{ingress: program.Ingress, egress: program.Egress} {
			profile := compiler.profile(subject, policies, towards)
			for _, address := range subject.addresses {
				if profile != nil {
					isolated[address] = profile
				}
			}
		}
	}
	return program, compiler.problems
}

// compiler carries what pods of one program share.
type compiler struct {
	stock    inventory
	profiles map[string]*Profile
	clauses  map[string][]shared
	problems []error
}

// shared is a clause of which everything is known but the numbers of named ports at the pod it is for.
type shared struct {
	peers   Addresses
	matches []portMatch
	named   []namedPort
	grants  []Grant // of egress, where named ports belong to the peers
}

// profile is what the subject is allowed, nil where no policy isolates it.
func (c *compiler) profile(subject endpoint, policies []*networkingv1.NetworkPolicy, towards direction) *Profile {
	isolated := false
	var grants []Grant
	for _, policy := range policies {
		if policy.Namespace != subject.pod.Namespace || !covers(policy, towards) || !c.selects(policy, subject.pod) {
			continue
		}
		isolated = true
		for _, part := range c.policy(policy, towards) {
			grants = append(grants, part.grantsFor(subject.pod)...)
		}
	}
	if !isolated {
		return nil
	}
	digest := sha256.Sum256(fmt.Appendf(nil, "%d %v", towards, grants))
	name := hex.EncodeToString(digest[:8])
	if c.profiles[name] == nil {
		c.profiles[name] = &Profile{Name: name, Grants: grants}
	}
	return c.profiles[name]
}

// selects says whether the policy is about the pod. A selector that cannot be read selects every pod: isolating too
// much is the safe side.
func (c *compiler) selects(policy *networkingv1.NetworkPolicy, pod *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
	if err != nil {
		c.problems = append(c.problems, fmt.Errorf("policy %s/%s: podSelector: %w", policy.Namespace, policy.Name, err))
		return true
	}
	return selector.Matches(labels.Set(pod.Labels))
}

// covers says whether the policy isolates in that direction. Without policyTypes it does so for ingress, and for
// egress if it has egress rules.
func covers(policy *networkingv1.NetworkPolicy, towards direction) bool {
	if len(policy.Spec.PolicyTypes) == 0 {
		return towards == ingress || len(policy.Spec.Egress) > 0
	}
	wanted := networkingv1.PolicyTypeIngress
	if towards == egress {
		wanted = networkingv1.PolicyTypeEgress
	}
	return slices.Contains(policy.Spec.PolicyTypes, wanted)
}

// policy compiles a policy's clauses in one direction, once for all pods that it selects.
func (c *compiler) policy(policy *networkingv1.NetworkPolicy, towards direction) []shared {
	key := fmt.Sprintf("%d %s/%s", towards, policy.Namespace, policy.Name)
	if done, known := c.clauses[key]; known {
		return done
	}
	compiled := []shared{}
	for index, given := range clausesOf(policy, towards) {
		part, err := c.clause(given, policy.Namespace, towards)
		if err != nil {
			c.problems = append(c.problems, fmt.Errorf("policy %s/%s, rule %d: %w", policy.Namespace, policy.Name, index, err))
			continue
		}
		compiled = append(compiled, part)
	}
	c.clauses[key] = compiled
	return compiled
}

// clausesOf reads a policy's rules of one direction in one shape.
func clausesOf(policy *networkingv1.NetworkPolicy, towards direction) []clause {
	var found []clause
	if towards == egress {
		for _, rule := range policy.Spec.Egress {
			found = append(found, clause{rule.To, rule.Ports})
		}
		return found
	}
	for _, rule := range policy.Spec.Ingress {
		found = append(found, clause{rule.From, rule.Ports})
	}
	return found
}

// clause finds a clause's peers and ports.
func (c *compiler) clause(given clause, namespace string, towards direction) (shared, error) {
	peers, err := c.peers(given.peers, namespace)
	if err != nil {
		return shared{}, err
	}
	matches, named := splitPorts(given.ports)
	if len(peers) == 0 {
		return shared{}, nil
	}
	part := shared{peers: peers, matches: matches}
	if towards == ingress {
		part.named = named
	} else if endpoints := c.endpoints(peers, named); len(endpoints) > 0 {
		part.grants = []Grant{{Endpoints: endpoints}}
	}
	return part, nil
}

// grantsFor finishes a clause for one pod; named ports of ingress are the pod's own.
func (s shared) grantsFor(pod *corev1.Pod) []Grant {
	grants := slices.Clone(s.grants)
	for _, match := range s.matches {
		grants = append(grants, Grant{Peers: s.peers, Protocol: match.protocol, Ports: match.ports})
	}
	for _, name := range s.named {
		if ports := name.resolve(pod); len(ports) > 0 {
			grants = append(grants, Grant{Peers: s.peers, Protocol: name.protocol, Ports: ports})
		}
	}
	return grants
}
