package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// impatience is how long a test waits for something that should not arrive.
const impatience = 400 * time.Millisecond

// patienceForAnswers is how long it waits for what should arrive, retransmissions on a busy machine included.
const patienceForAnswers = 5 * time.Second

// place is a network namespace without a name: it ends with the test's process.
type place struct {
	t      *testing.T
	handle *os.File
}

// newPlace makes a namespace with nothing in it but its own loopback device.
func newPlace(t *testing.T) place {
	t.Helper()
	made := make(chan any)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not serve anybody else afterwards
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- err
			return
		}
		handle, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			made <- err
			return
		}
		made <- handle
	}()
	switch result := (<-made).(type) {
	case *os.File:
		t.Cleanup(func() { result.Close() })
		p := place{t, result}
		p.run("ip", "link", "set", "lo", "up")
		return p
	default:
		t.Fatal(result)
		return place{}
	}
}

// do runs something inside.
func (p place) do(something func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(p.handle.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- something()
	}()
	return <-done
}

// run runs a command inside, which has to succeed.
func (p place) run(command ...string) {
	p.t.Helper()
	err := p.do(func() error {
		output, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, output)
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// path names the namespace for `ip link set … netns`.
func (p place) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.handle.Fd()) }

// network is a node with two pods on its bridge, and a world behind it.
type network struct {
	node, heron, stork, world place
	tables                    *tables
}

const (
	heronAddress = "10.8.0.11"
	storkAddress = "10.8.0.12"
	nodeAddress  = "10.8.0.1"
	worldAddress = "203.0.113.7"
)

var podCIDR = netip.MustParsePrefix("10.8.0.0/16")

// newNetwork builds it, with the enforcer's hand on the node and bridged frames shown to it.
func newNetwork(t *testing.T) network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	n := network{node: newPlace(t), heron: newPlace(t), stork: newPlace(t), world: newPlace(t)}
	n.node.run("ip", "link", "add", "cni0", "type", "bridge")
	n.node.run("ip", "address", "add", nodeAddress+"/24", "dev", "cni0")
	n.node.run("ip", "link", "set", "cni0", "up")
	n.node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
	n.attach(n.heron, "veth-heron", heronAddress)
	n.attach(n.stork, "veth-stork", storkAddress)
	n.node.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", n.world.path())
	n.node.run("ip", "address", "add", "203.0.113.1/24", "dev", "uplink")
	n.node.run("ip", "link", "set", "uplink", "up")
	n.world.run("ip", "address", "add", worldAddress+"/24", "dev", "eth0")
	n.world.run("ip", "link", "set", "eth0", "up")
	n.world.run("ip", "route", "add", "default", "via", "203.0.113.1")
	err := n.node.do(func() error {
		if err := showBridgedFrames(); err != nil {
			return err
		}
		opened, err := openTables()
		n.tables = opened
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// attach puts a pod on the bridge.
func (n network) attach(pod place, device, address string) {
	n.node.run("ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", pod.path())
	n.node.run("ip", "link", "set", device, "master", "cni0", "up")
	pod.run("ip", "address", "add", address+"/24", "dev", "eth0")
	pod.run("ip", "link", "set", "eth0", "up")
	pod.run("ip", "route", "add", "default", "via", nodeAddress)
}

// echo serves TCP and UDP on a port inside, sending back what it gets.
func (p place) echo(address string) {
	p.t.Helper()
	err := p.do(func() error {
		streams, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		packets, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		p.t.Cleanup(func() { streams.Close(); packets.Close() })
		go func() {
			buffer := make([]byte, 100)
			for {
				count, peer, err := packets.ReadFrom(buffer)
				if err != nil {
					return
				}
				packets.WriteTo(buffer[:count], peer)
			}
		}()
		go func() {
			for {
				connection, err := streams.Accept()
				if err != nil {
					return
				}
				go func() {
					defer connection.Close()
					buffer := make([]byte, 100)
					for {
						count, err := connection.Read(buffer)
						if err != nil {
							return
						}
						connection.Write(buffer[:count])
					}
				}()
			}
		}()
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// dial opens a flow from inside.
func (p place) dial(protocol, address string, within time.Duration) (net.Conn, error) {
	var connection net.Conn
	err := p.do(func() (err error) {
		connection, err = (&net.Dialer{Timeout: within}).DialContext(context.Background(), protocol, address)
		return err
	})
	if err == nil {
		p.t.Cleanup(func() { connection.Close() })
	}
	return connection, err
}

// answers says whether a word sent on the connection comes back within the time.
func answers(connection net.Conn, word string, within time.Duration) bool {
	connection.SetDeadline(time.Now().Add(within))
	if _, err := connection.Write([]byte(word)); err != nil {
		return false
	}
	buffer := make([]byte, 100)
	for heard := ""; ; {
		count, err := connection.Read(buffer)
		if err != nil {
			return false
		}
		if heard += string(buffer[:count]); strings.Contains(heard, word) {
			return true
		}
	}
}

// reaches says whether a new flow from inside gets an answer.
func (p place) reaches(protocol, address string, within time.Duration) bool {
	connection, err := p.dial(protocol, address, within)
	return err == nil && answers(connection, "hello", within)
}

// flowsOf lists what the connection tracker of this namespace knows of an address.
func flowsOf(address string) string {
	var found []string
	for _, end := range []string{"--orig-src", "--orig-dst"} {
		output, err := exec.Command("conntrack", "--dump", end, address).Output()
		if err == nil && len(output) > 0 {
			found = append(found, string(output))
		}
	}
	return strings.Join(found, "")
}
