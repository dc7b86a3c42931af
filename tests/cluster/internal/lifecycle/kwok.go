package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"cofferdam.dev/tests/cluster/internal/api"
	"cofferdam.dev/tests/cluster/internal/build"
	"cofferdam.dev/tests/cluster/internal/kwok"
	"cofferdam.dev/tests/cluster/internal/node"
	"cofferdam.dev/tests/cluster/internal/process"
)

// KwokUp gives a cluster that runs its fake node, anew if there is one: its program and stages may have changed.
func (c *Cluster) KwokUp(ctx context.Context) error {
	built, err := build.Builder{Layout: c.Layout, Output: c.Output}.Build(kwok.Name)
	if err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := c.running()
	if err != nil {
		return err
	}
	if err := c.endKwok(s); err != nil {
		return err
	}
	if err := link(built.Programs[kwok.Name], c.Layout.Bin(kwok.Name)); err != nil {
		return err
	}
	if err := os.WriteFile(kwok.StagesFile(c.Layout), kwok.Stages, 0o644); err != nil {
		return err
	}
	if err := node.AddClient(c.Layout, kwok.Subject); err != nil {
		return err
	}
	if err := c.kubectl(ctx, kwok.Objects, "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		return err
	}
	record, err := c.run(s, kwok.Process(c.Layout))
	if err != nil {
		return err
	}
	s.Kwok = &record
	if err := c.save(s); err != nil {
		return err
	}
	client, err := api.New(c.Layout)
	if err != nil {
		return err
	}
	return c.wait(ctx, s, "the fake node", time.Minute, func(ctx context.Context) error {
		if !record.Alive() {
			return fmt.Errorf("KWOK ended; its log ends with:\n%s", process.Tail(c.Layout.Log(kwok.Name), 15))
		}
		return client.NamedNodeReady(ctx, kwok.NodeName)
	})
}

// KwokDown takes the fake node away. Its pods go with it: Kubernetes collects what is bound to no node.
func (c *Cluster) KwokDown(ctx context.Context) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := c.load()
	if err != nil {
		return err
	}
	if s == nil {
		c.say("there is no cluster")
		return nil
	}
	if len(s.dead()) == 0 {
		if err := c.kubectl(ctx, kwok.Objects, "delete", "--ignore-not-found", "-f", "-"); err != nil {
			return err
		}
	}
	if err := c.endKwok(s); err != nil {
		return err
	}
	c.say("there is no fake node any more")
	return nil
}

// running is the record of a cluster that runs.
func (c *Cluster) running() (*state, error) {
	s, err := c.load()
	if err != nil {
		return nil, err
	}
	if s == nil || !s.Complete || len(s.dead()) > 0 {
		return nil, errors.New("no cluster runs; `cluster up` starts one")
	}
	return s, nil
}

func (c *Cluster) endKwok(s *state) error {
	if s.Kwok == nil {
		return nil
	}
	if err := process.Stop([]process.Record{*s.Kwok}, 5*time.Second); err != nil {
		return err
	}
	s.Kwok = nil
	return c.save(s)
}
