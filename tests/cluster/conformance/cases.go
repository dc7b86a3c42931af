package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// short are the cases of a short run: each is there for what no other one of them shows.
var short = []string{
	"should support a 'default-deny-all' policy",
	"should enforce policy based on PodSelector and NamespaceSelector [",
	"should allow egress access on one named port",
	"should enforce except clause while egress access to server in CIDR block",
	"should work with Ingress, Egress specified together",
	"should allow ingress access from updated pod",
	"should stop enforcing policies after they are deleted",
	"using UDP should enforce policy based on Ports",
}

// excluded maps a part of the names of cases that cannot run here to the reason.
func excluded() map[string]string {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return map[string]string{"[Feature:SCTPConnectivity]": "this kernel has no SCTP (" + err.Error() + ")"}
	}
	unix.Close(socket)
	return nil
}

// listed matches a line of the list of cases: where it is, and its full name.
var listed = regexp.MustCompile(`^\s+\S+\.go:\d+: (\[sig-network\] Netpol.*)$`)

// cases asks the program for the names of its cases.
func (s suite) cases(ctx context.Context) ([]string, error) {
	output, err := s.command(ctx, "--list-tests").Output()
	if err != nil {
		return nil, fmt.Errorf("list the cases: %w", err)
	}
	return parseList(output), nil
}

func parseList(output []byte) []string {
	var names []string
	for lines := bufio.NewScanner(bytes.NewReader(output)); lines.Scan(); {
		if match := listed.FindStringSubmatch(lines.Text()); match != nil {
			names = append(names, strings.TrimSpace(match[1]))
		}
	}
	return names
}

// choose drops what cannot run, saying so, and what was not asked for.
func choose(cases []string, chosen options) ([]string, error) {
	reasons := excluded()
	var selected []string
	for _, name := range cases {
		if reason := reasonFor(name, reasons); reason != "" {
			fmt.Printf("excluded  %s: %s\n", name, reason)
		} else if wanted(name, chosen) {
			selected = append(selected, name)
		}
	}
	switch {
	case chosen.only != "" && len(selected) == 0:
		return nil, fmt.Errorf("no case's name contains %q", chosen.only)
	case chosen.only != "":
	case chosen.short && len(selected) != len(short):
		return nil, fmt.Errorf("a short run is %d cases, found %d: upstream's names have changed", len(short), len(selected))
	case !chosen.short && len(selected) < least:
		return nil, fmt.Errorf("only %d cases, at least %d were expected", len(selected), least)
	}
	return selected, nil
}

func reasonFor(name string, reasons map[string]string) string {
	for part, reason := range reasons {
		if strings.Contains(name, part) {
			return reason
		}
	}
	return ""
}

func wanted(name string, chosen options) bool {
	if chosen.only != "" {
		return strings.Contains(name, chosen.only)
	}
	if !chosen.short {
		return true
	}
	for _, part := range short {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// command runs the program of the cases, so that it finds the cluster and looks for its test image under our name.
func (s suite) command(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, s.program, append([]string{"--kubeconfig=" + s.kubeconfig, "--provider=skeleton"}, arguments...)...)
	command.Env = append(os.Environ(), "KUBE_TEST_REPO_LIST="+s.registries())
	command.Dir = s.logs
	return command
}
