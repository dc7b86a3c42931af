package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"cofferdam.dev/tests/cluster/internal/build"
	"cofferdam.dev/tests/cluster/internal/oci"
)

// Load imports OCI archives into containerd, but for those whose images are there with the same digest.
func (c *Cluster) Load(archives []string) error {
	current, err := c.load()
	if err != nil {
		return err
	}
	if current == nil {
		return fmt.Errorf("there is no cluster; `cluster up` makes one")
	}
	present, err := c.present()
	if err != nil {
		return err
	}
	for _, archive := range archives {
		images, err := oci.Contents(archive)
		if err != nil {
			return err
		}
		if allPresent(images, present) {
			c.report("unchanged", images)
			continue
		}
		if _, err := c.ctr("images", "import", archive); err != nil {
			return err
		}
		c.report("loaded", images)
	}
	return nil
}

func (c *Cluster) report(what string, images []oci.Named) {
	for _, image := range images {
		c.say("%s %s %s", what, image.Reference, image.Digest)
	}
}

func allPresent(images []oci.Named, present map[string]string) bool {
	for _, image := range images {
		if present[image.Reference] != image.Digest {
			return false
		}
	}
	return true
}

// present maps each image's reference in containerd to its digest.
func (c *Cluster) present() (map[string]string, error) {
	listing, err := c.ctr("images", "list")
	if err != nil {
		return nil, err
	}
	return parseListing(listing), nil
}

// parseListing reads ctr's table: a header, then lines of reference, type, digest and more.
func parseListing(listing string) map[string]string {
	present := map[string]string{}
	for line := range strings.Lines(listing) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && strings.HasPrefix(fields[2], "sha256:") {
			present[fields[0]] = fields[2]
		}
	}
	return present
}

// loadOwn waits for containerd and loads the images that the cluster itself needs.
func (c *Cluster) loadOwn(ctx context.Context, built build.Built) error {
	err := poll(ctx, time.Minute, func(context.Context) (bool, error) {
		_, err := c.ctr("version")
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("containerd is not ready: %w", err)
	}
	return c.Load(slices.Sorted(maps.Values(built.Images)))
}

func (c *Cluster) ctr(arguments ...string) (string, error) {
	output, err := exec.Command(c.Layout.Bin("ctr"), arguments...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(arguments, " "), err, output)
	}
	return string(output), nil
}
