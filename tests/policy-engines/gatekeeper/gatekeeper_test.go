// Package gatekeeper shows what the controller builds, and what it must not, to Gatekeeper's own engine.
package gatekeeper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cofferdam.dev/tests/policy-engines/sandbox"
)

const policy = sandbox.Root + "/deploy/gatekeeper/sandbox-pods.yaml"

// violation is what gator prints of a refusal.
type violation struct {
	Message string         `json:"msg"`
	Object  sandbox.Object `json:"violatingObject"`
}

func TestTheBuiltPodAndJobPass(t *testing.T) {
	job := sandbox.Built(t)
	if found := judge(t, job, sandbox.Pod(job)); len(found) > 0 {
		t.Errorf("refused: %v", found)
	}
}

func TestEverySpoiledPodAndJobIsRefusedForItsOwnFault(t *testing.T) {
	sandbox.EachSpoiled(t, func(t *testing.T, objects ...sandbox.Object) func(object, message string) string {
		found := judge(t, objects...)
		return func(object, message string) string {
			if slices.ContainsFunc(found[object], func(m string) bool { return strings.Contains(m, message) }) {
				return ""
			}
			return fmt.Sprintf("%q is not among %q", message, found[object])
		}
	})
}

func TestNamespacesWithoutSandboxesAreLeftAlone(t *testing.T) {
	bad := sandbox.EverySpoiled()[0]
	object := bad.Of(sandbox.Pod(sandbox.Built(t)))
	if found := judge(t, object); len(found) == 0 {
		t.Fatal("the control passes where sandboxes are allowed")
	}
	sandbox.At(object, "metadata")["namespace"] = sandbox.Elsewhere
	if found := judge(t, object); len(found) > 0 {
		t.Errorf("refused elsewhere: %v", found)
	}
}

// judge shows objects to the policy; gives the messages by kind and name of what is refused.
func judge(t *testing.T, objects ...sandbox.Object) map[string][]string {
	t.Helper()
	gator := os.Getenv("COFFERDAM_GATOR")
	if gator == "" {
		t.Fatal("COFFERDAM_GATOR does not say where gator is: run make e2e-policy-engines")
	}
	shown := filepath.Join(t.TempDir(), "shown.yaml")
	if err := sandbox.Write(shown, append(sandbox.Namespaces(), objects...)...); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(gator, "test", "--filename", policy, "--filename", shown, "--output", "json")
	var output, complaints bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaints
	err := command.Run()
	var violations []violation
	if output.Len() > 0 {
		if err := json.Unmarshal(output.Bytes(), &violations); err != nil {
			t.Fatalf("%v in %s", err, output.String())
		}
	}
	if (err != nil) != (len(violations) > 0) {
		t.Fatalf("gator: %v, yet %d violations; %s", err, len(violations), complaints.String())
	}
	found := map[string][]string{}
	for _, violation := range violations {
		name, _ := sandbox.At(violation.Object, "metadata")["name"].(string)
		kind, _ := violation.Object["kind"].(string)
		found[kind+" "+name] = append(found[kind+" "+name], violation.Message)
	}
	return found
}
