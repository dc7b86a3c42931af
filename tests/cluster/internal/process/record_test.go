package process

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	tail := " S 1 2 3 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 98765 222 333"
	for name, c := range map[string]struct {
		line  string
		state byte
		start uint64
		fails bool
	}{
		"plain":                 {"42 (etcd)" + tail, 'S', 98765, false},
		"name with parentheses": {"42 (a) R 1 (b))" + tail, 'S', 98765, false},
		"zombie":                {"42 (x) Z 1 2 3 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 11 0 0", 'Z', 11, false},
		"no name":               {"42 etcd S 1", 0, 0, true},
		"cut short":             {"42 (etcd) S 1 2 3", 0, 0, true},
		"start is not a number": {"42 (etcd) S 1 2 3 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 soon 0 0", 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat(c.line)
			if (err != nil) != c.fails {
				t.Fatalf("error = %v, want failure %v", err, c.fails)
			}
			if got.state != c.state || got.start != c.start {
				t.Errorf("got state %c start %d, want %c %d", got.state, got.start, c.state, c.start)
			}
		})
	}
}

func TestRecordDoesNotMatchAnotherLife(t *testing.T) {
	own, err := Identify("self", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !own.Alive() {
		t.Error("the record of this process must match it")
	}
	recycled := own
	recycled.Start++
	if recycled.Alive() {
		t.Error("a record with another start time matched: a recycled pid would be killed")
	}
	rebooted := own
	rebooted.Boot = "another-boot"
	if rebooted.Alive() {
		t.Error("a record from another boot matched")
	}
	if err := Stop([]Record{recycled, rebooted}, time.Second); err != nil {
		t.Errorf("stopping records that match nothing: %v", err)
	}
}

func TestStopEndsAProcessThatIgnoresTerm(t *testing.T) {
	command := exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := output.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	record, err := Identify("stubborn", command.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := Stop([]Record{record}, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if record.Alive() {
		t.Error("still alive")
	}
	if err := command.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("ended with %v, want killed", err)
	}
}
