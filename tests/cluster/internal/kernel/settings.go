// Package kernel changes the few machine-wide settings that the cluster's components insist on, and puts back
// what was there before.
package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// root is another place in tests.
var root = "/proc/sys"

// raised are limits that are too low for a node; a higher value of the machine's own stays.
var raised = map[string]int{
	"fs/inotify/max_user_instances": 1024,
	"fs/inotify/max_user_watches":   524288,
}

// written are the settings that the kubelet and kube-proxy set by themselves when they start.
var written = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// Save writes down the settings as they are, once: a second call keeps the first's record, which is the machine's own.
func Save(file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	saved := map[string]string{}
	names := append([]string{}, written...)
	for name := range raised {
		names = append(names, name)
	}
	for _, name := range names {
		value, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		saved[name] = value
	}
	content, err := json.MarshalIndent(saved, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}

// Raise lifts the limits that are too low.
func Raise() error {
	for name, wanted := range raised {
		value, err := read(name)
		if err != nil {
			return err
		}
		current, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if current < wanted {
			if err := write(name, strconv.Itoa(wanted)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Restore puts back what Save wrote down; without a record there is nothing to put back.
func Restore(file string) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var saved map[string]string
	if err := json.Unmarshal(content, &saved); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for name, value := range saved {
		if current, err := read(name); err == nil && current == value {
			continue
		}
		if err := write(name, value); err != nil {
			return err
		}
	}
	return nil
}

// BridgeFilter makes packets between two ports of a bridge pass the packet filter: without it neither a
// NetworkPolicy nor a Service's address works between pods of one node. It is to be called inside the namespace.
func BridgeFilter() error {
	if _, err := read("net/bridge/bridge-nf-call-iptables"); err != nil {
		if output, err := exec.Command("modprobe", "br_netfilter").CombinedOutput(); err != nil {
			return fmt.Errorf("this kernel has no br_netfilter: %w: %s", err, output)
		}
	}
	for _, name := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables", "net/ipv4/ip_forward"} {
		if err := write(name, "1"); err != nil {
			return err
		}
	}
	return nil
}

// DisableIPv6 turns IPv6 off in the namespace it is called in: the cluster is IPv4 only. Kernels without IPv6 have nothing to turn off.
func DisableIPv6() error {
	for _, scope := range []string{"all", "default"} {
		err := write("net/ipv6/conf/"+scope+"/disable_ipv6", "1")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func read(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, name))
	return strings.TrimSpace(string(text)), err
}

func write(name, value string) error {
	if err := os.WriteFile(filepath.Join(root, name), []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", name, value, err)
	}
	return nil
}
