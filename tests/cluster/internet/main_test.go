package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveVariable makes the test's own binary be the program, with the variable's value as its state directory.
const serveVariable = "COFFERDAM_TEST_INTERNET"

// pingVariable makes it send one echo request of 33 bytes to the address that is the variable's value.
const pingVariable = "COFFERDAM_TEST_PING"

func TestMain(m *testing.M) {
	if state := os.Getenv(serveVariable); state != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := serve(ctx, state); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if address := os.Getenv(pingVariable); address != "" {
		if err := ping(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// ping sends an echo request; nobody answers it.
func ping(address string) error {
	conn, err := net.DialTimeout("ip4:icmp", address, time.Second)
	if err != nil {
		return err
	}
	packet := append([]byte{8, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 33)...)
	packet[2], packet[3] = 0xf7, 0xff // the checksum of a packet whose only other byte is the 8
	_, err = conn.Write(packet)
	return err
}

// network is two network namespaces with a veth between them and no way out: the internet and a node.
type network struct{ internet, node string }

func newNetwork(t *testing.T) network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	made := network{internet: fmt.Sprintf("cdi-test-%d", os.Getpid()), node: fmt.Sprintf("cdn-test-%d", os.Getpid())}
	for _, name := range []string{made.internet, made.node} {
		must(t, "ip", "netns", "add", name)
		t.Cleanup(func() { must(t, "ip", "netns", "del", name) })
		must(t, "ip", "-n", name, "link", "set", "lo", "up")
	}
	must(t, "ip", "-n", made.node, "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", made.internet)
	must(t, "ip", "-n", made.node, "address", "add", "203.0.113.1/24", "dev", "up0")
	for _, host := range []string{"254", "10", "20", "30", "40", "50", "66"} {
		must(t, "ip", "-n", made.internet, "address", "add", "203.0.113."+host+"/24", "dev", "up1")
	}
	must(t, "ip", "-n", made.node, "link", "set", "up0", "up")
	must(t, "ip", "-n", made.internet, "link", "set", "up1", "up")
	must(t, "ip", "-n", made.node, "route", "add", "default", "via", "203.0.113.254")
	must(t, "ip", "-n", made.internet, "route", "add", "default", "via", "203.0.113.1")
	return made
}

// start runs the program until the test ends.
func (n network) start(t *testing.T, state string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := exec.Command("nsenter", "--net=/run/netns/"+n.internet, self)
	program.Env = append(os.Environ(), serveVariable+"="+state)
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := program.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := program.Wait(); err != nil {
			t.Error(err)
		}
	})
	line := make([]byte, 64)
	n2, err := out.Read(line)
	if err != nil || !strings.Contains(string(line[:n2]), "ready") {
		t.Fatalf("the program said %q: %v", line[:n2], err)
	}
}

// client runs a command on the node's side.
func (n network) client(arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + n.node}, arguments...)...)
	out, err := command.CombinedOutput()
	return string(out), err
}

func must(t *testing.T, name string, arguments ...string) {
	t.Helper()
	if out, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(arguments, " "), err, out)
	}
}

// lines reads a file of JSON lines.
func lines[T any](t *testing.T, path string) []T {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []T
	for line := range strings.Lines(string(data)) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for range 100 {
		if condition() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("never: %s", what)
}

func TestInternet(t *testing.T) {
	inside, state := newNetwork(t), t.TempDir()
	bareRepository(t, filepath.Join(state, "git", "three.git"))
	inside.start(t, state)
	curl := func(arguments ...string) (string, error) {
		return inside.client(append([]string{"curl", "-sS", "--noproxy", "*", "--cacert", state + "/ca.pem"}, arguments...)...)
	}
	at := func(name, address string) []string { return []string{"--resolve", name + ".internet.test:" + address} }

	t.Run("hosts answer under their names", func(t *testing.T) {
		for _, url := range []string{"https://allowed.internet.test/", "https://allowed.internet.test:8443/", "http://allowed.internet.test/"} {
			out, err := curl(append(append(append(at("allowed", "443:203.0.113.30"), at("allowed", "8443:203.0.113.30")...), at("allowed", "80:203.0.113.30")...), url)...)
			if err != nil || out != "this is allowed.internet.test\n" {
				t.Errorf("%s: %q, %v", url, out, err)
			}
		}
		out, err := curl(append(at("denied", "443:203.0.113.40"), "https://denied.internet.test/echo", "-d", "eleven char")...)
		if err != nil || out != "eleven char" {
			t.Errorf("echo: %q, %v", out, err)
		}
		asked := lines[Request](t, state+"/requests.jsonl")
		last := asked[len(asked)-1]
		if last.Server != "denied" || last.Bytes != 11 || last.Path != "/echo" || last.Method != "POST" || last.Status != 200 || !strings.HasPrefix(last.Peer, "203.0.113.1:") {
			t.Errorf("recorded %+v", last)
		}
	})

	t.Run("a certificate is only for its own name", func(t *testing.T) {
		if out, err := curl(append(at("denied", "443:203.0.113.30"), "https://denied.internet.test/")...); err == nil {
			t.Errorf("the allowed host passed for the denied one: %q", out)
		}
	})

	t.Run("a connection without a request is recorded", func(t *testing.T) {
		if out, err := inside.client("bash", "-c", "exec 3<>/dev/tcp/203.0.113.40/443"); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		eventually(t, "a CONNECTION line for denied", func() bool {
			for _, line := range lines[Request](t, state+"/requests.jsonl") {
				if line.Server == "denied" && line.Method == "CONNECTION" {
					return true
				}
			}
			return false
		})
	})

	t.Run("git clones and does not push", func(t *testing.T) { cloneAndPush(t, inside, state) })

	t.Run("git is led elsewhere if it lets itself be", func(t *testing.T) { followOrNot(t, inside, state) })

	t.Run("the sink sees the rest", func(t *testing.T) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		for _, script := range []string{
			"exec 3<>/dev/tcp/198.51.100.7/5432",                  // a connection that says nothing
			"printf fourteen-bytes > /dev/tcp/203.0.113.66/22",    // an address of ours that nobody serves
			"printf sixteen-bytes-ok > /dev/tcp/203.0.113.30/444", // a port that nobody serves
			"printf nine-byte > /dev/udp/192.0.2.53/53",
			pingVariable + "=100.64.0.9 " + self,
		} {
			if out, err := inside.client("bash", "-c", script); err != nil {
				t.Errorf("%s: %s: %v", script, out, err)
			}
		}
		for _, want := range []Arrival{
			{Protocol: "tcp", Event: "connect", Destination: "198.51.100.7:5432"},
			{Protocol: "tcp", Event: "data", Destination: "203.0.113.66:22", Bytes: 14},
			{Protocol: "tcp", Event: "data", Destination: "203.0.113.30:444", Bytes: 16},
			{Protocol: "udp", Event: "datagram", Destination: "192.0.2.53:53", Bytes: 9},
			{Protocol: "icmp", Event: "datagram", Destination: "100.64.0.9", Bytes: 33},
		} {
			eventually(t, fmt.Sprintf("%+v at the sink", want), func() bool {
				for _, got := range lines[Arrival](t, state+"/sink.jsonl") {
					peer := got.Peer
					got.Time, got.Peer = time.Time{}, ""
					if got == want && strings.HasPrefix(peer, "203.0.113.1") {
						return true
					}
				}
				return false
			})
		}
		for _, got := range lines[Arrival](t, state+"/sink.jsonl") {
			if strings.HasSuffix(got.Destination, ".30:443") {
				t.Errorf("what is served reached the sink: %+v", got)
			}
		}
	})
}

// bareRepository makes a repository with one commit.
func bareRepository(t *testing.T, path string) {
	t.Helper()
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "README"), []byte("three\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, "git", "init", "-q", "-b", "main", tree)
	must(t, "git", "-C", tree, "add", ".")
	must(t, "git", "-C", tree, "-c", "user.name=Test", "-c", "user.email=test@cofferdam.test", "commit", "-qm", "Begin")
	must(t, "git", "clone", "-q", "--bare", tree, path)
}

func cloneAndPush(t *testing.T, inside network, state string) {
	work := filepath.Join(t.TempDir(), "work")
	git := func(arguments ...string) (string, error) {
		options := []string{"env", "GIT_SSL_CAINFO=" + state + "/ca.pem", "git", "-c", "http.proxy=", "-c", "http.curloptResolve=git.internet.test:443:203.0.113.10"}
		return inside.client(append(options, arguments...)...)
	}
	for _, url := range []string{"https://git.internet.test/three", "https://git.internet.test/three.git"} {
		must(t, "rm", "-rf", work)
		if out, err := git("clone", "-q", url, work); err != nil {
			t.Fatalf("%s: %s: %v", url, out, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(work, "README"))
	if err != nil || string(data) != "three\n" {
		t.Errorf("cloned %q: %v", data, err)
	}
	must(t, "git", "-C", work, "-c", "user.name=Test", "-c", "user.email=test@cofferdam.test", "commit", "-q", "--allow-empty", "-m", "Again")
	out, err := git("-C", work, "push", "-q", "origin", "HEAD")
	if err == nil || !strings.Contains(out, "403") {
		t.Errorf("push: %q, %v", out, err)
	}
	if out, err := git("ls-remote", "https://git.internet.test/unavailable/three"); err == nil || !strings.Contains(out, "503") {
		t.Errorf("what cannot be served now: %v %s", err, out)
	}
	silent := "https://git.internet.test/silent/three"
	if out, err := git("ls-remote", silent); err != nil || !strings.Contains(out, "refs/heads/main") {
		t.Errorf("references of a server that falls silent: %v %s", err, out)
	}
	if out, err := git("-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=2", "clone", "-q", silent, work+"-silent"); err == nil || !strings.Contains(out, "too slow") {
		t.Errorf("objects of a server that falls silent: %v %s", err, out)
	}
	if out, err := git("ls-remote", "https://git.internet.test/four"); err == nil || !strings.Contains(out, "not found") {
		t.Errorf("a repository that is not there: %q, %v", out, err)
	}
}

func followOrNot(t *testing.T, inside network, state string) {
	git := func(arguments ...string) (string, error) {
		options := []string{
			"env", "GIT_SSL_CAINFO=" + state + "/ca.pem", "git", "-c", "http.proxy=",
			"-c", "http.curloptResolve=git.internet.test:443:203.0.113.10", "-c", "http.curloptResolve=allowed.internet.test:443:203.0.113.30",
		}
		return inside.client(append(options, arguments...)...)
	}
	for _, place := range []string{"git.internet.test/three", "allowed.internet.test/git/three"} {
		url := "https://git.internet.test/redirect/" + place
		if out, err := git("-c", "http.followRedirects=true", "ls-remote", url); err != nil || !strings.Contains(out, "refs/heads/main") {
			t.Errorf("%s: %q, %v", url, out, err)
		}
		if out, err := git("-c", "http.followRedirects=false", "ls-remote", url); err == nil || !strings.Contains(out, "302") {
			t.Errorf("%s, not followed: %q, %v", url, out, err)
		}
		if out, err := git("-c", "http.followRedirects=false", "ls-remote", "https://"+place); err != nil || !strings.Contains(out, "refs/heads/main") {
			t.Errorf("%s: %q, %v", place, out, err)
		}
	}
}
