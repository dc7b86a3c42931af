package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/lifecycle"
)

// registry stands where upstream has the name of a registry; the image under it is loaded, never pulled.
const registry = "cofferdam.test"

// loadImage gives the node upstream's test image, made around the program that was built from the same module.
func loadImage(ctx context.Context, place layout.Layout, suite suite, programs map[string]string) error {
	list, err := suite.command(ctx, "--list-images").Output()
	if err != nil {
		return fmt.Errorf("list the images of the cases: %w", err)
	}
	reference := newest(string(list))
	if reference == "" {
		return fmt.Errorf("the cases use no image %s/agnhost", registry)
	}
	archive := filepath.Join(suite.logs, "agnhost.tar")
	output, err := exec.CommandContext(ctx, programs["image"], "--output", archive, "--reference", reference,
		"--entrypoint", "/agnhost", "file:"+programs["agnhost"]+":/agnhost:0755").CombinedOutput()
	if err != nil {
		return fmt.Errorf("image %s: %w: %s", reference, err, output)
	}
	cluster, err := lifecycle.New(place, os.Stderr)
	if err != nil {
		return err
	}
	return cluster.Load([]string{archive})
}

// newest is the test image with the highest version; upstream lists an older one too, which no case here uses.
func newest(list string) string {
	var found []string
	for line := range strings.Lines(list) {
		if strings.HasPrefix(strings.TrimSpace(line), registry+"/agnhost:") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.MaxFunc(found, func(a, b string) int { return slices.CompareFunc(version(a), version(b), cmp.Compare) })
}

func version(reference string) []int {
	_, tag, _ := strings.Cut(reference, ":")
	var parts []int
	for part := range strings.SplitSeq(tag, ".") {
		number, _ := strconv.Atoi(part)
		parts = append(parts, number)
	}
	return parts
}
