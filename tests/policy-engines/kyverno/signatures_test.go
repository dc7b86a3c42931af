package kyverno

import (
	"path/filepath"
	"strings"
	"testing"

	"cofferdam.dev/tests/policy-engines/sandbox"
	"github.com/google/go-containerregistry/pkg/name"
)

// scene has a registry with a signed runner image, and the policies of signed-images.yaml that trust its signer.
type scene struct {
	shelf  shelf
	team   signer
	runner name.Digest
	policy string
}

func newScene(t *testing.T) scene {
	t.Helper()
	made := scene{shelf: newShelf(t), team: newSigner(t), policy: filepath.Join(t.TempDir(), "policies.yaml")}
	made.runner = made.shelf.push(t, "cofferdam/runner")
	made.team.sign(t, made.runner)
	policies := documents(t, "signed-images.yaml")
	for _, policy := range policies {
		attestors := sandbox.At(policy, "spec")["attestors"].([]any)
		sandbox.At(attestors[0].(sandbox.Object), "cosign", "key")["data"] = made.team.publicKey
	}
	if err := sandbox.Write(made.policy, policies...); err != nil {
		t.Fatal(err)
	}
	return made
}

// job is the built Job with the scene's images.
func (s scene) job(t *testing.T, agent, runner string) sandbox.Object {
	t.Helper()
	job := sandbox.Built(t)
	for container, image := range map[string]string{"agent": agent, "prepare": runner, "sidecar": runner} {
		sandbox.Container(sandbox.PodSpec(job), container)["image"] = image
	}
	return job
}

func agentRun(image string) sandbox.Object {
	return sandbox.Object{
		"apiVersion": "cofferdam.dev/v1alpha1",
		"kind":       "AgentRun",
		"metadata":   sandbox.Object{"name": "mend-roof", "namespace": sandbox.Namespace},
		"spec":       sandbox.Object{"agent": sandbox.Object{"image": image}},
	}
}

func TestOnlySignedImagesReachASandbox(t *testing.T) {
	scene := newScene(t)
	signed := scene.shelf.push(t, "team/agent")
	scene.team.sign(t, signed)
	unsigned := scene.shelf.push(t, "team/unsigned")
	foreign := scene.shelf.push(t, "team/foreign")
	newSigner(t).sign(t, foreign)
	borrowed := scene.shelf.push(t, "team/borrowed")
	scene.team.signAs(t, signed, borrowed)
	runner := scene.runner.String()

	const agentRefused, runnerRefused = "the agent's image is not signed", "the image of prepare or sidecar is not signed"
	for _, test := range []struct {
		name, agent, runner, refusal string
	}{
		{"all signed", signed.String(), runner, ""},
		{"agent not signed", unsigned.String(), runner, agentRefused},
		{"agent signed by someone else", foreign.String(), runner, agentRefused},
		{"agent beside a signature of another image", borrowed.String(), runner, agentRefused},
		{"runner not signed", signed.String(), unsigned.String(), runnerRefused},
		{"agent by its tag", signed.Context().Name() + ":v1", runner, "does not have a digest"},
	} {
		t.Run(test.name, func(t *testing.T) {
			job := scene.job(t, test.agent, test.runner)
			for _, object := range []sandbox.Object{sandbox.Pod(job), job} {
				key := object["kind"].(string) + " " + sandbox.At(object, "metadata")["name"].(string)
				verdict := judge(t, scene.policy, object)[key]
				expect(t, key, verdict, test.refusal)
			}
			if test.refusal == runnerRefused {
				return
			}
			refusal := strings.Replace(test.refusal, agentRefused, "spec.agent.image is not signed", 1)
			expect(t, "AgentRun", judge(t, scene.policy, agentRun(test.agent))["AgentRun mend-roof"], refusal)
		})
	}
}

func expect(t *testing.T, object string, verdict verdict, refusal string) {
	t.Helper()
	switch {
	case refusal == "" && verdict.result != "pass":
		t.Errorf("%s: %v, expected to pass", object, verdict)
	case refusal != "" && !verdict.says(refusal):
		t.Errorf("%s: %v, expected %q", object, verdict, refusal)
	}
}

func TestPodsAndJobsThatAreNotSandboxesAreLeftAlone(t *testing.T) {
	scene := newScene(t)
	unsigned := scene.shelf.push(t, "team/unsigned").String()
	job := scene.job(t, unsigned, scene.runner.String())
	for _, object := range []sandbox.Object{sandbox.Pod(job), job} {
		key := object["kind"].(string) + " " + sandbox.At(object, "metadata")["name"].(string)
		if verdict := judge(t, scene.policy, object)[key]; verdict.result != "fail" {
			t.Fatalf("the control, %s: %v", key, verdict)
		}
		delete(sandbox.At(podMetadata(object), "labels"), "cofferdam.dev/run")
		if verdict := judge(t, scene.policy, object)[key]; verdict.result != "" {
			t.Errorf("%s without the label: %v", key, verdict)
		}
	}
}

// podMetadata is that of the pod that a Job makes, or of the pod.
func podMetadata(object sandbox.Object) sandbox.Object {
	if object["kind"] == "Job" {
		return sandbox.At(object, "spec", "template", "metadata")
	}
	return sandbox.At(object, "metadata")
}

// A pod that is not the one that was built ends its run, so no policy of ours may have Kyverno change it.
func TestNoPolicyChangesPods(t *testing.T) {
	for _, file := range []string{"signed-images.yaml", "signed-images-keyless.yaml"} {
		for _, policy := range documents(t, file) {
			configuration := sandbox.At(policy, "spec", "validationConfigurations")
			if configuration["mutateDigest"] != false || configuration["verifyDigest"] != true {
				t.Errorf("%s: %v", file, configuration)
			}
		}
	}
}

// Without the Sigstore instance there is nothing to verify against: that the policy loads is all that is shown, on a
// pod that it does not match.
func TestTheKeylessPolicyLoads(t *testing.T) {
	pod := sandbox.Pod(sandbox.Built(t))
	delete(sandbox.At(pod, "metadata", "labels"), "cofferdam.dev/run")
	path := filepath.Join(sandbox.Root, "deploy/kyverno/signed-images-keyless.yaml")
	if output, err := apply(t, path, pod); err != nil {
		t.Errorf("%v: %s", err, output)
	}
	broken := documents(t, "signed-images-keyless.yaml")
	validation := sandbox.At(broken[0], "spec")["validations"].([]any)[0].(sandbox.Object)
	validation["expression"] = "images.containers.map(image, verifySomethingElse(image))"
	path = filepath.Join(t.TempDir(), "broken.yaml")
	if err := sandbox.Write(path, broken...); err != nil {
		t.Fatal(err)
	}
	if output, err := apply(t, path, pod); err == nil && !strings.Contains(output, "Invalid") {
		t.Errorf("the control loads: %s", output)
	}
}
