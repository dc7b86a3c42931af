package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cofferdam.dev/tests/cluster/internal/oci"
)

// images makes the archives of the images that the cluster itself needs.
func (b Builder) images(built *Built, step string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("busybox is needed for a test image (package busybox-static): %w", err)
	}
	programs := map[string]string{"pause": built.Programs["pause"], "busybox": busybox, "coredns": built.Programs["coredns"]}
	digest := sha256.New()
	for _, name := range sortedKeys(programs) {
		content, err := hashFile(programs[name])
		if err != nil {
			return err
		}
		writePart(digest, name+" "+imageReferences[name], []byte(content))
	}
	hash := hex.EncodeToString(digest.Sum(nil))[:16]
	dir, err := b.cached("images", hash, step, func(dir string, _ io.Writer) error {
		for _, name := range sortedKeys(programs) {
			if err := writeImage(filepath.Join(dir, name+".tar"), name, programs[name]); err != nil {
				return fmt.Errorf("image of %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	built.Hashes["images"] = hash
	for name, reference := range imageReferences {
		built.Images[reference] = filepath.Join(dir, name+".tar")
	}
	return nil
}

func writeImage(archive, name, program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	image := oci.Image{
		Reference:  imageReferences[name],
		Files:      []oci.File{{Path: "bin/" + name, Mode: 0o755, Content: content}},
		Entrypoint: []string{"/bin/" + name},
	}
	if name == "busybox" {
		applets, err := exec.Command(program, "--list").Output()
		if err != nil {
			return fmt.Errorf("list busybox's applets: %w", err)
		}
		for applet := range strings.FieldsSeq(string(applets)) {
			if applet != "busybox" {
				image.Files = append(image.Files, oci.File{Path: "bin/" + applet, Link: "busybox"})
			}
		}
		image.Files = append(image.Files, oci.File{Path: "tmp", Mode: 0o1777, Directory: true})
		image.Entrypoint = []string{"/bin/sh"}
	}
	return image.Write(archive)
}
