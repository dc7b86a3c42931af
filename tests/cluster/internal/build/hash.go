package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// format is part of every hash; raise it when the way of building changes in a manner that no input shows.
const format = "1"

// Hash is that of everything the component is made of: module files, sources, replaced files, flags, compiler.
func (c Component) Hash(source, goVersion string) (string, error) {
	digest := sha256.New()
	for _, part := range append([]string{format, goVersion, c.Name, c.Tags, linkerFlags, fmt.Sprint(c.Versions)}, flags...) {
		writePart(digest, "text", []byte(part))
	}
	for _, program := range sortedKeys(c.Programs) {
		writePart(digest, "program "+program, []byte(c.Programs[program]))
	}
	for _, replaced := range sortedKeys(c.Replaced) {
		writePart(digest, "replaced "+replaced, []byte(c.Replaced[replaced]))
	}
	module := filepath.Join(source, c.Module)
	files, err := c.files(module)
	if err != nil {
		return "", err
	}
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", fmt.Errorf("hash %s: %w", c.Name, err)
		}
		writePart(digest, "file "+name, content)
	}
	return hex.EncodeToString(digest.Sum(nil))[:16], nil
}

// writePart writes name and content with their lengths, so that no two sequences of parts read the same.
func writePart(digest hash.Hash, name string, content []byte) {
	fmt.Fprintf(digest, "%d %s %d ", len(name), name, len(content))
	digest.Write(content)
}

// files are the names, relative to the module, of all that enters the hash. Tests and documents do not: changing
// one must not build again.
func (c Component) files(module string) ([]string, error) {
	names := map[string]bool{"go.mod": true, "go.sum": true}
	if _, err := os.Stat(filepath.Join(module, "go.sum")); err != nil {
		delete(names, "go.sum")
	}
	for _, source := range c.Sources {
		err := filepath.WalkDir(filepath.Join(module, source), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !compiled(entry.Name()) {
				return err
			}
			name, err := filepath.Rel(module, path)
			names[name] = true
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("sources of %s: %w", c.Name, err)
		}
	}
	return sortedKeys(names), nil
}

func compiled(name string) bool {
	return !strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(name, ".md") && !strings.HasPrefix(name, ".")
}

func sortedKeys[V any](of map[string]V) []string {
	keys := make([]string, 0, len(of))
	for key := range of {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}
