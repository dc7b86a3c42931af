package build

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cofferdam.dev/tests/cluster/internal/layout"
)

func builder(t *testing.T) (Builder, *strings.Builder) {
	t.Helper()
	output := &strings.Builder{}
	return Builder{Layout: layout.Layout{Cache: t.TempDir()}, Output: output}, output
}

func contents(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

func TestCachedIsMadeOnce(t *testing.T) {
	b, output := builder(t)
	made := 0
	work := func(dir string, _ io.Writer) error {
		made++
		return os.WriteFile(filepath.Join(dir, "program"), []byte("x"), 0o755)
	}
	var dirs [2]string
	for i := range dirs {
		dir, err := b.cached("part", "0123456789abcdef", "[1/1] part", work)
		if err != nil {
			t.Fatal(err)
		}
		dirs[i] = dir
	}
	if made != 1 || dirs[0] != dirs[1] || contents(t, dirs[0]) != "program" {
		t.Errorf("made %d times, in %v", made, dirs)
	}
	if got := output.String(); !strings.HasPrefix(got, "[1/1] part: building\n[1/1] part: built in ") || strings.Count(got, "\n") != 2 {
		t.Errorf("progress: %q", got)
	}
}

func TestFailedBuildLeavesNothingAndSaysWhy(t *testing.T) {
	b, output := builder(t)
	_, err := b.cached("part", "0123456789abcdef", "[1/1] part", func(dir string, output io.Writer) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o644); err != nil {
			return err
		}
		io.WriteString(output, "main.go:7: what the compiler said")
		return errors.New("exit status 1")
	})
	if err == nil || !strings.Contains(err.Error(), "what the compiler said") || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("error: %v", err)
	}
	if !strings.Contains(output.String(), "failed after") {
		t.Errorf("progress: %q", output)
	}
	if left := contents(t, b.Layout.Cache); left != "" {
		t.Errorf("left in the cache: %s", left)
	}
}

func TestOnlyOldBuildsOfTheSamePartArePruned(t *testing.T) {
	b, _ := builder(t)
	ages := map[string]time.Duration{
		"part-aaaaaaaaaaaaaaaa": 2 * keep, "part-bbbbbbbbbbbbbbbb": keep / 2, "part-other-cccccccccccc": 2 * keep,
		"apart-dddddddddddddddd": 2 * keep, "part": 2 * keep,
	}
	for name, age := range ages {
		path := filepath.Join(b.Layout.Cache, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Now(), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.cached("part", "0123456789abcdef", "part", func(string, io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, b.Layout.Cache), "apart-dddddddddddddddd part part-0123456789abcdef part-bbbbbbbbbbbbbbbb part-other-cccccccccccc"; got != want {
		t.Errorf("kept %s\nwant %s", got, want)
	}
}

func TestOptionalComponentsAreBuiltByName(t *testing.T) {
	components, err := selected([]string{"network-policy-cases"})
	if err != nil || len(components) != len(Needed)+1 {
		t.Errorf("%d components, %v", len(components), err)
	}
	if _, err := selected([]string{"unheard-of"}); err == nil || !strings.Contains(err.Error(), "unheard-of") {
		t.Errorf("error: %v", err)
	}
}
