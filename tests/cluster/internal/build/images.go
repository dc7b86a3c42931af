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

	"cofferdam.dev/tests/cluster/internal/layout"
)

// imageReferences are the images that `up` loads, by the program that each is made around.
var imageReferences = map[string]string{
	"pause":   layout.PauseImage,
	"busybox": layout.BusyboxImage,
	"coredns": layout.DNSImage,
}

// images makes the archives of the images that the cluster itself needs.
func (b Builder) images(built *Built, step string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("busybox is needed for a test image (package busybox-static): %w", err)
	}
	programs := map[string]string{"pause": built.Programs["pause"], "busybox": busybox, "coredns": built.Programs["coredns"]}
	digest := sha256.New()
	writePart(digest, "writer", []byte(built.Hashes[imageWriter.Name]))
	for _, name := range sortedKeys(programs) {
		content, err := hashFile(programs[name])
		if err != nil {
			return err
		}
		writePart(digest, name+" "+imageReferences[name], []byte(content))
	}
	hash := hex.EncodeToString(digest.Sum(nil))[:16]
	dir, err := b.cached("images", hash, step, func(dir string, output io.Writer) error {
		for _, name := range sortedKeys(programs) {
			if err := writeImage(built.Programs["image"], filepath.Join(dir, name+".tar"), name, programs[name], output); err != nil {
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

// writeImage makes one image: the program under /bin, and for busybox also the names of its applets.
func writeImage(writer, archive, name, program string, output io.Writer) error {
	arguments := []string{
		"--output", archive, "--reference", imageReferences[name], "--env", "PATH=/bin",
		"--entrypoint", "/bin/" + name, "file:" + program + ":/bin/" + name + ":0755",
	}
	if name == "busybox" {
		applets, err := appletLinks(program)
		defer os.RemoveAll(applets)
		if err != nil {
			return err
		}
		arguments = append(arguments, "dir:"+applets)
	}
	command := exec.Command(writer, arguments...)
	command.Stdout, command.Stderr = output, output
	return command.Run()
}

// appletLinks makes a directory with a link to busybox under each name by which it may be called, and a place for
// temporary files. The directory is to be removed by the caller, also on error.
func appletLinks(busybox string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "cofferdam-busybox-"); err != nil {
		return "", err
	}
	for path, mode := range map[string]os.FileMode{"bin": 0o755, "tmp": 0o777 | os.ModeSticky} {
		if err := os.Mkdir(filepath.Join(dir, path), mode); err != nil {
			return dir, err
		}
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			return dir, err
		}
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return dir, fmt.Errorf("list busybox's applets: %w", err)
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			return dir, err
		}
	}
	return dir, nil
}
