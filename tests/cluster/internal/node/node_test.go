package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cofferdam.dev/tests/cluster/internal/layout"
)

var place = layout.Layout{State: "/somewhere/state"}

func TestConfigurationIsFilledAndStaysBelowTheState(t *testing.T) {
	files, err := RenderAll(place)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(configFiles) {
		t.Errorf("%d files of %d", len(files), len(configFiles))
	}
	for name, content := range files {
		if text := string(content); strings.Contains(text, "{{") || strings.Contains(text, "<no value>") {
			t.Errorf("%s is not filled:\n%s", name, text)
		}
	}
	containerd := string(files["config/containerd.toml"])
	for _, line := range []string{`root = "/somewhere/state/containerd/root"`, `address = "/somewhere/state/containerd/containerd.sock"`, `sandbox = "` + layout.PauseImage + `"`} {
		if !strings.Contains(containerd, line) {
			t.Errorf("containerd's configuration lacks %s", line)
		}
	}
	var plugins struct{ Plugins []struct{ Type string } }
	if err := json.Unmarshal(files["cni/10-cofferdam.conflist"], &plugins); err != nil || len(plugins.Plugins) != 2 {
		t.Errorf("network configuration: %v, %v", plugins, err)
	}
}

func TestConfigureWritesEveryFileThatACommandNames(t *testing.T) {
	place := layout.Layout{State: filepath.Join(t.TempDir(), "state")}
	if err := Configure(place); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, process := range All(place) {
		for _, argument := range process.Command {
			_, file, _ := strings.Cut(argument, "=")
			if file == "" {
				file = argument
			}
			for _, kind := range []string{".crt", ".key", ".pub", ".kubeconfig", ".yaml", ".toml"} {
				if strings.HasPrefix(file, place.State) && strings.HasSuffix(file, kind) {
					checked++
					if _, err := os.Stat(file); err != nil {
						t.Errorf("%s: %v", process.Name, err)
					}
				}
			}
		}
	}
	if checked < 15 {
		t.Errorf("only %d files are named: this test looks at the wrong thing", checked)
	}
	outside, err := os.ReadFile(place.Kubeconfig())
	if err != nil || !strings.Contains(string(outside), "https://"+layout.ForwardAddress) {
		t.Errorf("the shell's kubeconfig does not lead to the forwarder: %v", err)
	}
	inside, err := os.ReadFile(place.Path("config/kubelet.kubeconfig"))
	if err != nil || !strings.Contains(string(inside), "https://"+layout.APIAddress) {
		t.Errorf("the kubelet's kubeconfig does not lead to the API server: %v", err)
	}
}
