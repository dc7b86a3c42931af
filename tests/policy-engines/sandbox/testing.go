package sandbox

import "testing"

const (
	// Root is the repository's, as the tests of the engines see it.
	Root = "../../.."
	// Elsewhere is a namespace without the label by which sandboxes are allowed.
	Elsewhere = "back-office"
)

// Built is the Job that the controller builds.
func Built(t *testing.T) Object {
	t.Helper()
	job, err := Job(Root)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// Namespaces are that of the built Job, and Elsewhere.
func Namespaces() []Object {
	return []Object{NamespaceObject(Namespace, true), NamespaceObject(Elsewhere, false)}
}

// EachSpoiled shows the built pod and Job to an engine with every fault, those of one kind at once. What show gives
// says of an object, by kind and name, what is wrong unless it was refused with this message.
func EachSpoiled(t *testing.T, show func(t *testing.T, objects ...Object) func(object, message string) string) {
	t.Helper()
	job := Built(t)
	for _, object := range []Object{Pod(job), job} {
		kind := object["kind"].(string)
		t.Run(kind, func(t *testing.T) {
			spoiled := EverySpoiled()
			shown := make([]Object, 0, len(spoiled))
			for _, bad := range spoiled {
				shown = append(shown, bad.Of(object))
			}
			wrong := show(t, shown...)
			for _, bad := range spoiled {
				t.Run(bad.Name, func(t *testing.T) {
					if what := wrong(kind+" "+bad.Name, bad.Message); what != "" {
						t.Error(what)
					}
				})
			}
		})
	}
}
