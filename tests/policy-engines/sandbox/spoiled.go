package sandbox

import "fmt"

// Spoiled is a bad pod: the built one with one thing changed.
type Spoiled struct {
	// Name tells what was changed; it is also a valid name of an object.
	Name string
	// Message is what both engines' policies say of it.
	Message string
	// Spoil changes a pod's spec.
	Spoil func(spec Object)
}

// Of gives object, a Pod or a Job, with the change and under the change's name.
func (s Spoiled) Of(object Object) Object {
	bad := Rename(object, s.Name)
	s.Spoil(PodSpec(bad))
	return bad
}

// EverySpoiled has each rule of the policies broken in each container, and each rule about the pod as a whole.
func EverySpoiled() []Spoiled {
	var all []Spoiled
	for _, container := range Containers {
		all = append(all, spoiledContainer(container)...)
	}
	return append(all, spoiledPod()...)
}

func spoiledContainer(container string) []Spoiled {
	var all []Spoiled
	add := func(name, message string, spoil func(securityContext Object)) {
		all = append(all, Spoiled{
			Name:    fmt.Sprintf("%s-%s", container, name),
			Message: message + container,
			Spoil: func(spec Object) {
				spoil(At(Container(spec, container), "securityContext"))
			},
		})
	}
	add("privileged", "privileged containers: ", func(context Object) { context["privileged"] = true })
	add("escalates", "allowPrivilegeEscalation is not false in ", func(context Object) {
		context["allowPrivilegeEscalation"] = true
	})
	add("may-escalate", "allowPrivilegeEscalation is not false in ", func(context Object) {
		delete(context, "allowPrivilegeEscalation")
	})
	add("adds-capability", "capabilities that are added, or not all dropped, in ", func(context Object) {
		At(context, "capabilities")["add"] = []any{"NET_ADMIN"}
	})
	add("drops-one", "capabilities that are added, or not all dropped, in ", func(context Object) {
		At(context, "capabilities")["drop"] = []any{"NET_RAW"}
	})
	add("drops-none", "capabilities that are added, or not all dropped, in ", func(context Object) {
		delete(context, "capabilities")
	})
	add("writable-root", "readOnlyRootFilesystem is not true in ", func(context Object) {
		context["readOnlyRootFilesystem"] = false
	})
	add("unsaid-root", "readOnlyRootFilesystem is not true in ", func(context Object) {
		delete(context, "readOnlyRootFilesystem")
	})
	add("uid-0", "containers that may run as root: ", func(context Object) { context["runAsUser"] = 0 })
	add("may-be-root", "containers that may run as root: ", func(context Object) { context["runAsNonRoot"] = false })
	add("unconfined", "no seccomp profile for ", func(context Object) {
		context["seccompProfile"] = Object{"type": "Unconfined"}
	})
	return all
}

func spoiledPod() []Spoiled {
	shares := func(name, field string) Spoiled {
		return Spoiled{
			Name:    name,
			Message: "the pod shares a namespace with its node",
			Spoil:   func(spec Object) { spec[field] = true },
		}
	}
	return []Spoiled{
		shares("host-network", "hostNetwork"),
		shares("host-pid", "hostPID"),
		shares("host-ipc", "hostIPC"),
		{
			Name:    "host-path",
			Message: "directories of the node: leak",
			Spoil: func(spec Object) {
				volumes, _ := spec["volumes"].([]any)
				spec["volumes"] = append(volumes, Object{"name": "leak", "hostPath": Object{"path": "/etc"}})
			},
		},
		{
			Name:    "nothing-said",
			Message: "allowPrivilegeEscalation is not false in agent",
			Spoil:   func(spec Object) { delete(Container(spec, "agent"), "securityContext") },
		},
		{
			Name:    "debugged",
			Message: "allowPrivilegeEscalation is not false in intruder",
			Spoil: func(spec Object) {
				spec["ephemeralContainers"] = []any{Object{"name": "intruder", "image": "images.example/shell:v1"}}
			},
		},
	}
}
