// Package build makes the programs and images of the test cluster and keeps them by the hash of what they are made of.
package build

// Component is a set of programs built from one Go module.
type Component struct {
	Name string
	// Contents is what progress lines call it.
	Contents string
	// Module is its directory below tests/cluster.
	Module string
	// Sources are the files and directories in the module, beside go.mod and go.sum, that it is made of.
	Sources []string
	// Programs maps the name of each program to its package.
	Programs map[string]string
	Tags     string
	// Versions maps a string variable, by its full name, to the module whose version it is to hold, and how to
	// write it; the modules' own release builds set them in the same way.
	Versions []Version
	// Replaced maps a file of the vendored modules to the file, in the module, that is compiled in its place.
	Replaced map[string]string
}

// Version is a string variable that the linker sets.
type Version struct {
	Variable string
	// Module is the one in go.mod whose version is meant.
	Module string
	// Part is all of it ("v1.2.3") or one number of it.
	Part Part
}

// Part of a version.
type Part int

// All of "v1.2.3" is itself, Major is 1 and Minor is 2.
const (
	All Part = iota
	Major
	Minor
)

// flags are those of every build; a change of them is a change of every hash.
var flags = []string{"-trimpath"}

const linkerFlags = "-s -w"

const modules = "components/"

var (
	containerd = Component{
		Name: "containerd", Contents: "containerd, its runc shim, ctr", Module: modules + "containerd",
		Programs: map[string]string{
			"containerd":              "github.com/containerd/containerd/v2/cmd/containerd",
			"containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
			"ctr":                     "github.com/containerd/containerd/v2/cmd/ctr",
		},
		Tags: "no_btrfs,no_devmapper,no_zfs",
	}
	gvisor = Component{
		Name: "gvisor", Contents: "gVisor's runsc and its shim", Module: modules + "gvisor",
		Sources: []string{"replacement"},
		Programs: map[string]string{
			"runsc":                    "gvisor.dev/gvisor/runsc",
			"containerd-shim-runsc-v1": "gvisor.dev/gvisor/shim",
		},
		Replaced: map[string]string{
			"github.com/containerd/containerd/v2/pkg/sys/oom_linux.go": "replacement/oom_linux.go",
		},
	}
	kubernetes = Component{
		Name: "kubernetes", Contents: "Kubernetes and etcd", Module: modules + "kubernetes",
		Sources: []string{"kube"}, Programs: map[string]string{"kube": "./kube"},
		// Without it the API server gives a version that is none, and clients that read it fail.
		Versions: []Version{
			{"k8s.io/component-base/version.gitVersion", "k8s.io/kubernetes", All},
			{"k8s.io/component-base/version.gitMajor", "k8s.io/kubernetes", Major},
			{"k8s.io/component-base/version.gitMinor", "k8s.io/kubernetes", Minor},
			{"k8s.io/client-go/pkg/version.gitVersion", "k8s.io/kubernetes", All},
		},
	}
	networkPolicyCases = Component{
		Name: "network-policy-cases", Contents: "upstream's NetworkPolicy cases and their test image", Module: modules + "kubernetes",
		Sources: []string{"netpol"},
		Programs: map[string]string{
			"netpol":  "./netpol",
			"agnhost": "k8s.io/kubernetes/test/images/agnhost",
		},
	}
	tools = Component{
		Name: "tools", Contents: "helm and CoreDNS", Module: modules + "tools",
		Programs: map[string]string{
			"helm":    "helm.sh/helm/v4/cmd/helm",
			"coredns": "github.com/coredns/coredns",
		},
	}
	kwok = Component{
		Name: "kwok", Contents: "KWOK, which plays the kubelet of a fake node", Module: modules + "kwok",
		Programs: map[string]string{"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
	}
	enforcer = Component{
		Name: "enforcer", Contents: "the NetworkPolicy enforcer", Module: "enforcer",
		Sources: []string{"."}, Programs: map[string]string{"enforcer": "."},
	}
	internet = Component{
		Name: "internet", Contents: "the servers of the internet", Module: "internet",
		Sources: []string{"."}, Programs: map[string]string{"internet": "."},
	}
	pause = Component{
		Name: "pause", Contents: "the program that holds a pod", Module: "pause",
		Sources: []string{"."}, Programs: map[string]string{"pause": "."},
	}
)

// imageWriter writes the images of the cluster's own pods, as it does those of the tests.
var imageWriter = Component{
	Name: "image", Contents: "the program that writes images", Module: "image",
	Sources: []string{"."}, Programs: map[string]string{"image": "."},
}

// Needed are the components without which the cluster does not start.
var Needed = []Component{containerd, gvisor, kubernetes, tools, pause, imageWriter, enforcer, internet}

// Optional are built only when they are asked for by name.
var Optional = []Component{networkPolicyCases, kwok}
