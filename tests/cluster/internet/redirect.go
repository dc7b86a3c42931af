package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// What the redirection is called in the kernel. Mark and routing table are this network namespace's own.
const (
	filterTable  = "cofferdam_internet"
	sinkMark     = "1"
	routingTable = "100"
)

// Redirect hands whatever arrives for an address and port that nobody serves to the sink, and leaves the packets as
// they are, so that the sink sees where they were going. It changes the network namespace that the program runs in.
func Redirect(served []string) error {
	// An earlier run may have been killed: then its rules are still there, and adding them again would fail.
	Unredirect()
	if err := command("", "ip", "rule", "add", "fwmark", sinkMark, "lookup", routingTable); err != nil {
		return err
	}
	if err := command("", "ip", "route", "replace", "local", "default", "dev", "lo", "table", routingTable); err != nil {
		return err
	}
	return command(rules(served), "nft", "-f", "-")
}

// Unredirect takes the redirection away; what is not there is not missed.
func Unredirect() {
	_ = command("", "nft", "delete", "table", "ip", filterTable)
	_ = command("", "ip", "route", "flush", "table", routingTable)
	_ = command("", "ip", "rule", "del", "fwmark", sinkMark, "lookup", routingTable)
}

// rules is the packet filter's script: what is served passes, TCP and UDP go to the sink, pings are delivered here
// whatever their address, and what remains is nothing that a socket could take.
func rules(served []string) string {
	pairs := make([]string, 0, len(served))
	for _, address := range served {
		host, port, _ := strings.Cut(address, ":")
		pairs = append(pairs, host+" . "+port)
	}
	return fmt.Sprintf(`table ip %s {
	set served {
		type ipv4_addr . inet_service
		elements = { %s }
	}
	chain arrivals {
		type filter hook prerouting priority mangle; policy accept;
		iifname "lo" accept
		ip daddr . tcp dport @served accept
		meta l4proto { tcp, udp } tproxy to :%d meta mark set %s accept
		meta l4proto icmp meta mark set %s accept
		drop
	}
}
`, filterTable, strings.Join(pairs, ", "), sinkPort, sinkMark, sinkMark)
}

// command runs a program to its end with the given standard input.
func command(input string, name string, arguments ...string) error {
	run := exec.Command(name, arguments...)
	run.Stdin = strings.NewReader(input)
	var said bytes.Buffer
	run.Stdout, run.Stderr = &said, &said
	if err := run.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}
