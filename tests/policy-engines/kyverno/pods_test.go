package kyverno

import (
	"path/filepath"
	"testing"

	"cofferdam.dev/tests/policy-engines/sandbox"
)

const sandboxPods = root + "/deploy/kyverno/sandbox-pods.yaml"

func TestTheBuiltPodAndJobPass(t *testing.T) {
	job := built(t)
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
	job := built(t)
	for _, object := range []sandbox.Object{sandbox.Pod(job), job} {
		kind := object["kind"].(string)
		t.Run(kind, func(t *testing.T) {
			spoiled := sandbox.EverySpoiled()
			shown := make([]sandbox.Object, 0, len(spoiled))
			for _, bad := range spoiled {
				shown = append(shown, bad.Of(object))
			}
			verdicts := judge(t, sandboxPods, shown...)
			for _, bad := range spoiled {
				t.Run(bad.Name, func(t *testing.T) {
					if verdict := verdicts[kind+" "+bad.Name]; !verdict.says(bad.Message) {
						t.Errorf("%v, expected %q", verdict, bad.Message)
					}
				})
			}
		})
	}
}

func TestNamespacesWithoutSandboxesAreLeftAlone(t *testing.T) {
	bad := sandbox.EverySpoiled()[0]
	object := bad.Of(sandbox.Pod(built(t)))
	if verdict := judge(t, sandboxPods, object)["Pod "+bad.Name]; verdict.result != "fail" {
		t.Fatalf("the control passes where sandboxes are allowed: %v", verdict)
	}
	sandbox.At(object, "metadata")["namespace"] = elsewhere
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
	job := built(t)
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
