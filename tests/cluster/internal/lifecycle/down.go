package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam.dev/tests/cluster/internal/kernel"
	"cofferdam.dev/tests/cluster/internal/network"
	"cofferdam.dev/tests/cluster/internal/process"
)

// Down ends the cluster and removes everything but the cache of builds. Without a cluster it does nothing.
func (c *Cluster) Down() error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if len(c.Remains()) == 0 {
		c.say("there is no cluster")
		return nil
	}
	began := time.Now()
	if err := c.clean(); err != nil {
		return err
	}
	c.say("down in %s", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// clean removes what is left of a cluster in whatever state it is: processes, mounts, namespaces, cgroups, files.
func (c *Cluster) clean() error {
	current, err := c.load()
	if err != nil {
		c.say("%v: cleaning up without it", err)
	}
	if current != nil {
		records := ending(current.Processes)
		if current.Kwok != nil {
			records = append(records, *current.Kwok)
		}
		if err := process.Stop(records, 3*time.Second); err != nil {
			return err
		}
	}
	// What the processes started, shims and sandboxes foremost, outlives them; all of it is in the cgroup tree.
	if err := c.tree.Kill(30 * time.Second); err != nil {
		return err
	}
	if err := c.unmount(); err != nil {
		return err
	}
	if err := network.Remove(); err != nil {
		return err
	}
	if err := c.tree.Remove(10 * time.Second); err != nil {
		return err
	}
	if err := kernel.Restore(c.Layout.Path("kernel.json")); err != nil {
		return err
	}
	if err := os.RemoveAll(c.Layout.State); err != nil {
		return fmt.Errorf("remove %s: %w", c.Layout.State, err)
	}
	if remains := c.Remains(); len(remains) > 0 {
		return fmt.Errorf("still there: %s", strings.Join(remains, ", "))
	}
	return nil
}

// ending leaves out the forwarder, which holds the mounts and needs no time to end: the cgroup's end is its own.
func ending(records []process.Record) []process.Record {
	var others []process.Record
	for _, record := range records {
		if record.Name != "forwarder" {
			others = append(others, record)
		}
	}
	return others
}

// unmount detaches what is mounted below the state directory. The node's own mounts went with its last process;
// these are what somebody mounted there from outside.
func (c *Cluster) unmount() error {
	mounts, err := c.mounts()
	if err != nil {
		return err
	}
	// The last mounted first.
	slices.Reverse(mounts)
	for _, mount := range mounts {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", mount, err)
		}
	}
	return nil
}

func (c *Cluster) mounts() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return mountsBelow(string(text), c.Layout.State), nil
}

// mountsBelow reads mount points from mountinfo, where blanks in paths are written as octal escapes.
func mountsBelow(mountinfo, dir string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var below []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if point := unescape.Replace(fields[4]); strings.HasPrefix(point, dir+"/") {
			below = append(below, point)
		}
	}
	return below
}

// Remains lists everything of a cluster that is there; after `down` nothing is.
func (c *Cluster) Remains() []string {
	var remains []string
	if members, err := c.tree.Members(); err != nil || len(members) > 0 {
		remains = append(remains, fmt.Sprintf("processes %v", members))
	}
	for _, namespace := range network.Remains() {
		remains = append(remains, "network namespace "+namespace)
	}
	remains = append(remains, c.tree.Remains()...)
	if mounts, err := c.mounts(); err != nil || len(mounts) > 0 {
		remains = append(remains, fmt.Sprintf("mounts %v", mounts))
	}
	if _, err := os.Lstat(c.Layout.State); err == nil {
		remains = append(remains, c.Layout.State)
	}
	return remains
}
