package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// self is this program, also after its file was replaced; it understands EnterCommand.
const self = "/proc/self/exe"

// CopySelf writes this program to a file.
func CopySelf(path string) error {
	content, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o755)
}

// Start runs the command in the place, detached from this terminal, its output appended to the log file. When it
// returns, the process is in its place and has become the command: others may enter its namespaces.
func Start(name string, place Place, log string, environment, command []string) (Record, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return Record{}, err
	}
	defer output.Close()
	report, reported, err := os.Pipe()
	if err != nil {
		return Record{}, err
	}
	defer report.Close()
	// The first extra file is descriptor 3 in the child.
	started := exec.Command(self, place.arguments(3, command)...)
	started.ExtraFiles = []*os.File{reported}
	started.Env = environment
	started.Stdout, started.Stderr = output, output
	started.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = started.Start()
	reported.Close()
	if err != nil {
		return Record{}, fmt.Errorf("start %s: %w", name, err)
	}
	failure, err := io.ReadAll(report)
	if err != nil || len(failure) > 0 {
		return Record{}, errors.Join(fmt.Errorf("start %s: %s", name, failure), err, started.Wait())
	}
	record, err := Identify(name, started.Process.Pid)
	if err != nil {
		return Record{}, err
	}
	return record, started.Process.Release()
}

// Run runs the command in the place to its end, attached to the given output.
func Run(place Place, environment, command []string) error {
	run := exec.Command(self, place.arguments(0, command)...)
	run.Env = environment
	run.Stdin, run.Stdout, run.Stderr = os.Stdin, os.Stdout, os.Stderr
	return run.Run()
}

// Tail gives the last lines of a log file, for an error message.
func Tail(log string, lines int) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
