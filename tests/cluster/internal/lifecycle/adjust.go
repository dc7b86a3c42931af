package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cofferdam.dev/tests/cluster/internal/api"
	"cofferdam.dev/tests/cluster/internal/build"
	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/node"
	"cofferdam.dev/tests/cluster/internal/objects"
	"cofferdam.dev/tests/cluster/internal/process"
)

// adjust brings a running cluster to the wanted state without starting it anew.
func (c *Cluster) adjust(ctx context.Context, s *state, built build.Built, networkPolicy bool) error {
	if err := c.exchangeInternet(s, built); err != nil {
		return err
	}
	if err := c.switchEnforcer(ctx, s, built, networkPolicy); err != nil {
		return err
	}
	if err := c.exchangeImages(ctx, s, built); err != nil {
		return err
	}
	client, err := api.New(c.Layout)
	if err != nil {
		return err
	}
	if err := c.wait(ctx, s, "the node", time.Minute, client.NodeReady); err != nil {
		return err
	}
	if err := c.renewVolumes(ctx, client); err != nil {
		return err
	}
	c.say("the cluster runs since %s", s.StartedAt.Format(time.DateTime))
	return nil
}

// exchangeInternet starts the servers outside anew if they were built anew.
func (c *Cluster) exchangeInternet(s *state, built build.Built) error {
	if s.Builds["internet"] == built.Hashes["internet"] {
		return nil
	}
	c.say("the servers of the internet were built anew")
	if err := c.end(s, "internet"); err != nil {
		return err
	}
	if err := c.exchange(s, built, "internet"); err != nil {
		return err
	}
	return c.spawn(s, node.Internet(c.Layout))
}

// exchangeImages loads the images of the cluster's own pods, where they changed, for the pods to come.
func (c *Cluster) exchangeImages(ctx context.Context, s *state, built build.Built) error {
	if s.Builds["images"] == built.Hashes["images"] {
		return nil
	}
	if err := c.loadOwn(ctx, built); err != nil {
		return err
	}
	for _, name := range []string{"images", "pause", "image"} {
		s.Builds[name] = built.Hashes[name]
	}
	return c.save(s)
}

// switchEnforcer starts, stops or exchanges the enforcer. Stopped, it leaves no rule behind; exchanged, its rules
// stay until the new one replaces them, so that there is no moment without.
func (c *Cluster) switchEnforcer(ctx context.Context, s *state, built build.Built, wanted bool) error {
	same := s.Builds["enforcer"] == built.Hashes["enforcer"]
	if s.NetworkPolicy == wanted && (same || !wanted) {
		return nil
	}
	if s.NetworkPolicy {
		if err := c.end(s, "enforcer"); err != nil {
			return err
		}
	}
	if !wanted {
		if err := process.Run(c.place(s, layout.NodeNamespace), c.environment(), node.EnforcerFlush(c.Layout)); err != nil {
			return fmt.Errorf("flush the enforcer's rules: %w", err)
		}
		s.NetworkPolicy = false
		c.say("NetworkPolicies are ignored from now on")
		return c.save(s)
	}
	if err := c.exchange(s, built, "enforcer"); err != nil {
		return err
	}
	if err := c.startEnforcer(ctx, s); err != nil {
		return err
	}
	s.NetworkPolicy = true
	c.say("NetworkPolicies are enforced from now on")
	return c.save(s)
}

func (c *Cluster) end(s *state, name string) error {
	record, found := s.process(name)
	if !found {
		return nil
	}
	if err := process.Stop([]process.Record{record}, 5*time.Second); err != nil {
		return err
	}
	s.forget(name)
	return c.save(s)
}

// exchange puts the newly built program in the place of the one that ran.
func (c *Cluster) exchange(s *state, built build.Built, name string) error {
	s.Builds[name] = built.Hashes[name]
	return link(built.Programs[name], c.Layout.Bin(name))
}

// renewVolumes empties static volumes whose claims are gone and offers them again.
func (c *Cluster) renewVolumes(ctx context.Context, client *api.Client) error {
	released, err := client.ReleasedVolumes(ctx)
	if err != nil || len(released) == 0 {
		return err
	}
	for _, volume := range released {
		if !slices.Contains(objects.Volumes, volume) {
			continue
		}
		if err := client.DeleteVolume(ctx, volume); err != nil {
			return err
		}
		if err := makeVolume(c.Layout, volume); err != nil {
			return err
		}
		c.say("volume %s is empty and free again", volume)
	}
	return c.apply(ctx)
}
