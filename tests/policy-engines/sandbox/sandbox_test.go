package sandbox

import (
	"reflect"
	"testing"
)

const root = "../../.."

func TestTheBuiltJobIsRead(t *testing.T) {
	job, err := Job(root)
	if err != nil {
		t.Fatal(err)
	}
	pod := Pod(job)
	if At(pod, "metadata")["namespace"] != Namespace {
		t.Errorf("the pod's namespace is %v", At(pod, "metadata")["namespace"])
	}
	for _, name := range Containers {
		if Container(PodSpec(pod), name)["image"] == nil {
			t.Errorf("%s has no image", name)
		}
	}
	if !reflect.DeepEqual(PodSpec(pod), PodSpec(job)) {
		t.Error("the pod is not the Job's")
	}
}

func TestEverySpoiledPodDiffersFromTheBuiltOneAndLeavesItAlone(t *testing.T) {
	job, err := Job(root)
	if err != nil {
		t.Fatal(err)
	}
	pristine := Copy(job)
	names := map[string]bool{}
	for _, spoiled := range EverySpoiled() {
		if names[spoiled.Name] {
			t.Errorf("%s is there twice", spoiled.Name)
		}
		names[spoiled.Name] = true
		for _, object := range []Object{job, Pod(job)} {
			if reflect.DeepEqual(PodSpec(spoiled.Of(object)), PodSpec(object)) {
				t.Errorf("%s changes nothing of a %v", spoiled.Name, object["kind"])
			}
		}
	}
	if !reflect.DeepEqual(job, pristine) {
		t.Error("the built Job was changed")
	}
}

func TestAJobThatIsNotThereIsAnError(t *testing.T) {
	if _, err := Job(t.TempDir()); err == nil {
		t.Error("no error")
	}
}
