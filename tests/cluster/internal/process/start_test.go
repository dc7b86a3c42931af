package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the program that understands EnterCommand.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == EnterCommand {
		fmt.Fprintln(os.Stderr, Enter(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// output starts the command and gives what it wrote until it ended.
func output(t *testing.T, place Place, command ...string) string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	record, err := Start("test", place, log, []string{"PATH=/usr/bin:/bin", "MARK=set"}, command)
	if err != nil {
		t.Fatal(err)
	}
	if !waitUntil(5*time.Second, func() bool { return !record.Alive() }) {
		t.Fatal("the command does not end")
	}
	content, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestStartedProcessHasItsOwnSurroundings(t *testing.T) {
	dir := t.TempDir()
	got := output(t, Place{Directory: dir}, "sh", "-c", `pwd; echo "$MARK $HOME"; ps -o sid= -p $$ | grep -qw $$ && echo own session`)
	if want := dir + "\nset \nown session\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A process that outlives its starter must not hold the starter's files: whoever waits for a lock that the starter
// had would wait for as long as the cluster runs.
func TestStartedProcessHoldsNoFileOfItsStarter(t *testing.T) {
	held, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	// A duplicate is inherited, unlike what Go itself opens.
	inherited, err := unix.Dup(int(held.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	if files := output(t, Place{}, "sh", "-c", "ls -l /proc/$$/fd"); !strings.Contains(files, "log") || strings.Contains(files, "lock") {
		t.Errorf("open files:\n%s", files)
	}
}

func TestStartTellsWhyItFailed(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for says, start := range map[string]struct {
		place   Place
		command string
	}{
		"no-such-program":     {Place{}, "no-such-program"},
		"no-such-namespace":   {Place{Network: "/run/netns/no-such-namespace"}, "true"},
		"no-such-cgroup":      {Place{Cgroup: "/sys/fs/cgroup/no-such-cgroup"}, "true"},
		"no-such-directory":   {Place{Directory: "/no-such-directory"}, "true"},
		"no-such-mount-space": {Place{Mounts: "/proc/no-such-mount-space"}, "true"},
	} {
		if _, err := Start("test", start.place, log, nil, []string{start.command}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

func TestTailGivesTheLastLines(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("one\ntwo\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for lines, want := range map[int]string{2: "two\nthree", 9: "one\ntwo\nthree"} {
		if got := Tail(log, lines); got != want {
			t.Errorf("last %d: %q", lines, got)
		}
	}
}
