package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam.dev/tests/cluster/internal/layout"
)

// keep is for how long what no build used stays in the cache.
const keep = 14 * 24 * time.Hour

// Built says where everything is.
type Built struct {
	// Programs maps a program's name to its file.
	Programs map[string]string
	// Images maps an image's reference to its archive.
	Images map[string]string
	// Hashes maps a component's name to the hash of what it was made of.
	Hashes map[string]string
}

// Builder builds into the cache what is not there yet.
type Builder struct {
	Layout layout.Layout
	Output io.Writer
}

// Build makes the needed components, and the optional ones that are named.
func (b Builder) Build(optional ...string) (Built, error) {
	if err := b.Layout.RequireSource(); err != nil {
		return Built{}, err
	}
	components, err := selected(optional)
	if err != nil {
		return Built{}, err
	}
	unlock, err := b.lock()
	if err != nil {
		return Built{}, err
	}
	defer unlock()
	version, err := goVersion()
	if err != nil {
		return Built{}, err
	}
	built := Built{Programs: map[string]string{}, Images: map[string]string{}, Hashes: map[string]string{}}
	for index, component := range components {
		hash, err := component.Hash(b.Layout.Source, version)
		if err != nil {
			return Built{}, err
		}
		step := fmt.Sprintf("[%d/%d] %s", index+1, len(components)+1, component.Contents)
		dir, err := b.cached(component.Name, hash, step, func(dir string, output io.Writer) error {
			return component.compile(b.Layout.Source, dir, output)
		})
		if err != nil {
			return Built{}, err
		}
		built.Hashes[component.Name] = hash
		for program := range component.Programs {
			built.Programs[program] = filepath.Join(dir, program)
		}
	}
	step := fmt.Sprintf("[%d/%d] images of pause and CoreDNS", len(components)+1, len(components)+1)
	return built, b.images(&built, step)
}

func selected(optional []string) ([]Component, error) {
	components := append([]Component{}, Needed...)
	for _, name := range optional {
		found := false
		for _, component := range Optional {
			if component.Name == name {
				components, found = append(components, component), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no optional component is called %q", name)
		}
	}
	return components, nil
}

// cached gives the directory of name and hash, made by work if it is not there. It appears whole or not at all:
// work fills a temporary directory, which is then renamed.
func (b Builder) cached(name, hash, step string, work func(dir string, output io.Writer) error) (string, error) {
	final := filepath.Join(b.Layout.Cache, name+"-"+hash)
	now := time.Now()
	if err := os.Chtimes(final, now, now); err == nil {
		return final, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	temporary, err := os.MkdirTemp(b.Layout.Cache, "."+name+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temporary)
	if err := os.Chmod(temporary, 0o755); err != nil {
		return "", err
	}
	var output bytes.Buffer
	done := progress(b.Output, step)
	err = work(temporary, &output)
	done(err)
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, output.String())
	}
	if err := os.Rename(temporary, final); err != nil {
		return "", err
	}
	return final, b.prune(name, filepath.Base(final))
}

// prune removes builds of the same component that have not been used for long.
func (b Builder) prune(name, current string) error {
	entries, err := os.ReadDir(b.Layout.Cache)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		hash, matches := strings.CutPrefix(entry.Name(), name+"-")
		if !matches || len(hash) != 16 || entry.Name() == current {
			continue
		}
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()) < keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(b.Layout.Cache, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// lock keeps two builds from doing the same work side by side.
func (b Builder) lock() (unlock func(), err error) {
	if err := os.MkdirAll(b.Layout.Cache, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(b.Layout.Cache, ".build.lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		fmt.Fprintln(b.Output, "waiting for another build to end")
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			return nil, fmt.Errorf("lock the cache: %w", err)
		}
	}
	return func() { file.Close() }, nil
}
