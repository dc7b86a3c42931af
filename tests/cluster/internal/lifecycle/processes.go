package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	client, err := api.New(c.Layout)
	if err != nil {
		return err
	}
	// The controller manager gives up if it meets an API server that has not set itself up yet.
	if err := c.wait(ctx, s, "the API server", time.Minute, client.Ready); err != nil {
		return err
	}
	if err := c.wait(ctx, s, "containerd", time.Minute, c.containerdReady); err != nil {
		return err
	}
	if err := c.apply(ctx); err != nil {
		return err
	}
	if err := c.loadOwn(built); err != nil {
		return err
	}
	// Before the kubelet, so that no pod ever runs without it.
	if s.NetworkPolicy {
		if err := c.spawn(s, node.Enforcer(c.Layout)); err != nil {
			return err
		}
	}
	for _, rest := range []node.Process{node.ControllerManager(c.Layout), node.Scheduler(c.Layout), node.Proxy(c.Layout), node.Kubelet(c.Layout)} {
		if err := c.spawn(s, rest); err != nil {
			return err
		}
	}
	if err := c.wait(ctx, s, "the node", 2*time.Minute, client.NodeReady); err != nil {
		return err
	}
	return c.wait(ctx, s, "DNS", 2*time.Minute, client.DNSReady)
}

// spawn starts one process inside the node and writes it down.
func (c *Cluster) spawn(s *state, p node.Process) error {
	place := c.place(s, p.Network)
	place.Cgroup = c.tree.Node()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	record, err := process.Start(self, p.Name, place, c.Layout.Log(p.Name), c.environment(), p.Command)
	if err != nil {
		return err
	}
	s.Processes = append(s.Processes, record)
	return c.save(s)
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
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	began := time.Now()
	last := errors.New("not asked yet")
	for {
		if err := ready(ctx); err == nil {
			c.say("%s is ready after %s", what, time.Since(began).Round(100*time.Millisecond))
			return nil
		} else if ctx.Err() == nil {
			last = err
		}
		if dead := s.dead(); len(dead) > 0 {
			return fmt.Errorf("%s ended; its log %s ends with:\n%s", dead[0], c.Layout.Log(dead[0]), process.Tail(c.Layout.Log(dead[0]), 15))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %w", what, limit, last)
		case <-ticker.C:
		}
	}
}
