// Package lifecycle brings the cluster up and down, and says how it is.
package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam.dev/tests/cluster/internal/cgroup"
	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/process"
)

// state is what is written down of a running cluster. It is written before and after every process start, so that
// a crash at any moment leaves enough to clean up by.
type state struct {
	StartedAt time.Time `json:"startedAt"`
	// Complete is set when `up` went through to its end.
	Complete bool `json:"complete"`
	// NetworkPolicy says whether the enforcer is to run.
	NetworkPolicy bool `json:"networkPolicy"`
	// Builds are the hashes of the components that run, Configuration that of files, flags and objects.
	Builds        map[string]string `json:"builds"`
	Configuration string            `json:"configuration"`
	Processes     []process.Record  `json:"processes"`
	// Kwok is the fake node's kubelet. It comes and goes while the cluster runs, and its end is no reason to start anew.
	Kwok *process.Record `json:"kwok,omitempty"`
}

func (s state) process(name string) (process.Record, bool) {
	for _, record := range s.Processes {
		if record.Name == name {
			return record, true
		}
	}
	return process.Record{}, false
}

// forget drops the record of a process that was stopped.
func (s *state) forget(name string) {
	var kept []process.Record
	for _, record := range s.Processes {
		if record.Name != name {
			kept = append(kept, record)
		}
	}
	s.Processes = kept
}

// dead lists the processes that ended by themselves.
func (s state) dead() []string {
	var names []string
	for _, record := range s.Processes {
		if !record.Alive() {
			names = append(names, record.Name)
		}
	}
	return names
}

// Cluster is one cluster at one place.
type Cluster struct {
	Layout layout.Layout
	// Output takes progress lines.
	Output io.Writer
	tree   cgroup.Tree
}

// New looks at the machine, and changes nothing.
func New(place layout.Layout, output io.Writer) (*Cluster, error) {
	tree, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	return &Cluster{Layout: place, Output: output, tree: tree}, nil
}

func (c *Cluster) say(format string, values ...any) {
	fmt.Fprintf(c.Output, format+"\n", values...)
}

// load reads the record; nil without error means that there is none.
func (c *Cluster) load() (*state, error) {
	content, err := os.ReadFile(c.Layout.Record())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Layout.Record(), err)
	}
	return &s, nil
}

// save replaces the record as a whole: a reader never sees half of it.
func (c *Cluster) save(s *state) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temporary := c.Layout.Record() + ".new"
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, c.Layout.Record())
}

// lock keeps two commands from changing the cluster at once. Its file is in the cache: `down` leaves no file behind.
func (c *Cluster) lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.Layout.Cache, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(c.Layout.Cache, ".cluster.lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		c.say("waiting for another cluster command to end")
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
	return func() { file.Close() }, nil
}
