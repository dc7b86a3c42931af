package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"

	"cofferdam.dev/tests/cluster/internal/layout"
)

// imageReferences are the images that `up` loads, by the program that each is made around.
var imageReferences = map[string]string{
	"pause":   layout.PauseImage,
	"coredns": layout.DNSImage,
}

// images makes the archives of the images that the cluster itself needs.
func (b Builder) images(built *Built, step string) error {
	digest := sha256.New()
	writePart(digest, "writer", []byte(built.Hashes[imageWriter.Name]))
	for _, name := range sortedKeys(imageReferences) {
		content, err := hashFile(built.Programs[name])
		if err != nil {
			return err
		}
		writePart(digest, name+" "+imageReferences[name], []byte(content))
	}
	hash := hex.EncodeToString(digest.Sum(nil))[:16]
	dir, err := b.cached("images", hash, step, func(dir string, output io.Writer) error {
		for _, name := range sortedKeys(imageReferences) {
			if err := writeImage(built.Programs["image"], filepath.Join(dir, name+".tar"), name, built.Programs[name], output); err != nil {
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

// writeImage makes one image: the program under /bin and nothing else.
func writeImage(writer, archive, name, program string, output io.Writer) error {
	command := exec.Command(writer, "--output", archive, "--reference", imageReferences[name], "--env", "PATH=/bin",
		"--entrypoint", "/bin/"+name, "file:"+program+":/bin/"+name+":0755")
	command.Stdout, command.Stderr = output, output
	return command.Run()
}
