package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"cofferdam.dev/tests/cluster/internal/api"
	"cofferdam.dev/tests/cluster/internal/build"
	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/node"
	"cofferdam.dev/tests/cluster/internal/process"
)

// startAll starts the processes in their order and waits until the cluster is ready for pods.
func (c *Cluster) startAll(ctx context.Context, s *state, built build.Built) error {
	// The forwarder comes first: its mount namespace is the one in which all others run.
	if err := c.spawn(s, node.Forwarder(c.Layout)); err != nil {
		return err
	}
	for _, first := range []node.Process{node.Internet(c.Layout), node.Etcd(c.Layout), node.APIServer(c.Layout), node.Containerd(c.Layout)} {
		if err := c.spawn(s, first); err != nil {
			return err
		}
	}
	// Meanwhile the API server starts: that takes longest.
	images := make(chan error, 1)
	go func() { images <- c.loadOwn(ctx, built) }()
	client, err := api.New(c.Layout)
	if err != nil {
		return err
	}
	// The controller manager gives up if it meets an API server that has not set itself up yet.
	if err := c.wait(ctx, s, "the API server", 2*time.Minute, client.Ready); err != nil {
		return err
	}
	for _, next := range []node.Process{node.ControllerManager(c.Layout), node.Scheduler(c.Layout)} {
		if err := c.spawn(s, next); err != nil {
			return err
		}
	}
	if err := errors.Join(c.apply(ctx), <-images); err != nil {
		return err
	}
	// Before the kubelet, so that no pod ever runs without it.
	if s.NetworkPolicy {
		if err := c.startEnforcer(ctx, s); err != nil {
			return err
		}
	}
	if err := c.spawn(s, node.Kubelet(c.Layout)); err != nil {
		return err
	}
	if err := c.wait(ctx, s, "the node", 2*time.Minute, client.NodeReady); err != nil {
		return err
	}
	// After the node has joined: kube-proxy waits 30 s for it, then guesses an address, and ends when that was wrong.
	if err := c.spawn(s, node.Proxy(c.Layout)); err != nil {
		return err
	}
	return c.wait(ctx, s, "DNS", 2*time.Minute, client.DNSReady)
}

// startEnforcer starts the enforcer and waits until its rules hold.
func (c *Cluster) startEnforcer(ctx context.Context, s *state) error {
	if err := c.spawn(s, node.Enforcer(c.Layout)); err != nil {
		return err
	}
	return c.wait(ctx, s, "the enforcer", time.Minute, func(context.Context) error {
		return process.InNetwork(layout.NetworkNamespace(layout.NodeNamespace), func() error {
			if output, err := exec.Command("nft", "list", "table", "ip", node.EnforcerTable).CombinedOutput(); err != nil {
				return fmt.Errorf("no rules yet: %w: %s", err, output)
			}
			return nil
		})
	})
}

// spawn starts one process inside the node and writes it down.
func (c *Cluster) spawn(s *state, p node.Process) error {
	record, err := c.run(s, p)
	if err != nil {
		return err
	}
	s.Processes = append(s.Processes, record)
	return c.save(s)
}

// run starts one process inside the node.
func (c *Cluster) run(s *state, p node.Process) (process.Record, error) {
	place := c.place(s, p.Network)
	place.Cgroup = c.tree.Node()
	return process.Start(p.Name, place, c.Layout.Log(p.Name), c.environment(), p.Command)
}

// place is inside the node's mounts and the named network; the forwarder, which makes these mounts, has neither.
func (c *Cluster) place(s *state, networkName string) process.Place {
	place := process.Place{Directory: c.Layout.State}
	if networkName != "" {
		place.Network = layout.NetworkNamespace(networkName)
	}
	if holder, found := s.process("forwarder"); found {
		place.Mounts = fmt.Sprintf("/proc/%d/ns/mnt", holder.PID)
	} else {
		place.NewMounts = c.Layout.Path("host")
	}
	return place
}

// environment has the built programs first in the path: containerd finds its shims there.
func (c *Cluster) environment() []string {
	return []string{
		"PATH=" + c.Layout.Path("bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + c.Layout.Path("host"), "TMPDIR=/tmp", "KUBECONFIG=" + c.Layout.Kubeconfig(),
	}
}

// wait asks until the answer is good, and gives up early when a process has ended.
func (c *Cluster) wait(ctx context.Context, s *state, what string, limit time.Duration, ready func(context.Context) error) error {
	began := time.Now()
	err := poll(ctx, limit, func(ctx context.Context) (bool, error) {
		if err := ready(ctx); err != nil {
			return len(s.dead()) > 0, err
		}
		return true, nil
	})
	if dead := s.dead(); len(dead) > 0 {
		log := c.Layout.Log(dead[0])
		return fmt.Errorf("%s ended; its log %s ends with:\n%s", dead[0], log, process.Tail(log, 15))
	}
	if err != nil {
		return fmt.Errorf("%s is not ready: %w", what, err)
	}
	c.say("%s is ready after %s", what, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// poll asks ten times a second until the answer is final, or for at most limit; then it gives the last error.
func poll(ctx context.Context, limit time.Duration, ask func(context.Context) (final bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	last := errors.New("no answer")
	for {
		final, err := ask(ctx)
		if final {
			return err
		}
		// An answer that the limit cut short says less than the one before it.
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("given up (%w): %w", ctx.Err(), last)
		case <-ticker.C:
		}
	}
}
