//go:build cluster

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/lifecycle"
)

// bench is a cluster program under test.
type bench struct {
	*testing.T
	program string
	place   layout.Layout
}

func newBench(t *testing.T) bench {
	t.Helper()
	place, err := layout.New()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "cluster")
	if output, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return bench{t, program, place}
}

// try runs the program or, with a name from <state>/bin, one of the cluster's.
func (b bench) try(input string, command ...string) (string, error) {
	name := b.program
	if command[0] != "cluster" {
		name = b.place.Bin(command[0])
	}
	run := exec.Command(name, command[1:]...)
	run.Env = append(os.Environ(), "KUBECONFIG="+b.place.Kubeconfig())
	run.Stdin = strings.NewReader(input)
	var output bytes.Buffer
	run.Stdout, run.Stderr = &output, &output
	err := run.Run()
	return output.String(), err
}

func (b bench) run(input string, command ...string) string {
	b.Helper()
	output, err := b.try(input, command...)
	if err != nil {
		b.Fatalf("%v: %v\n%s", command, err, output)
	}
	return output
}

// sandboxed runs a command in the pod, for at most three seconds.
func (b bench) sandboxed(command ...string) (string, error) {
	return b.try("", append([]string{"kubectl", "-n", "check", "exec", "sandbox", "--", "busybox", "timeout", "3", "busybox"}, command...)...)
}

func (b bench) status() lifecycle.Status {
	b.Helper()
	run := exec.Command(b.program, "status", "-o", "json")
	output, _ := run.Output() // the exit code says whether it runs, and so does the answer
	var status lifecycle.Status
	if err := json.Unmarshal(output, &status); err != nil {
		b.Fatalf("status: %v: %s", err, output)
	}
	return status
}

func (b bench) pids() map[string]int {
	pids := map[string]int{}
	for _, process := range b.status().Processes {
		pids[process.Name] = process.PID
	}
	return pids
}

// busybox makes an image of this machine's static busybox.
func (b bench) busybox() (archive string) {
	b.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		b.Fatal(err)
	}
	var writer string
	for line := range strings.Lines(b.run("", "cluster", "build")) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "image" {
			writer = fields[1]
		}
	}
	archive = filepath.Join(b.TempDir(), "busybox.tar")
	write := exec.Command(writer, "--output", archive, "--reference", busyboxImage, "--env", "PATH=/bin", "file:"+program+":/bin/busybox:0755")
	if output, err := write.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, output)
	}
	return archive
}

func (b bench) startPod() {
	b.Helper()
	if output := b.run("", "cluster", "load", b.busybox()); !strings.Contains(output, "loaded "+busyboxImage) {
		b.Errorf("loading a new image says %q", output)
	}
	// The namespace's ServiceAccount is made a moment after the namespace.
	eventually(b.T, 20*time.Second, "the pod is accepted", func() bool {
		_, err := b.try(pod, "kubectl", "apply", "-f", "-")
		return err == nil
	})
	b.run("", "kubectl", "-n", "check", "wait", "--for=condition=Ready", "--timeout=60s", "pod/sandbox")
}

func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// settings are the machine-wide ones that a cluster changes.
var settings = []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "fs/inotify/max_user_instances", "fs/inotify/max_user_watches"}

// bareMachine brings down what runs, and gives what the machine then has of all that a cluster could leave behind.
// Nothing of it may be a cluster's: what an earlier `down` left would hide that this one leaves it, too.
func (b bench) bareMachine() []string {
	b.Helper()
	b.run("", "cluster", "down")
	// A value that nobody else sets, to see that it comes back.
	panics := filepath.Join("/proc/sys", "kernel/panic")
	own, err := os.ReadFile(panics)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(panics, []byte("17"), 0); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.WriteFile(panics, own, 0); err != nil {
			b.Error(err)
		}
	})
	found := machine(b.T, b.place.State)
	for _, thing := range found {
		if strings.HasPrefix(thing, "mount ") || strings.HasPrefix(thing, "process ") || strings.HasPrefix(thing, "/sys/") || thing == layout.NetworkNamespaces {
			b.Errorf("there before the first up: %s", thing)
		}
	}
	return found
}

// machine is what a cluster could leave behind.
func machine(t *testing.T, state string) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{"/run", layout.NetworkNamespaces, "/var/lib", "/var/log", "/opt", "/etc", "/etc/cni"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, entry := range entries {
			found = append(found, filepath.Join(dir, entry.Name()))
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*cofferdam*", "/sys/fs/cgroup/*/cofferdam*", "/sys/fs/cgroup/*/kubepods*", "/sys/fs/cgroup/*/k8s.io*"} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, matches...)
	}
	for _, name := range settings {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, name+"="+strings.TrimSpace(string(value)))
	}
	return append(append(found, mounts(t, state)...), processes(t, state)...)
}

func mounts(t *testing.T, state string) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, state) || strings.Contains(line, layout.NetworkNamespaces) {
			found = append(found, "mount "+line)
		}
	}
	return found
}

// processes lists those that have the state directory in their command line, but for what belongs to this test.
func processes(t *testing.T, state string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && bytes.Contains(line, []byte(state+"/")) {
			found = append(found, "process "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func (b bench) downLeaves(before []string) {
	b.Helper()
	b.run("", "cluster", "down")
	for _, thing := range machine(b.T, b.place.State) {
		if !slices.Contains(before, thing) {
			b.Errorf("left behind: %s", thing)
		}
	}
	if status := b.status(); status.Running || len(status.Remains) > 0 {
		b.Errorf("status after down: %+v", status)
	}
}
