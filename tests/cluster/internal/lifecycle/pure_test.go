package lifecycle

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"cofferdam.dev/tests/cluster/internal/build"
	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/oci"
	"cofferdam.dev/tests/cluster/internal/process"
)

func TestMountsBelow(t *testing.T) {
	const mountinfo = `22 27 0:21 / /proc rw - proc proc rw
60 27 0:50 / /state rw - tmpfs tmpfs rw
61 27 0:51 / /state/a rw shared:1 - tmpfs tmpfs rw
62 61 0:52 / /state/a/with\040blank rw - overlay overlay rw
63 27 0:53 / /state-other/b rw - tmpfs tmpfs rw
cut short
`
	if got, want := mountsBelow(mountinfo, "/state"), []string{"/state/a", "/state/a/with blank"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseListing(t *testing.T) {
	listing := `REF                        TYPE                                                  DIGEST      SIZE    PLATFORMS   LABELS
cofferdam.test/busybox:dev application/vnd.oci.image.manifest.v1+json sha256:aa 1.1 MiB linux/amd64 -
other.test/x:1             application/vnd.oci.image.manifest.v1+json sha256:bb 2.0 MiB linux/amd64 io.cri-containerd.image=managed
`
	present := parseListing(listing)
	if len(present) != 2 || present["cofferdam.test/busybox:dev"] != "sha256:aa" || present["other.test/x:1"] != "sha256:bb" {
		t.Fatalf("got %v", present)
	}
	for name, c := range map[string]struct {
		images []oci.Named
		want   bool
	}{
		"same":      {[]oci.Named{{Reference: "other.test/x:1", Digest: "sha256:bb"}}, true},
		"changed":   {[]oci.Named{{Reference: "other.test/x:1", Digest: "sha256:cc"}}, false},
		"new":       {[]oci.Named{{Reference: "other.test/y:1", Digest: "sha256:bb"}}, false},
		"one of it": {[]oci.Named{{Reference: "other.test/x:1", Digest: "sha256:bb"}, {Reference: "z", Digest: "sha256:dd"}}, false},
	} {
		if got := allPresent(c.images, present); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestStale(t *testing.T) {
	own, err := process.Identify("own", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	gone := own
	gone.Name, gone.Start = "etcd", own.Start+1
	built := build.Built{Hashes: map[string]string{"kubernetes": "k", "enforcer": "e", "internet": "i", "images": "p"}}
	running := func(change func(*state)) *state {
		s := &state{
			Complete: true, Configuration: "c", Processes: []process.Record{own},
			Builds: map[string]string{"kubernetes": "k", "enforcer": "e", "internet": "i", "images": "p"},
		}
		change(s)
		return s
	}
	for name, c := range map[string]struct {
		state *state
		says  string
	}{
		"running":               {running(func(*state) {}), ""},
		"enforcer changed":      {running(func(s *state) { s.Builds["enforcer"] = "older" }), ""},
		"internet changed":      {running(func(s *state) { s.Builds["internet"] = "older" }), ""},
		"images changed":        {running(func(s *state) { s.Builds["images"] = "older" }), ""},
		"none":                  {nil, "there is none"},
		"start was cut short":   {running(func(s *state) { s.Complete = false }), "did not come to its end"},
		"configuration":         {running(func(s *state) { s.Configuration = "older" }), "configuration"},
		"a process ended":       {running(func(s *state) { s.Processes = append(s.Processes, gone) }), "etcd"},
		"a component changed":   {running(func(s *state) { s.Builds["kubernetes"] = "older" }), "kubernetes"},
		"a component was added": {running(func(s *state) { delete(s.Builds, "kubernetes") }), "kubernetes"},
	} {
		got := stale(c.state, built, "c")
		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q", name, got, c.says)
		}
	}
}

func TestShellEnvironmentCanBeSourcedTwice(t *testing.T) {
	c := &Cluster{Layout: layout.Layout{State: "/somewhere/my state"}}
	script := c.shellEnvironment() + c.shellEnvironment() + `printf '%s\n' "$PATH" "$KUBECONFIG"`
	command := exec.Command("/bin/sh", "-euc", script)
	command.Env = []string{"PATH=/usr/bin"}
	output, err := command.CombinedOutput()
	if want := "/somewhere/my state/bin:/usr/bin\n/somewhere/my state/kubeconfig\n"; err != nil || string(output) != want {
		t.Errorf("got %q, %v, want %q", output, err, want)
	}
}

func TestPollTellsTheLastAnswer(t *testing.T) {
	asked := 0
	err := poll(context.Background(), 250*time.Millisecond, func(context.Context) (bool, error) {
		asked++
		return false, errors.New("still not")
	})
	if err == nil || !strings.Contains(err.Error(), "still not") || asked < 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	asked = 0
	err = poll(context.Background(), time.Minute, func(context.Context) (bool, error) {
		asked++
		return asked == 2, nil
	})
	if err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}
