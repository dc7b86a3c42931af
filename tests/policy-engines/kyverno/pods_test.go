package kyverno

import (
	"fmt"
	"path/filepath"
	"testing"

	"cofferdam.dev/tests/policy-engines/sandbox"
)

const sandboxPods = sandbox.Root + "/deploy/kyverno/sandbox-pods.yaml"

func TestTheBuiltPodAndJobPass(t *testing.T) {
	job := sandbox.Built(t)
	verdicts := judge(t, sandboxPods, job, sandbox.Pod(job))
	if len(verdicts) != 2 {
		t.Errorf("%d verdicts on 2 objects", len(verdicts))
	}
	for object, verdict := range verdicts {
		if verdict.result != "pass" {
			t.Errorf("%s: %v", object, verdict)
		}
	}
}

func TestEverySpoiledPodAndJobIsRefusedForItsOwnFault(t *testing.T) {
	sandbox.EachSpoiled(t, func(t *testing.T, objects ...sandbox.Object) func(object, message string) string {
		verdicts := judge(t, sandboxPods, objects...)
		return func(object, message string) string {
			if verdicts[object].says(message) {
				return ""
			}
			return fmt.Sprintf("%v, expected %q", verdicts[object], message)
		}
	})
}

func TestNamespacesWithoutSandboxesAreLeftAlone(t *testing.T) {
	bad := sandbox.EverySpoiled()[0]
	object := bad.Of(sandbox.Pod(sandbox.Built(t)))
	if verdict := judge(t, sandboxPods, object)["Pod "+bad.Name]; verdict.result != "fail" {
		t.Fatalf("the control passes where sandboxes are allowed: %v", verdict)
	}
	sandbox.At(object, "metadata")["namespace"] = sandbox.Elsewhere
	if verdict := judge(t, sandboxPods, object)["Pod "+bad.Name]; verdict.result != "" {
		t.Errorf("judged elsewhere: %v", verdict)
	}
}

// Kyverno carries the Pod Security Standards itself: the pod passes its `restricted` too.
func TestTheBuiltPodAndJobPassKyvernosOwnRestrictedProfile(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "restricted.yaml")
	if err := sandbox.Write(policy, restricted()); err != nil {
		t.Fatal(err)
	}
	job := sandbox.Built(t)
	bad := sandbox.EverySpoiled()[0].Of(sandbox.Pod(job))
	verdicts := judge(t, policy, job, sandbox.Pod(job), bad)
	for _, object := range []sandbox.Object{job, sandbox.Pod(job)} {
		key := object["kind"].(string) + " " + sandbox.At(object, "metadata")["name"].(string)
		if verdicts[key].result != "pass" {
			t.Errorf("%s: %v", key, verdicts[key])
		}
	}
	if key := "Pod " + sandbox.At(bad, "metadata")["name"].(string); verdicts[key].result != "fail" {
		t.Errorf("the control, %s: %v", key, verdicts[key])
	}
}

func restricted() sandbox.Object {
	return sandbox.Object{
		"apiVersion": "kyverno.io/v1",
		"kind":       "ClusterPolicy",
		"metadata":   sandbox.Object{"name": "restricted"},
		"spec": sandbox.Object{
			"background": true,
			"rules": []any{sandbox.Object{
				"name": "restricted",
				"match": sandbox.Object{
					"any": []any{sandbox.Object{"resources": sandbox.Object{"kinds": []any{"Pod"}}}},
				},
				"validate": sandbox.Object{
					"failureAction": "Enforce",
					"podSecurity":   sandbox.Object{"level": "restricted", "version": "latest"},
				},
			}},
		},
	}
}
