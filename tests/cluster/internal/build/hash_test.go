package build

import (
	"os"
	"path/filepath"
	"testing"
)

func sample(t *testing.T) (string, Component) {
	t.Helper()
	source := t.TempDir()
	for name, content := range map[string]string{
		"part/go.mod": "module part", "part/go.sum": "sum", "part/cmd/main.go": "package main",
		"part/cmd/main_test.go": "package main", "part/README.md": "words", "part/other/other.go": "package other",
	} {
		write(t, filepath.Join(source, name), content)
	}
	return source, Component{
		Name: "part", Module: "part", Sources: []string{"cmd"}, Programs: map[string]string{"part": "./cmd"}, Tags: "small",
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustHash(t *testing.T, c Component, source, version string) string {
	t.Helper()
	hash, err := c.Hash(source, version)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestHashChangesWithEveryInput(t *testing.T) {
	source, component := sample(t)
	base := mustHash(t, component, source, "go1")
	if again := mustHash(t, component, source, "go1"); again != base {
		t.Fatalf("the same inputs gave %s and %s", base, again)
	}
	for name, change := range map[string]func(c *Component, source string) string{
		"compiler":        func(*Component, string) string { return "go2" },
		"module file":     func(_ *Component, s string) string { write(t, s+"/part/go.mod", "module part2"); return "go1" },
		"sums":            func(_ *Component, s string) string { write(t, s+"/part/go.sum", "sum2"); return "go1" },
		"source":          func(_ *Component, s string) string { write(t, s+"/part/cmd/main.go", "package main2"); return "go1" },
		"new source":      func(_ *Component, s string) string { write(t, s+"/part/cmd/more.go", "package main"); return "go1" },
		"tags":            func(c *Component, _ string) string { c.Tags = "large"; return "go1" },
		"package":         func(c *Component, _ string) string { c.Programs = map[string]string{"part": "./x"}; return "go1" },
		"versions":        func(c *Component, _ string) string { c.Versions = []Version{{"a", "b", All}}; return "go1" },
		"replaced file":   func(c *Component, _ string) string { c.Replaced = map[string]string{"a": "b"}; return "go1" },
		"further sources": func(c *Component, _ string) string { c.Sources = []string{"cmd", "other"}; return "go1" },
	} {
		t.Run(name, func(t *testing.T) {
			source, component := sample(t)
			version := change(&component, source)
			if mustHash(t, component, source, version) == base {
				t.Error("the hash did not change")
			}
		})
	}
}

func TestHashIgnoresWhatIsNotCompiled(t *testing.T) {
	source, component := sample(t)
	base := mustHash(t, component, source, "go1")
	for _, name := range []string{"part/cmd/main_test.go", "part/cmd/NOTES.md", "part/other/other.go", "part/cmd/.swap"} {
		write(t, filepath.Join(source, name), "changed")
		if mustHash(t, component, source, "go1") != base {
			t.Errorf("%s changed the hash", name)
		}
	}
}

func TestHashFailsWithoutSources(t *testing.T) {
	source, component := sample(t)
	component.Sources = []string{"absent"}
	if hash, err := component.Hash(source, "go1"); err == nil {
		t.Errorf("a hash %s of sources that do not exist", hash)
	}
}
