package rules

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const testNode = "quay"

var testCIDR = netip.MustParsePrefix("10.8.0.0/16")

// pod makes a running pod whose only label is app=<name> and whose port "web" is 8000 + the address's last byte.
func pod(namespace, name, address string) *corev1.Pod {
	last := netip.MustParseAddr(address).As4()[3]
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": name},
		},
		Spec: corev1.PodSpec{NodeName: testNode, Containers: []corev1.Container{{Name: "main", Ports: []corev1.ContainerPort{
			{Name: "web", ContainerPort: 8000 + int32(last), Protocol: corev1.ProtocolTCP},
			{Name: "talk", ContainerPort: 9000 + int32(last), Protocol: corev1.ProtocolUDP},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}},
	}
}

// namespace makes one with the label team=<team> beside the one that Kubernetes puts on each.
func namespace(name, team string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"team": team, "kubernetes.io/metadata.name": name},
	}}
}

// policy makes one of a namespace for the pods that the selector matches.
func policy(namespace, name string, selector metav1.LabelSelector, change func(*networkingv1.NetworkPolicySpec)) *networkingv1.NetworkPolicy {
	made := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       networkingv1.NetworkPolicySpec{PodSelector: selector},
	}
	if change != nil {
		change(&made.Spec)
	}
	return made
}

func app(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func team(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}
}

func number(port int32) networkingv1.NetworkPolicyPort {
	value := intstr.FromInt32(port)
	return networkingv1.NetworkPolicyPort{Port: &value}
}

func named(name string, protocol corev1.Protocol) networkingv1.NetworkPolicyPort {
	value := intstr.FromString(name)
	return networkingv1.NetworkPolicyPort{Port: &value, Protocol: &protocol}
}

func from(peers ...networkingv1.NetworkPolicyPeer) func(*networkingv1.NetworkPolicySpec) {
	return func(spec *networkingv1.NetworkPolicySpec) {
		spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: peers}}
	}
}

// flow is a connection, by its ends as the node sees them.
type flow struct {
	source, destination netip.Addr
	protocol            Protocol
	port                uint16
}

func (f flow) String() string {
	return fmt.Sprintf("%s → %s %s/%d", f.source, f.destination, f.protocol, f.port)
}

// allows reads a program as the kernel will: the owner's word on what it knows, then both ends' profiles.
func (p Program) allows(f flow) bool {
	for _, end := range []netip.Addr{f.source, f.destination} {
		if _, known := p.Owners[end]; p.PodCIDR.Contains(end) && !known {
			return false
		}
	}
	if f.source == f.destination {
		return true
	}
	return p.Egress[f.source].grants(f.destination, f) && p.Ingress[f.destination].grants(f.source, f)
}

// grants says whether a profile, nil where there is none, lets a flow to or from that peer pass.
func (p *Profile) grants(peer netip.Addr, f flow) bool {
	if p == nil {
		return true
	}
	for _, grant := range p.Grants {
		for _, end := range grant.Endpoints {
			if end == (Endpoint{peer, f.protocol, f.port}) {
				return true
			}
		}
		if len(grant.Endpoints) > 0 || !grant.Peers.Contains(peer) || (grant.Protocol != "" && grant.Protocol != f.protocol) {
			continue
		}
		if len(grant.Ports) == 0 {
			return true
		}
		for _, span := range grant.Ports {
			if span.First <= f.port && f.port <= span.Last {
				return true
			}
		}
	}
	return false
}
