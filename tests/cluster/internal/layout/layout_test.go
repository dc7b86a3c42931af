package layout

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStateMustBeAPlaceThatTheNodeSees(t *testing.T) {
	for state, accepted := range map[string]bool{
		"/var/tmp/cofferdam": true, "/home/somebody/state": true, "/var/library/x": true,
		"relative/path": false, "/": false, "/tmp": false, "": false, "/a/..": false,
		"/run/cofferdam": false, "/var/run/x": false, "/var/lib/cofferdam": false, "/var/log": false, "/proc/self": false,
	} {
		if err := checkState(state); (err == nil) != accepted {
			t.Errorf("state %q: %v, want accepted %v", state, err, accepted)
		}
	}
}

func TestSourceIsFoundFromBelowAndAbove(t *testing.T) {
	checkout := t.TempDir()
	source := filepath.Join(checkout, "tests", "cluster")
	inside := filepath.Join(source, "internal", "layout")
	for _, dir := range []string{filepath.Join(source, "components", "kubernetes"), inside} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, working := range []string{checkout, filepath.Join(checkout, "tests"), source, inside} {
		t.Chdir(working)
		if found := findSource(); found != source {
			t.Errorf("from %s found %q", working, found)
		}
	}
	t.Setenv("COFFERDAM_SOURCE", "/elsewhere")
	if found := findSource(); found != "/elsewhere" {
		t.Errorf("the environment was not heeded: %q", found)
	}
}
