// Package network makes the two network namespaces of the cluster and the one cable between them.
//
// Neither has an uplink: whatever a test tries, nothing in them reaches a real network.
package network

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"cofferdam.dev/tests/cluster/internal/kernel"
	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/process"
)

// The two ends of the cable, each named after where it leads.
const (
	nodeEnd     = "internet"
	internetEnd = "node"
)

// Create makes the namespaces, addresses and routes.
func Create() error {
	for _, namespace := range []string{layout.NodeNamespace, layout.InternetNamespace} {
		if err := ip("", "netns add "+namespace); err != nil {
			return err
		}
		if err := process.InNetwork(layout.NetworkNamespace(namespace), kernel.DisableIPv6); err != nil {
			return fmt.Errorf("namespace %s: %w", namespace, err)
		}
	}
	if err := ip(layout.NodeNamespace, nodeCommands()...); err != nil {
		return err
	}
	if err := ip(layout.InternetNamespace, internetCommands()...); err != nil {
		return err
	}
	if err := process.InNetwork(layout.NetworkNamespace(layout.NodeNamespace), kernel.BridgeFilter); err != nil {
		return fmt.Errorf("namespace %s: %w", layout.NodeNamespace, err)
	}
	return nil
}

// nodeCommands give the node its own address on a bridge without ports (some kernels have no dummy devices), and
// send everything that is not its own over the cable, also what is in the cable's own network: so that the sink on
// the other side receives what is sent to addresses that nobody has.
func nodeCommands() []string {
	return []string{
		"link set lo up",
		"link add node0 type bridge",
		"addr add " + layout.NodePrefix + " dev node0",
		"link set node0 up",
		"link add " + nodeEnd + " type veth peer name " + internetEnd + " netns " + layout.InternetNamespace,
		"addr add " + layout.UplinkNode + "/24 dev " + nodeEnd + " noprefixroute",
		"link set " + nodeEnd + " up",
		"route add " + layout.UplinkInternet + "/32 dev " + nodeEnd + " src " + layout.UplinkNode,
		"route add default via " + layout.UplinkInternet + " dev " + nodeEnd + " src " + layout.UplinkNode,
	}
}

// internetCommands give the servers their addresses and the ways back to node and pods. Pods are not
// masqueraded: a server sees which pod it talks to.
func internetCommands() []string {
	commands := []string{
		"link set lo up",
		"addr add " + layout.UplinkInternet + "/24 dev " + internetEnd,
	}
	for _, address := range layout.InternetAddresses {
		commands = append(commands, "addr add "+address+"/32 dev "+internetEnd)
	}
	commands = append(commands, "link set "+internetEnd+" up")
	for _, network := range []string{layout.PodCIDR, layout.NodeNetwork} {
		commands = append(commands, "route add "+network+" via "+layout.UplinkNode)
	}
	return commands
}

// Remove deletes the namespaces that exist, and with them everything in them.
func Remove() error {
	for _, namespace := range Remains() {
		if err := ip("", "netns delete "+namespace); err != nil {
			return err
		}
	}
	return leaveDirectory()
}

// leaveDirectory removes the directory of named namespaces, which iproute2 makes and mounts on itself with the first
// one, unless somebody else has one there.
func leaveDirectory() error {
	entries, err := os.ReadDir(layout.NetworkNamespaces)
	if errors.Is(err, fs.ErrNotExist) || len(entries) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for err = unix.Unmount(layout.NetworkNamespaces, 0); err == nil; err = unix.Unmount(layout.NetworkNamespaces, 0) {
	}
	// EINVAL: no longer a mount point. EBUSY: somebody just came to use it, and keeps it.
	if errors.Is(err, unix.EBUSY) {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", layout.NetworkNamespaces, err)
	}
	if err := unix.Rmdir(layout.NetworkNamespaces); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("remove %s: %w", layout.NetworkNamespaces, err)
	}
	return nil
}

// Remains lists the namespaces that exist: none after `down`.
func Remains() []string {
	var remains []string
	for _, namespace := range []string{layout.NodeNamespace, layout.InternetNamespace} {
		if _, err := os.Stat(layout.NetworkNamespace(namespace)); err == nil {
			remains = append(remains, namespace)
		}
	}
	return remains
}

func ip(namespace string, commands ...string) error {
	for _, command := range commands {
		arguments := strings.Fields(command)
		if namespace != "" {
			arguments = append([]string{"-n", namespace}, arguments...)
		}
		if output, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, bytes.TrimSpace(output))
		}
	}
	return nil
}
