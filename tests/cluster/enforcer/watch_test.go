package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/knftables"

	"cofferdam.dev/tests/cluster/enforcer/internal/table"
)

// stubborn is a kernel that refuses the first programs.
type stubborn struct {
	*knftables.Fake
	refusals int
}

func (s *stubborn) Run(ctx context.Context, tx *knftables.Transaction) error {
	if s.refusals > 0 {
		s.refusals--
		return errors.New("no memory")
	}
	return s.Fake.Run(ctx, tx)
}

// memory remembers whose flows were to be forgotten.
type memory struct {
	sync.Mutex
	forgotten []netip.Addr
}

func (m *memory) forget(addresses []netip.Addr) error {
	m.Lock()
	defer m.Unlock()
	m.forgotten = append(m.forgotten, addresses...)
	return nil
}

func (m *memory) has(address string) bool {
	m.Lock()
	defer m.Unlock()
	return slices.Contains(m.forgotten, netip.MustParseAddr(address))
}

// eventually waits for what the loop should bring about.
func eventually(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patienceForAnswers); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", claim)
}

func TestTheTablesFollowTheAPIServer(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	kernel, kept := &stubborn{knftables.NewFake(knftables.IPv4Family, table.Name), 2}, &memory{}
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "marsh"}}, bothPods[0])
	ended := make(chan error, 1)
	go func() {
		ended <- watch(ctx, client, options{node: "quay", podCIDR: podCIDR}, &tables{ip: kernel, forget: kept.forget})
	}()
	inMap := func(set, kind, address string) func() bool {
		return func() bool {
			elements, err := kernel.ListElements(ctx, kind, set)
			return err == nil && slices.ContainsFunc(elements, func(e *knftables.Element) bool { return e.Key[0] == address })
		}
	}
	eventually(t, "a pod is known although the kernel refused twice", inMap("known", "set", heronAddress))

	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(client.CoreV1().Pods("marsh").Create(ctx, bothPods[1], metav1.CreateOptions{}))
	eventually(t, "a new pod is known", inMap("known", "set", storkAddress))
	must(client.NetworkingV1().NetworkPolicies("marsh").Create(ctx, noEgress("stork"), metav1.CreateOptions{}))
	eventually(t, "a new policy isolates", inMap("egress", "map", storkAddress))
	must(nil, client.CoreV1().Pods("marsh").Delete(ctx, "stork", metav1.DeleteOptions{}))
	eventually(t, "a pod that is gone is not known", func() bool { return !inMap("known", "set", storkAddress)() })
	eventually(t, "its flows are forgotten", func() bool { return kept.has(storkAddress) })
	if kept.has(heronAddress) {
		t.Error("so are those of a pod that stayed")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if kernel.Table == nil {
		t.Error("the fence fell with the enforcer")
	}
}
