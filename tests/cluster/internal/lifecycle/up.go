package lifecycle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cofferdam.dev/tests/cluster/internal/build"
	"cofferdam.dev/tests/cluster/internal/kernel"
	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/network"
	"cofferdam.dev/tests/cluster/internal/node"
	"cofferdam.dev/tests/cluster/internal/objects"
)

// Up builds what is missing and brings the cluster to the wanted state, from whatever state it is in.
func (c *Cluster) Up(ctx context.Context, networkPolicy bool) error {
	if err := checkMachine(); err != nil {
		return err
	}
	built, err := build.Builder{Layout: c.Layout, Output: c.Output}.Build()
	if err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	configuration, err := c.configuration()
	if err != nil {
		return err
	}
	current, err := c.load()
	if err != nil {
		c.say("%v: starting anew", err)
	}
	if reason := stale(current, built, configuration); reason != "" {
		if current != nil {
			c.say("the cluster is started anew: %s", reason)
		}
		return c.start(ctx, built, configuration, networkPolicy)
	}
	return c.adjust(ctx, current, built, networkPolicy)
}

// replaceable are the components that can be exchanged while the cluster runs: two processes, and the images of its
// own pods with what these are made of.
var replaceable = map[string]bool{"enforcer": true, "internet": true, "images": true, "pause": true, "image": true}

// stale says why a recorded cluster cannot go on, or nothing.
func stale(current *state, built build.Built, configuration string) string {
	switch {
	case current == nil:
		return "there is none"
	case !current.Complete:
		return "an earlier start did not come to its end"
	case current.Configuration != configuration:
		return "its configuration changed"
	}
	if dead := current.dead(); len(dead) > 0 {
		return fmt.Sprintf("%v ended", dead)
	}
	var changed []string
	for name, hash := range built.Hashes {
		if !replaceable[name] && current.Builds[name] != hash {
			changed = append(changed, name)
		}
	}
	if len(changed) > 0 {
		slices.Sort(changed)
		return strings.Join(changed, ", ") + " changed"
	}
	return ""
}

// configuration is a hash of everything but the programs: files, command lines, objects.
func (c *Cluster) configuration() (string, error) {
	digest := sha256.New()
	files, err := node.RenderAll(c.Layout)
	if err != nil {
		return "", err
	}
	manifests, err := objects.Render(c.Layout)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(digest, "%q %q", files, manifests)
	for _, process := range node.All(c.Layout) {
		fmt.Fprintf(digest, "%q", process.Command)
	}
	return hex.EncodeToString(digest.Sum(nil))[:16], nil
}

// start cleans up what an earlier cluster left and makes a new one.
func (c *Cluster) start(ctx context.Context, built build.Built, configuration string, networkPolicy bool) error {
	began := time.Now()
	if err := c.clean(); err != nil {
		return fmt.Errorf("clean up after an earlier cluster: %w", err)
	}
	if err := c.prepare(built); err != nil {
		return err
	}
	s := &state{StartedAt: began, NetworkPolicy: networkPolicy, Builds: built.Hashes, Configuration: configuration}
	if err := c.save(s); err != nil {
		return err
	}
	if err := c.startAll(ctx, s, built); err != nil {
		return err
	}
	s.Complete = true
	if err := c.save(s); err != nil {
		return err
	}
	c.say("up in %s", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// prepare makes everything that is needed before the first process.
func (c *Cluster) prepare(built build.Built) error {
	for _, dir := range []string{"logs/runsc", "logs/pods", "host", "kubelet/manifests", "kubelet/volume-plugins", "internet", "bin", "containerd/tmp"} {
		if err := os.MkdirAll(c.Layout.Path(dir), 0o755); err != nil {
			return err
		}
	}
	for _, volume := range objects.Volumes {
		if err := makeVolume(c.Layout, volume); err != nil {
			return err
		}
	}
	if err := kernel.Save(c.Layout.Path("kernel.json")); err != nil {
		return err
	}
	if err := kernel.Raise(); err != nil {
		return err
	}
	if err := c.programs(built); err != nil {
		return err
	}
	if err := node.Configure(c.Layout); err != nil {
		return err
	}
	if err := c.tree.Create(); err != nil {
		return err
	}
	return network.Create()
}

// makeVolume gives a static volume an empty directory that any user of a pod may be given.
func makeVolume(place layout.Layout, name string) error {
	dir := place.Path("volumes", name)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o777)
}

// checkMachine fails early, and says how to get what is missing.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("the cluster needs root: it makes network namespaces, mounts and cgroups")
	}
	for program, debian := range map[string]string{
		"runc": "runc", "iptables": "iptables", "nft": "nftables", "ip": "iproute2",
		"go": "golang", "mount": "mount",
	} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing; on Debian it is in the package %s", program, debian)
		}
	}
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the CNI plugins are missing; on Debian they are in the package containernetworking-plugins")
}

// apply sends the objects that every cluster has to the API server.
func (c *Cluster) apply(ctx context.Context) error {
	manifests, err := objects.Render(c.Layout)
	if err != nil {
		return err
	}
	return c.kubectl(ctx, manifests, "apply", "--server-side", "--force-conflicts", "-f", "-")
}

// kubectl runs as the administrator, with the input.
func (c *Cluster) kubectl(ctx context.Context, input []byte, arguments ...string) error {
	command := exec.CommandContext(ctx, c.Layout.Bin("kubectl"), append([]string{"--kubeconfig", c.Layout.Kubeconfig()}, arguments...)...)
	command.Stdin = bytes.NewReader(input)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", arguments[0], err, output)
	}
	return nil
}
