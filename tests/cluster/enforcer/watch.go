package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"

	"cofferdam.dev/tests/cluster/enforcer/internal/rules"
)

// pause is the least time between two programs: a burst of events costs one program, and the first event of a burst
// waits for nothing.
const pause = 100 * time.Millisecond

// patience is the longest wait before a program that failed is tried again.
const patience = 5 * time.Second

// view is what the API server last said.
type view struct {
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   networkinglisters.NetworkPolicyLister
}

// watch keeps the tables equal to what the API server says until the context ends. While the API server is away the
// last program stays in force, and pods that nobody has told of have no network.
func watch(ctx context.Context, client kubernetes.Interface, chosen options, tables *tables) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(dropManagedFields))
	pods, namespaces, policies := factory.Core().V1().Pods(), factory.Core().V1().Namespaces(), factory.Networking().V1().NetworkPolicies()
	changed := make(chan struct{}, 1)
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(signalOn(changed)); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("watch: %v was never listed: %w", kind, ctx.Err())
		}
	}
	slog.Info("watching", "node", chosen.node, "podCIDR", chosen.podCIDR)
	enforce(ctx, view{pods.Lister(), namespaces.Lister(), policies.Lister()}, chosen, tables, changed)
	return nil
}

// refresh is how often the tables are written although nothing changed, should somebody else have been at them.
const refresh = 30 * time.Second

// enforce writes a program at once, then after changes, and now and then in any case.
func enforce(ctx context.Context, seen view, chosen options, tables *tables, changed <-chan struct{}) {
	again := pause
	routine := time.NewTicker(refresh)
	defer routine.Stop()
	for {
		wait := changed
		if err := program(ctx, seen, chosen, tables); err != nil {
			slog.Error("the last program stays in force", "error", err, "again", again)
			again, wait = min(2*again, patience), nil
		} else {
			again = pause
		}
		if !sleep(ctx, again) {
			return
		}
		if wait == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-wait:
		case <-routine.C:
			if err := tables.renew(ctx); err != nil {
				slog.Error("tables not renewed", "error", err)
			}
		}
	}
}

// program compiles what is seen and puts it into force.
func program(ctx context.Context, seen view, chosen options, tables *tables) error {
	began := time.Now()
	input := rules.Input{Node: chosen.node, PodCIDR: chosen.podCIDR}
	var err error
	if input.Pods, err = seen.pods.List(labels.Everything()); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	if input.Namespaces, err = seen.namespaces.List(labels.Everything()); err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	if input.Policies, err = seen.policies.List(labels.Everything()); err != nil {
		return fmt.Errorf("list policies: %w", err)
	}
	compiled, problems := rules.Compile(input)
	changed, err := tables.replace(ctx, compiled)
	if err != nil || !changed {
		return err
	}
	for _, problem := range problems {
		slog.Warn("policy not understood", "problem", problem)
	}
	slog.Info("programmed", "policies", len(input.Policies), "known", len(compiled.Owners), "contested", compiled.Contested,
		"ingressIsolated", len(compiled.Ingress), "egressIsolated", len(compiled.Egress), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// signalOn says on the channel that there was an event; one word stands for any number of events.
func signalOn(changed chan<- struct{}) cache.ResourceEventHandler {
	say := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { say() },
		UpdateFunc: func(any, any) { say() },
		DeleteFunc: func(any) { say() },
	}
}

// dropManagedFields keeps the largest part of each object, which nothing here reads, out of memory.
func dropManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

// sleep waits, and says whether the context is still alive.
func sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
