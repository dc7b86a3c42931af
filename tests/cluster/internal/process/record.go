// Package process starts, recognises and ends the cluster's processes.
//
// A pid alone is not an identity: it is given again after its process has ended. A Record therefore also holds
// when the process started and under which boot, and nothing is signalled that does not match all three.
package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Record names one process for good.
type Record struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Start is in clock ticks since boot, field 22 of /proc/<pid>/stat.
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

// Identify makes the record of a living process.
func Identify(name string, pid int) (Record, error) {
	stat, err := readStat(pid)
	if err != nil {
		return Record{}, fmt.Errorf("%s ended at once: %w", name, err)
	}
	boot, err := bootID()
	if err != nil {
		return Record{}, err
	}
	return Record{Name: name, PID: pid, Start: stat.start, Boot: boot}, nil
}

// Alive says whether this very process still runs; a zombie does not.
func (r Record) Alive() bool {
	if boot, err := bootID(); err != nil || boot != r.Boot {
		return false
	}
	stat, err := readStat(r.PID)
	return err == nil && stat.start == r.Start && !stat.ended()
}

// signal sends to this very process. The handle is taken first and the identity checked after, so that the
// pid cannot change hands in between.
func (r Record) signal(signal unix.Signal) error {
	handle, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pidfd of %s (%d): %w", r.Name, r.PID, err)
	}
	defer unix.Close(handle)
	if !r.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(handle, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %s (%d): %w", r.Name, r.PID, err)
	}
	return nil
}

// Stop asks the processes to end, waits for at most grace, then kills those that are left and waits again.
func Stop(records []Record, grace time.Duration) error {
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, grace}, {unix.SIGKILL, 10 * time.Second}} {
		for _, record := range records {
			if err := record.signal(step.signal); err != nil {
				return err
			}
		}
		if waitUntil(step.wait, func() bool { return len(Living(records)) == 0 }) {
			return nil
		}
	}
	return fmt.Errorf("still running after SIGKILL: %v", Living(records))
}

// Living filters the records of processes that still run.
func Living(records []Record) []Record {
	var living []Record
	for _, record := range records {
		if record.Alive() {
			living = append(living, record)
		}
	}
	return living
}

func waitUntil(limit time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

type stat struct {
	state byte
	start uint64
}

func (s stat) ended() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(text))
}

// parseStat reads fields 3 and 22. The second field is the program's name in parentheses and may itself hold
// spaces and parentheses, so counting starts after the last one.
func parseStat(text string) (stat, error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("stat line without a name: %q", text)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("stat line with %d fields after the name: %q", len(fields), text)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("start time in stat line: %w", err)
	}
	return stat{state: fields[0][0], start: start}, nil
}

func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
