package rules

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// portMatch is a part of a rule's port list that is one match for nftables.
type portMatch struct {
	protocol Protocol
	ports    []PortRange // any if empty
}

// namedPort is a port that only a destination pod can turn into a number.
type namedPort struct {
	protocol Protocol
	name     string
}

// splitPorts sorts a policy's port list by protocol and sets the named ports apart. An empty list is one match of
// any protocol. A list from which nothing can be made (an unknown protocol) gives no match, and so allows nothing.
func splitPorts(list []networkingv1.NetworkPolicyPort) ([]portMatch, []namedPort) {
	if len(list) == 0 {
		return []portMatch{{}}, nil
	}
	numbered := map[Protocol][]PortRange{}
	whole := map[Protocol]bool{}
	var named []namedPort
	for _, entry := range list {
		protocol, known := protocolOf(entry.Protocol)
		switch {
		case !known:
		case entry.Port == nil:
			whole[protocol] = true
		case entry.Port.Type == intstr.String:
			named = append(named, namedPort{protocol, entry.Port.StrVal})
		default:
			if span, valid := portSpan(entry.Port.IntVal, entry.EndPort); valid {
				numbered[protocol] = append(numbered[protocol], span)
			}
		}
	}
	var matches []portMatch
	for _, protocol := range []Protocol{TCP, UDP, SCTP} {
		if whole[protocol] {
			matches = append(matches, portMatch{protocol: protocol})
		} else if spans := numbered[protocol]; len(spans) > 0 {
			matches = append(matches, portMatch{protocol, mergePorts(spans)})
		}
	}
	return matches, named
}

// portSpan is the span of a number with its optional end; it is not valid outside 1 to 65535 or upside down.
func portSpan(first int32, end *int32) (PortRange, bool) {
	last := first
	if end != nil {
		last = *end
	}
	if first < 1 || last < first || last > 65535 {
		return PortRange{}, false
	}
	return PortRange{uint16(first), uint16(last)}, true
}

// protocolOf reads a policy's or a container's protocol, which is TCP where it is not given.
func protocolOf(given *corev1.Protocol) (Protocol, bool) {
	if given == nil || *given == "" {
		return TCP, true
	}
	switch *given {
	case corev1.ProtocolTCP:
		return TCP, true
	case corev1.ProtocolUDP:
		return UDP, true
	case corev1.ProtocolSCTP:
		return SCTP, true
	}
	return "", false
}

// resolve finds the numbers that a pod gives to a port name: among its containers and its sidecars, for they are
// what can listen while it runs.
func (n namedPort) resolve(pod *corev1.Pod) []PortRange {
	var found []PortRange
	for _, container := range listeners(pod) {
		for _, port := range container.Ports {
			protocol, known := protocolOf(&port.Protocol)
			if !known || protocol != n.protocol || port.Name != n.name {
				continue
			}
			if span, valid := portSpan(port.ContainerPort, nil); valid {
				found = append(found, span)
			}
		}
	}
	return mergePorts(found)
}

// listeners are the containers that run as long as the pod: the main ones and the restartable init containers.
func listeners(pod *corev1.Pod) []corev1.Container {
	all := slices.Clone(pod.Spec.Containers)
	for _, container := range pod.Spec.InitContainers {
		if container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all = append(all, container)
		}
	}
	return all
}
