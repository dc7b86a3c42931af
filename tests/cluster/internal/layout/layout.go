// Package layout says where everything of the test cluster is: files, addresses, names.
//
// Every other package asks here, so that a path or an address is written down once.
package layout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Names and addresses that tests and manifests rely on.
const (
	NodeNamespace     = "cofferdam"
	InternetNamespace = "cofferdam-internet"

	NodeName     = "node-a"
	NodeIP       = "10.10.0.1"
	NodePrefix   = NodeIP + "/24"
	NodeNetwork  = "10.10.0.0/24"
	PodCIDR      = "10.244.0.0/16"
	NodePodCIDR  = "10.244.0.0/24"
	ServiceCIDR  = "10.96.0.0/16"
	APIServiceIP = "10.96.0.1"
	DNSServiceIP = "10.96.0.10"

	// UplinkNode and UplinkInternet are the two ends of the only cable that leaves the node.
	UplinkNode     = "203.0.113.1"
	UplinkInternet = "203.0.113.254"

	// APIAddress is where the API server listens, inside the node's namespace.
	APIAddress = NodeIP + ":6443"
	// ForwardAddress is where the ordinary shell reaches it.
	ForwardAddress = "127.0.0.1:16443"

	// PauseImage and DNSImage are built here and loaded by `up`.
	PauseImage = "cofferdam.test/pause:dev"
	DNSImage   = "cofferdam.test/coredns:dev"

	// CgroupName is the directory under which, in every cgroup hierarchy, all of the cluster's processes live.
	CgroupName = "cofferdam"
)

// InternetAddresses are the addresses on which the servers of "the internet" listen.
var InternetAddresses = []string{"203.0.113.10", "203.0.113.20", "203.0.113.30", "203.0.113.40", "203.0.113.50", "203.0.113.66"}

const defaultState = "/var/tmp/cofferdam"

// Layout is the place of one cluster on disk.
type Layout struct {
	// State holds everything that lives as long as the cluster; `down` removes it.
	State string
	// Cache holds what outlives it: built programs and images.
	Cache string
	// Source is the directory tests/cluster of a checkout.
	Source string
}

// New reads the environment: COFFERDAM_STATE and COFFERDAM_SOURCE override the defaults.
func New() (Layout, error) {
	state := os.Getenv("COFFERDAM_STATE")
	if state == "" {
		state = defaultState
	}
	if err := checkState(state); err != nil {
		return Layout{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return Layout{}, fmt.Errorf("no cache directory: %w", err)
	}
	return Layout{State: filepath.Clean(state), Cache: filepath.Join(cache, "cofferdam"), Source: findSource()}, nil
}

// checkState refuses places that the node's private mounts would cover, and places too dear to remove.
func checkState(state string) error {
	if !filepath.IsAbs(state) || strings.Count(filepath.Clean(state), "/") < 2 {
		return fmt.Errorf("COFFERDAM_STATE %q must be an absolute path at least two levels deep", state)
	}
	for _, covered := range []string{"/run", "/var/run", "/var/lib", "/var/log", "/proc", "/sys", "/dev"} {
		if state == covered || strings.HasPrefix(state, covered+"/") {
			return fmt.Errorf("COFFERDAM_STATE %q is under %s, which the node sees differently; choose another place", state, covered)
		}
	}
	return nil
}

// findSource looks for tests/cluster: where the environment says, above the working directory, above the program.
func findSource() string {
	if source := os.Getenv("COFFERDAM_SOURCE"); source != "" {
		return source
	}
	var starts []string
	if working, err := os.Getwd(); err == nil {
		starts = append(starts, working)
	}
	if program, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(program))
	}
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			for _, candidate := range []string{dir, filepath.Join(dir, "tests", "cluster")} {
				if info, err := os.Stat(filepath.Join(candidate, "components", "kubernetes")); err == nil && info.IsDir() {
					return candidate
				}
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return ""
}

// RequireSource fails where no checkout was found; building needs one, everything else does not.
func (l Layout) RequireSource() error {
	if l.Source == "" {
		return errors.New("the directory tests/cluster was not found above the working directory; set COFFERDAM_SOURCE to it")
	}
	return nil
}

// Path joins parts below the state directory.
func (l Layout) Path(parts ...string) string {
	return filepath.Join(append([]string{l.State}, parts...)...)
}

// Kubeconfig is the administrator's, for the ordinary shell.
func (l Layout) Kubeconfig() string { return l.Path("kubeconfig") }

// Socket is containerd's.
func (l Layout) Socket() string { return l.Path("containerd", "containerd.sock") }

// Bin holds a link or a wrapper for every program.
func (l Layout) Bin(name string) string { return l.Path("bin", name) }

// Log is the log file of one process.
func (l Layout) Log(process string) string { return l.Path("logs", process+".log") }

// Record is the file that says what runs.
func (l Layout) Record() string { return l.Path("cluster.json") }

// NetworkNamespaces is where iproute2 keeps one file for each named network namespace.
const NetworkNamespaces = "/run/netns"

// NetworkNamespace is the file by which a named network namespace is entered.
func NetworkNamespace(name string) string { return filepath.Join(NetworkNamespaces, name) }
