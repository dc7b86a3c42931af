// Package sandbox has what policy engines are shown: the Job that the controller builds, its pod, and what a bad one
// would look like.
package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// Namespace is where the built Job lives.
const Namespace = "tenant-a"

// Containers are those of a sandbox's pod.
var Containers = []string{"agent", "prepare", "sidecar"}

// The Job is not a copy: it is the snapshot that the controller's own test holds its builder to.
const snapshot = "src/controller/agent_run/workload/snapshots/" +
	"cofferdam_controller__agent_run__workload__tests__the_job_of_a_run.snap"

// Object is a Kubernetes object, or a part of one.
type Object = map[string]any

// Job gives a copy of the Job that the controller builds; root is the repository's.
func Job(root string) (Object, error) {
	text, err := os.ReadFile(filepath.Join(root, snapshot))
	if err != nil {
		return nil, err
	}
	// A snapshot is a head of its own between two rules, and then the document.
	parts := bytes.SplitN(text, []byte("---\n"), 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("%s is not a snapshot: no document after its head", snapshot)
	}
	job := Object{}
	if err := yaml.Unmarshal(parts[2], &job); err != nil {
		return nil, fmt.Errorf("%s: %w", snapshot, err)
	}
	if job["kind"] != "Job" {
		return nil, fmt.Errorf("%s holds a %v, not a Job", snapshot, job["kind"])
	}
	return job, nil
}

// Pod gives the pod of a Job, as the job-controller makes it and as the controller tries it.
func Pod(job Object) Object {
	template := Copy(At(job, "spec", "template"))
	metadata := At(template, "metadata")
	metadata["name"] = At(job, "metadata")["name"]
	metadata["namespace"] = At(job, "metadata")["namespace"]
	return Object{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
}

// PodSpec gives the pod's spec in a Job or a Pod, to be changed in place.
func PodSpec(object Object) Object {
	if object["kind"] == "Job" {
		return At(object, "spec", "template", "spec")
	}
	return At(object, "spec")
}

// Container gives one container of a pod's spec, to be changed in place.
func Container(spec Object, name string) Object {
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := spec[list].([]any)
		for _, entry := range containers {
			if container, ok := entry.(Object); ok && container["name"] == name {
				return container
			}
		}
	}
	panic("the pod has no container " + name)
}

// Rename gives a copy of object under another name.
func Rename(object Object, name string) Object {
	renamed := Copy(object)
	At(renamed, "metadata")["name"] = name
	return renamed
}

// NamespaceObject is a namespace, labelled for sandboxes or not.
func NamespaceObject(name string, sandboxes bool) Object {
	labels := Object{"kubernetes.io/metadata.name": name}
	if sandboxes {
		labels["cofferdam.dev/sandbox"] = "enabled"
	}
	return Object{"apiVersion": "v1", "kind": "Namespace", "metadata": Object{"name": name, "labels": labels}}
}

// At walks into an object; a path that is not there is a mistake of the test.
func At(object Object, path ...string) Object {
	for _, step := range path {
		next, ok := object[step].(Object)
		if !ok {
			panic("no " + strings.Join(path, ".") + " in the object")
		}
		object = next
	}
	return object
}

// Copy gives a deep copy.
func Copy(object Object) Object {
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	copied := Object{}
	if err := json.Unmarshal(text, &copied); err != nil {
		panic(err)
	}
	return copied
}

// Write writes objects as one file of YAML documents.
func Write(path string, objects ...Object) error {
	var text bytes.Buffer
	for _, object := range objects {
		document, err := yaml.Marshal(object)
		if err != nil {
			return err
		}
		text.WriteString("---\n")
		text.Write(document)
	}
	return os.WriteFile(path, text.Bytes(), 0o600)
}
