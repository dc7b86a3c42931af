// Package kyverno shows what the controller builds, and what it must not, to Kyverno's own engine.
package kyverno

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cofferdam.dev/tests/policy-engines/sandbox"
	"sigs.k8s.io/yaml"
)

// An answer takes seconds. The builds of others may run beside it.
const patience = 2 * time.Minute

// verdict is what Kyverno says of one object under one policy.
type verdict struct {
	// result is `pass`, `fail`, `error` or `skip`; empty: no policy matched.
	result   string
	messages []string
}

func (v verdict) says(message string) bool {
	return v.result == "fail" && strings.Contains(strings.Join(v.messages, "\n"), message)
}

// report is a part of the policy report that the command prints.
type report struct {
	Results []struct {
		Result    string `json:"result"`
		Message   string `json:"message"`
		Resources []struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"resources"`
	} `json:"results"`
}

// judge shows objects to the policies of a file; gives the verdicts by kind and name.
func judge(t *testing.T, policy string, objects ...sandbox.Object) map[string]verdict {
	t.Helper()
	output, err := apply(t, policy, objects...)
	verdicts := map[string]verdict{}
	for line := range strings.Lines(output) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var printed report
		if err := json.Unmarshal([]byte(line), &printed); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		for _, result := range printed.Results {
			for _, object := range result.Resources {
				key := object.Kind + " " + object.Name
				verdict := verdicts[key]
				verdict.messages = append(verdict.messages, result.Message)
				if verdict.result == "" || verdict.result == "pass" {
					verdict.result = result.Result
				}
				verdicts[key] = verdict
			}
		}
	}
	refused := false
	for _, verdict := range verdicts {
		refused = refused || verdict.result == "fail" || verdict.result == "error"
	}
	if (err != nil) != refused {
		t.Fatalf("kyverno: %v, yet its verdicts are %v; it printed %s", err, verdicts, output)
	}
	return verdicts
}

// apply runs `kyverno apply`; gives what it printed, and an error if anything was refused or could not be read.
func apply(t *testing.T, policy string, objects ...sandbox.Object) (string, error) {
	t.Helper()
	kyverno := os.Getenv("COFFERDAM_KYVERNO")
	if kyverno == "" {
		t.Fatal("COFFERDAM_KYVERNO does not say where kyverno is: run make e2e-policy-engines")
	}
	scratch := t.TempDir()
	shown, values := filepath.Join(scratch, "shown.yaml"), filepath.Join(scratch, "values.yaml")
	if err := sandbox.Write(shown, objects...); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Write(values, sandbox.Object{
		"apiVersion": "cli.kyverno.io/v1alpha1",
		"kind":       "Values",
		"namespaces": sandbox.Namespaces(),
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, kyverno, "apply", policy, "--resource", shown, "--values-file", values,
		"--crd-paths", filepath.Join(sandbox.Root, "crds/agentruns.yaml"), "--policy-report", "--output-format", "json")
	// Neither the credentials of whoever runs this, nor a home that would be written to.
	command.Env = append(os.Environ(), "HOME="+scratch, "DOCKER_CONFIG="+scratch)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	if ctx.Err() != nil {
		t.Fatalf("kyverno has not answered in %s; 1.19.1 hangs over a policy that looks at one image twice: see the "+
			"images of %s. It printed %s", patience, policy, output.String())
	}
	return output.String(), err
}

// documents reads the policies of a file in deploy/kyverno.
func documents(t *testing.T, name string) []sandbox.Object {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(sandbox.Root, "deploy/kyverno", name))
	if err != nil {
		t.Fatal(err)
	}
	var policies []sandbox.Object
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		policy := sandbox.Object{}
		if err := yaml.Unmarshal(document, &policy); err != nil {
			t.Fatal(err)
		}
		policies = append(policies, policy)
	}
	return policies
}
