package rules

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Input is everything that a program depends on.
type Input struct {
	// Node is the one whose pods are isolated; pods elsewhere matter as peers.
	Node       string
	PodCIDR    netip.Prefix
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
}

// endpoint is a pod together with the addresses that it owns.
type endpoint struct {
	pod       *corev1.Pod
	name      string
	addresses []netip.Addr
}

// inventory is the cluster as selectors see it: live pods with addresses of their own, and namespaces' labels.
type inventory struct {
	endpoints  []endpoint
	namespaces map[string]labels.Set
	owners     map[netip.Addr]string
	contested  []netip.Addr
}

// take makes the inventory. A pod on the host's network has no address of its own (policies do not apply to it, and
// as a peer it is the node), and a pod that has ended has lost its address.
func take(input Input) inventory {
	result := inventory{namespaces: map[string]labels.Set{}, owners: map[netip.Addr]string{}}
	for _, namespace := range input.Namespaces {
		result.namespaces[namespace.Name] = namespace.Labels
	}
	claims := map[netip.Addr]int{}
	for _, pod := range input.Pods {
		if pod.Spec.HostNetwork || ended(pod) {
			continue
		}
		found := endpoint{pod: pod, name: pod.Namespace + "/" + pod.Name, addresses: addressesOf(pod)}
		for _, address := range found.addresses {
			claims[address]++
			result.owners[address] = found.name + "/" + string(pod.UID)
		}
		result.endpoints = append(result.endpoints, found)
	}
	for address, count := range claims {
		if count > 1 {
			delete(result.owners, address)
			result.contested = append(result.contested, address)
		}
	}
	slices.SortFunc(result.contested, netip.Addr.Compare)
	slices.SortFunc(result.endpoints, func(a, b endpoint) int {
		return slices.Compare([]string{a.pod.Namespace, a.pod.Name}, []string{b.pod.Namespace, b.pod.Name})
	})
	for index := range result.endpoints {
		result.endpoints[index].addresses = slices.DeleteFunc(result.endpoints[index].addresses,
			func(address netip.Addr) bool { return claims[address] > 1 })
	}
	return result
}

// ended says whether the pod's processes are gone for good.
func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// addressesOf lists a pod's IPv4 addresses, each once.
func addressesOf(pod *corev1.Pod) []netip.Addr {
	var found []netip.Addr
	for _, entry := range append([]corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
		address, err := netip.ParseAddr(entry.IP)
		if err == nil && address.Is4() && !slices.Contains(found, address) {
			found = append(found, address)
		}
	}
	return found
}

// selected lists the endpoints that a peer of a policy in that namespace selects: the pod selector within the
// policy's own namespace, or within those that the namespace selector matches.
func (i inventory) selected(peer networkingv1.NetworkPolicyPeer, namespace string) ([]endpoint, error) {
	pods, err := selectorOrAll(peer.PodSelector)
	if err != nil {
		return nil, fmt.Errorf("podSelector: %w", err)
	}
	namespaces, err := selectorOrAll(peer.NamespaceSelector)
	if err != nil {
		return nil, fmt.Errorf("namespaceSelector: %w", err)
	}
	var found []endpoint
	for _, candidate := range i.endpoints {
		within := candidate.pod.Namespace == namespace
		if peer.NamespaceSelector != nil {
			set, known := i.namespaces[candidate.pod.Namespace]
			within = known && namespaces.Matches(set)
		}
		if within && pods.Matches(labels.Set(candidate.pod.Labels)) {
			found = append(found, candidate)
		}
	}
	return found, nil
}

// selectorOrAll reads a selector; one that is not given selects everything, as an empty one does.
func selectorOrAll(given *metav1.LabelSelector) (labels.Selector, error) {
	if given == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(given)
}
