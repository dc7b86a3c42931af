// Package kwok knows the fake node: pods that are bound to it start and end as its stages say, without containers.
//
// It serves measurements of the control plane alone. KWOK plays the kubelet of one node with a taint, so that nothing
// lands there that does not ask to.
package kwok

import (
	_ "embed"

	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/node"
	"cofferdam.dev/tests/cluster/internal/pki"
)

// Name is that of the component, of its process and of its program.
const Name = "kwok"

// User is whom the API server sees. Guards that ask who writes a pod's status must be told of it.
const User = "cofferdam-test-kwok"

// NodeName is the fake node, which has no limit that a measurement would meet.
const NodeName = "kwok-0"

// podCIDR is outside of the cluster's own ranges: behind these addresses there is nothing.
const podCIDR = "10.245.0.1/16"

// Objects are the fake node and what KWOK may do.
//
//go:embed objects.yaml
var Objects []byte

// Stages say what becomes of the node and of its pods.
//
//go:embed stages.yaml
var Stages []byte

// Subject is the identity with which KWOK speaks to the API server.
var Subject = pki.Subject{File: Name, User: User}

// StagesFile is where KWOK reads its stages.
func StagesFile(l layout.Layout) string { return l.Path("config", "kwok-stages.yaml") }

// Process runs it. The lease is renewed every quarter of its time; a node without one costs a write and an event a pod.
func Process(l layout.Layout) node.Process {
	return node.Process{
		Name: Name, Network: layout.NodeNamespace,
		Command: []string{
			l.Bin(Name), "--kubeconfig=" + node.Kubeconfig(l, Name), "--config=" + StagesFile(l),
			"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--node-lease-duration-seconds=40",
			"--cidr=" + podCIDR, "--server-address=127.0.0.1:10247",
		},
	}
}
