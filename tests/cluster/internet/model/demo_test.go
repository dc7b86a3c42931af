package model

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemoScriptRepairsTheDemo runs the commands of the demo's script on the demo's project, without an agent: each turn
// is told what the commands of the turn before it said, and at the end the project's tests pass.
func TestDemoScriptRepairsTheDemo(t *testing.T) {
	demo := filepath.Join("..", "..", "..", "..", "examples", "demo")
	data, err := os.ReadFile(filepath.Join(demo, "fix-the-bug.json"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := ParseScript(data)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(demo, "agentrun.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// The gateway's part: whatever is asked is denied.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	project := filepath.Join(t.TempDir(), "project")
	run(t, "cp", "-r", filepath.Join(demo, "project"), project)
	shell := func(command string) string {
		bash := exec.Command("bash", "-c", command)
		bash.Dir = project
		bash.Env = []string{"PATH=" + os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1", "https_proxy=" + proxy.URL}
		// A command that fails is a part of the story: the tests fail at first.
		out, _ := bash.CombinedOutput()
		return string(out)
	}

	if out := shell("python3 -m unittest"); !strings.Contains(out, "FAILED (failures=1)") {
		t.Fatalf("the project is not broken as it should be:\n%s", out)
	}
	heard := string(manifest)
	for index, turn := range script.Turns {
		if _, err := script.next(conversation{turns: index, heard: heard, tools: map[string]bool{"bash": true}}); err != nil {
			t.Fatalf("%v; it was told:\n%s", err, heard)
		}
		heard = ""
		for _, call := range turn.Tools {
			heard += shell(str(call.Arguments["command"]))
		}
	}
	if strings.TrimSpace(heard) != "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT" {
		t.Errorf("the last turn says %q", heard)
	}
	if out := shell("python3 -m unittest"); !strings.Contains(out, "OK") {
		t.Errorf("the project is not repaired:\n%s", out)
	}
	if out := shell("diff -rq . " + absolute(t, filepath.Join(demo, "project"))); strings.Count(out, "\n") != 1 || !strings.Contains(out, "loans.py differ") {
		t.Errorf("more than one file was changed:\n%s", out)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}
