//go:build cluster

// These tests bring the one cluster of this machine up and down, so they run only when asked for:
//
//	go test -tags cluster -count=1 -v .

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam.dev/tests/cluster/internal/layout"
)

const pod = `
apiVersion: v1
kind: Namespace
metadata: {name: check, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Pod
metadata: {name: sandbox, namespace: check}
spec:
  runtimeClassName: gvisor
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: shell
      image: check.test/busybox:one
      imagePullPolicy: Never
      command: [busybox, sh, -c, "echo says something; busybox sleep 600"]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

const busyboxImage = "check.test/busybox:one"

const deny = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: check}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
`

func TestClusterLives(t *testing.T) {
	b := newBench(t)
	before := b.bareMachine()
	if output := b.run("", "cluster", "down"); !strings.Contains(output, "there is no cluster") {
		t.Errorf("down without a cluster says %q", output)
	}
	b.run("", "cluster", "up")
	started := b.pids()
	if status := b.status(); !status.Running || !status.NetworkPolicy || len(started) != 10 {
		t.Fatalf("status after up: %+v", status)
	}
	began := time.Now()
	b.run("", "cluster", "up")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the second up took %s", took)
	}
	if again := b.pids(); len(again) != len(started) || again["etcd"] != started["etcd"] {
		t.Errorf("the second up changed processes: %v, then %v", started, again)
	}
	b.startPod()
	t.Run("sandbox", b.sandbox)
	t.Run("policy is switched", b.policySwitch)
	t.Run("load", b.load)
	t.Run("exit code", b.exitCode)
	if len(machine(t, b.place.State)) <= len(before) {
		t.Error("a running cluster shows nothing on the machine: the comparison after down would prove nothing")
	}
	b.downLeaves(before)
}

func (b bench) sandbox(t *testing.T) {
	b.T = t
	if logs := b.run("", "kubectl", "-n", "check", "logs", "sandbox"); logs != "says something\n" {
		t.Errorf("logs: %q", logs)
	}
	if kernel, err := b.sandboxed("dmesg"); err != nil || !strings.Contains(kernel, "gVisor") {
		t.Errorf("not in gVisor: %v: %s", err, kernel)
	}
	if answer, err := b.sandboxed("nslookup", "git.internet.test", layout.DNSServiceIP); err != nil || !strings.Contains(answer, "203.0.113.10") {
		t.Errorf("DNS: %v: %s", err, answer)
	}
	if page, err := b.sandboxed("wget", "-q", "-O-", "http://203.0.113.30/"); err != nil {
		t.Errorf("the internet: %v: %s", err, page)
	}
	// What nobody has ends in the sink, also when it is a real address: there is no way out.
	if output, err := b.sandboxed("sh", "-c", "echo lost | busybox nc -w 1 192.0.2.77 4567"); err != nil {
		t.Logf("sink: %v: %s", err, output)
	}
	eventually(t, 5*time.Second, "the sink recorded 192.0.2.77:4567", func() bool {
		sink, err := os.ReadFile(b.place.Path("internet/sink.jsonl"))
		return err == nil && bytes.Contains(sink, []byte("192.0.2.77:4567"))
	})
}

func (b bench) policySwitch(t *testing.T) {
	b.T = t
	reaches := func() bool {
		_, err := b.sandboxed("wget", "-q", "-O-", "http://203.0.113.30/")
		return err == nil
	}
	b.run(deny, "kubectl", "apply", "-f", "-")
	eventually(t, 10*time.Second, "the policy denies", func() bool { return !reaches() })
	b.run("", "cluster", "up", "--no-network-policy")
	if !reaches() || b.status().NetworkPolicy {
		t.Error("the policy still denies, though policies are to be ignored")
	}
	b.run("", "cluster", "up")
	eventually(t, 10*time.Second, "the policy denies again", func() bool { return !reaches() })
	b.run(deny, "kubectl", "delete", "-f", "-")
	eventually(t, 10*time.Second, "without the policy the pod reaches out", reaches)
}

func (b bench) load(t *testing.T) {
	b.T = t
	if output := b.run("", "cluster", "load", b.busybox()); !strings.Contains(output, "unchanged "+busyboxImage) {
		t.Errorf("loading again says %q", output)
	}
	if images := b.run("", "ctr", "images", "list", "-q"); !strings.Contains(images, busyboxImage+"\n") {
		t.Errorf("images: %s", images)
	}
	if output, err := b.try("", "cluster", "load", b.program); err == nil || !strings.Contains(output, b.program) {
		t.Errorf("loading what is no archive: %v: %s", err, output)
	}
}

func (b bench) exitCode(t *testing.T) {
	_, err := b.try("", "cluster", "exec", "--", "sh", "-c", "exit 7")
	if ended, is := err.(*exec.ExitError); !is || ended.ExitCode() != 7 {
		t.Errorf("exec ended with %v, want exit status 7", err)
	}
}

func TestClusterSurvivesCrashes(t *testing.T) {
	b := newBench(t)
	before := b.bareMachine()
	for _, after := range []time.Duration{50 * time.Millisecond, 600 * time.Millisecond, 3 * time.Second, 9 * time.Second} {
		up := exec.Command(b.program, "up")
		if err := up.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		if err := up.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := up.Wait(); err == nil {
			t.Fatalf("up was through in %s: nothing was interrupted", after)
		}
	}
	if b.status().Running {
		t.Error("a start that was killed counts as running")
	}
	b.run("", "cluster", "up")
	b.startPod()
	for _, victim := range []string{"containerd", "kube-apiserver", "forwarder"} {
		if err := syscall.Kill(b.pids()[victim], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if b.status().Running {
		t.Error("a cluster without its API server counts as running")
	}
	if output := b.run("", "cluster", "up"); !strings.Contains(output, "containerd") || !strings.Contains(output, "ended") {
		t.Errorf("up does not say why it starts anew: %s", output)
	}
	b.startPod()
	// The last crash: the record itself is lost, with a sandbox running.
	if err := os.Remove(b.place.Record()); err != nil {
		t.Fatal(err)
	}
	b.downLeaves(before)
}
