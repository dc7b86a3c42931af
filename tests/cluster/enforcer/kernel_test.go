package main

import (
	"context"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"cofferdam.dev/tests/cluster/enforcer/internal/rules"
)

// pod makes a running pod of the node, in the namespace marsh, with a port named echo.
func pod(name, address string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "marsh", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{NodeName: "quay", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{Name: "echo", ContainerPort: 7, Protocol: corev1.ProtocolTCP}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address},
	}
}

var bothPods = []*corev1.Pod{pod("heron", heronAddress), pod("stork", storkAddress)}

// only is the policy that isolates one pod in one direction, but for the rules given.
func only(app string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	spec.PodSelector = metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "marsh", Name: "only-" + app}, Spec: spec}
}

func noEgress(app string, rules ...networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
	return only(app, networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, Egress: rules})
}

func noIngress(app string, rules ...networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
	return only(app, networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: rules})
}

// put puts the policies into force for those pods.
func (n network) put(t *testing.T, pods []*corev1.Pod, policies ...*networkingv1.NetworkPolicy) time.Duration {
	t.Helper()
	program, problems := rules.Compile(rules.Input{
		Node: "quay", PodCIDR: podCIDR, Pods: pods, Policies: policies,
		Namespaces: []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "marsh"}}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	began := time.Now()
	err := n.node.do(func() error {
		_, err := n.tables.replace(context.Background(), program)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// expect holds what is reached against what should be.
func expect(t *testing.T, claim string, reached, should bool) {
	t.Helper()
	if reached != should {
		t.Errorf("%s: reached %v, should be %v", claim, reached, should)
	}
}

// expectFlow opens a flow: what should get through is given time, what should not is given up on soon.
func expectFlow(t *testing.T, claim string, from place, protocol, address string, should bool) {
	t.Helper()
	within := impatience
	if should {
		within = patienceForAnswers
	}
	expect(t, claim, from.reaches(protocol, address, within), should)
}

func TestNewFlows(t *testing.T) {
	n := newNetwork(t)
	for _, inside := range []place{n.heron, n.stork, n.node, n.world} {
		inside.echo(":7")
		inside.echo(":8")
	}
	port := func(value intstr.IntOrString) []networkingv1.NetworkPolicyPort {
		return []networkingv1.NetworkPolicyPort{{Port: &value}}
	}
	toBlock := networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{
		{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.8.0.0/24"}}}}}
	for _, test := range []struct {
		name                                   string
		policies                               []*networkingv1.NetworkPolicy
		pod7, pod8, node, world, back, fromOut bool // heron → stork:7, :8, node, world; stork → heron; world → heron
	}{
		{"no policy", nil, true, true, true, true, true, true},
		{"no egress", []*networkingv1.NetworkPolicy{noEgress("heron")}, false, false, false, false, true, true},
		{"no ingress", []*networkingv1.NetworkPolicy{noIngress("heron")}, true, true, true, true, false, false},
		{"egress to a block", []*networkingv1.NetworkPolicy{noEgress("heron", toBlock)}, false, false, false, true, true, true},
		{"egress to a named port", []*networkingv1.NetworkPolicy{noEgress("heron", networkingv1.NetworkPolicyEgressRule{Ports: port(intstr.FromString("echo"))})},
			true, false, false, false, true, true},
		{"egress to a number", []*networkingv1.NetworkPolicy{noEgress("heron", networkingv1.NetworkPolicyEgressRule{Ports: port(intstr.FromInt32(7))})},
			true, false, true, true, true, true},
		{"ingress to a named port at the other end", []*networkingv1.NetworkPolicy{noIngress("stork", networkingv1.NetworkPolicyIngressRule{Ports: port(intstr.FromString("echo"))})},
			true, false, true, true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			n.put(t, bothPods, test.policies...)
			expectFlow(t, "heron → stork:7", n.heron, "tcp", storkAddress+":7", test.pod7)
			expectFlow(t, "heron → stork:8", n.heron, "tcp", storkAddress+":8", test.pod8)
			expectFlow(t, "heron → node", n.heron, "tcp", nodeAddress+":7", test.node)
			expectFlow(t, "heron → world", n.heron, "tcp", worldAddress+":7", test.world)
			expectFlow(t, "stork → heron", n.stork, "tcp", heronAddress+":8", test.back)
			expectFlow(t, "world → heron", n.world, "tcp", heronAddress+":8", test.fromOut)
			expectFlow(t, "node → heron (always)", n.node, "tcp", heronAddress+":7", true)
			expectFlow(t, "node → heron by UDP (always)", n.node, "udp", heronAddress+":7", true)
			expectFlow(t, "heron → stork:8 by UDP", n.heron, "udp", storkAddress+":8", test.pod8 && test.name != "egress to a number")
		})
	}
}

func TestFlowsThatWereOpenAreCutBothWays(t *testing.T) {
	n := newNetwork(t)
	n.stork.echo(":7")
	for name, policy := range map[string]*networkingv1.NetworkPolicy{"client": noEgress("heron"), "server": noIngress("stork")} {
		for _, protocol := range []string{"tcp", "udp"} {
			n.put(t, bothPods)
			open, err := n.heron.dial(protocol, storkAddress+":7", patienceForAnswers)
			if err != nil || !answers(open, "first", patienceForAnswers) {
				t.Fatalf("%s without a policy: %v", protocol, err)
			}
			n.put(t, bothPods, policy)
			expect(t, protocol+" once the "+name+" is isolated", answers(open, "second", impatience), false)
			n.put(t, bothPods)
			expect(t, protocol+" when the policy is gone", answers(open, "third", patienceForAnswers), true)
		}
	}
}

// A server that may not open flows must not go on sending into one that was cut: its packets are replies to the
// connection tracker, but there is no flow any more that they could answer.
func TestRepliesOfACutFlowAreCut(t *testing.T) {
	n := newNetwork(t)
	var server net.PacketConn
	err := n.stork.do(func() (err error) {
		server, err = net.ListenPacket("udp", ":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	n.put(t, bothPods, noEgress("stork"))
	client, err := n.heron.dial("udp", storkAddress+":53", patienceForAnswers)
	if err != nil {
		t.Fatal(err)
	}
	client.Write([]byte("question"))
	buffer := make([]byte, 100)
	server.SetDeadline(time.Now().Add(patienceForAnswers))
	_, peer, err := server.ReadFrom(buffer)
	if err != nil {
		t.Fatal(err)
	}
	push := func(within time.Duration) bool {
		server.WriteTo([]byte("answer"), peer)
		client.SetReadDeadline(time.Now().Add(within))
		_, err := client.Read(buffer)
		return err == nil
	}
	expect(t, "a reply while the flow is allowed, though the server may open none", push(patienceForAnswers), true)
	n.put(t, bothPods, noEgress("stork"), noIngress("stork"))
	expect(t, "a reply after the flow was forbidden", push(impatience), false)
}

func TestAnAddressNobodyOwnsHasNoNetwork(t *testing.T) {
	n := newNetwork(t)
	n.node.echo(":7")
	n.world.echo(":7")
	n.stork.echo(":7")
	for _, known := range []bool{false, true} {
		pods := bothPods
		if !known {
			pods = bothPods[1:]
		}
		n.put(t, pods)
		expectFlow(t, "to the node", n.heron, "tcp", nodeAddress+":7", known)
		expectFlow(t, "to the world", n.heron, "tcp", worldAddress+":7", known)
		expectFlow(t, "to a pod", n.heron, "udp", storkAddress+":7", known)
	}
}

func TestAnAddressThatChangesHandsBringsNoFlows(t *testing.T) {
	n := newNetwork(t)
	n.stork.echo(":7")
	n.put(t, bothPods)
	expectFlow(t, "a flow to begin with", n.heron, "udp", storkAddress+":7", true)
	tracked := func() string {
		var found string
		n.node.do(func() error {
			found = flowsOf(storkAddress)
			return nil
		})
		return found
	}
	if tracked() == "" {
		t.Fatal("the flow is not tracked")
	}
	n.put(t, bothPods[:1])
	if left := tracked(); left != "" {
		t.Errorf("still tracked: %s", left)
	}
}

func TestServicesAreJudgedByTheirPods(t *testing.T) {
	n := newNetwork(t)
	n.stork.echo(":7")
	n.node.run("nft", "add table ip services; add chain ip services prerouting { type nat hook prerouting priority dstnat; }; "+
		"add rule ip services prerouting ip daddr 10.96.0.9 tcp dport 99 dnat to "+storkAddress+":7")
	toStork := networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{
		{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "stork"}}}}}
	n.put(t, bothPods, noEgress("heron", toStork))
	expectFlow(t, "a service of a pod that policy allows", n.heron, "tcp", "10.96.0.9:99", true)
	n.put(t, bothPods, noEgress("heron"))
	expectFlow(t, "the same when it does not", n.heron, "tcp", "10.96.0.9:99", false)
}

func TestPodsSpeakIPv4Only(t *testing.T) {
	n := newNetwork(t)
	n.heron.run("ip", "address", "add", "fd00::b/64", "dev", "eth0", "nodad")
	n.stork.run("ip", "address", "add", "fd00::c/64", "dev", "eth0", "nodad")
	n.stork.echo(":7")
	expectFlow(t, "IPv6 without the enforcer", n.heron, "tcp", "[fd00::c]:7", true)
	if err := n.node.do(func() error { return n.tables.start(context.Background(), podCIDR) }); err != nil {
		t.Fatal(err)
	}
	n.put(t, bothPods)
	expectFlow(t, "IPv6 with it", n.heron, "tcp", "[fd00::c]:7", false)
	expectFlow(t, "IPv4 beside it", n.heron, "tcp", storkAddress+":7", true)
}

func TestTheFenceStandsBeforeTheFirstWordAndAfterTheLast(t *testing.T) {
	n := newNetwork(t)
	n.stork.echo(":7")
	steps := []struct {
		claim string
		step  func() error
		open  bool
	}{
		{"without tables", func() error { return nil }, true},
		{"before the API server was heard", func() error { return n.tables.start(context.Background(), podCIDR) }, false},
		{"flushed", func() error { return n.tables.remove(context.Background()) }, true},
		{"flushed twice", func() error { return n.tables.remove(context.Background()) }, true},
	}
	for _, each := range steps {
		if err := n.node.do(each.step); err != nil {
			t.Fatalf("%s: %v", each.claim, err)
		}
		expectFlow(t, each.claim, n.heron, "tcp", storkAddress+":7", each.open)
	}
	n.put(t, bothPods, noEgress("stork"))
	if err := n.node.do(func() error { return n.tables.start(context.Background(), podCIDR) }); err != nil {
		t.Fatal(err)
	}
	expectFlow(t, "a restarted enforcer keeps what it finds", n.heron, "tcp", storkAddress+":7", true)
}

func TestTablesThatSomebodyElseTookAreWrittenAgain(t *testing.T) {
	n := newNetwork(t)
	n.stork.echo(":7")
	n.put(t, bothPods, noEgress("heron"))
	n.node.run("nft", "flush", "ruleset")
	n.put(t, bothPods, noEgress("heron"))
	expectFlow(t, "while the enforcer trusts the kernel", n.heron, "tcp", storkAddress+":7", true)
	if err := n.node.do(func() error { return n.tables.renew(context.Background()) }); err != nil {
		t.Fatal(err)
	}
	n.put(t, bothPods, noEgress("heron"))
	expectFlow(t, "once it looks again", n.heron, "tcp", storkAddress+":7", false)
}
