package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/lifecycle"
	"cofferdam.dev/tests/cluster/internal/oci"
)

// registry stands where upstream has the name of a registry; the image under it is loaded, never pulled.
const registry = "cofferdam.test"

// loadImage gives the node upstream's test image, made around the program that was built from the same module.
func loadImage(ctx context.Context, place layout.Layout, suite suite, program string) error {
	output, err := suite.command(ctx, "--list-images").Output()
	if err != nil {
		return fmt.Errorf("list the images of the cases: %w", err)
	}
	reference := newest(string(output))
	if reference == "" {
		return fmt.Errorf("the cases use no image %s/agnhost", registry)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	archive := filepath.Join(suite.logs, "agnhost.tar")
	image := oci.Image{
		Reference:  reference,
		Files:      []oci.File{{Path: "agnhost", Mode: 0o755, Content: content}, {Path: "tmp", Mode: 0o1777, Directory: true}},
		Entrypoint: []string{"/agnhost"},
	}
	if err := image.Write(archive); err != nil {
		return fmt.Errorf("image %s: %w", reference, err)
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
