package lifecycle

import (
	"fmt"
	"os"
	"strings"

	"cofferdam.dev/tests/cluster/internal/build"
	"cofferdam.dev/tests/cluster/internal/process"
)

// programs fills <state>/bin: links to what was built, wrappers for what needs to know this cluster, and a copy of
// this program, so that building it again does not touch the running forwarder.
func (c *Cluster) programs(built build.Built) error {
	for name, path := range built.Programs {
		if err := link(path, c.Layout.Bin(name)); err != nil {
			return err
		}
	}
	wrappers := map[string]string{
		"kubectl": fmt.Sprintf("#!/bin/sh\n# What it remembers of the API server's resources belongs to this cluster alone.\nexport KUBECACHEDIR=%q\nexec %q kubectl \"$@\"\n",
			c.kubectlCache(), built.Programs["kube"]),
		"ctr": fmt.Sprintf("#!/bin/sh\nexec %q --address %q --namespace k8s.io \"$@\"\n",
			built.Programs["ctr"], c.Layout.Socket()),
	}
	for name, script := range wrappers {
		if err := os.RemoveAll(c.Layout.Bin(name)); err != nil {
			return err
		}
		if err := os.WriteFile(c.Layout.Bin(name), []byte(script), 0o755); err != nil {
			return err
		}
	}
	if err := process.CopySelf(c.Layout.Bin("cluster")); err != nil {
		return err
	}
	return os.WriteFile(c.Layout.Path("env"), []byte(c.shellEnvironment()), 0o644)
}

func (c *Cluster) kubectlCache() string { return c.Layout.Path("kubectl-cache") }

// shellEnvironment is what a shell sources to work with the cluster.
func (c *Cluster) shellEnvironment() string {
	var text strings.Builder
	for _, variable := range [][2]string{
		{"KUBECONFIG", c.Layout.Kubeconfig()}, {"KUBECACHEDIR", c.kubectlCache()},
		{"COFFERDAM_STATE", c.Layout.State}, {"COFFERDAM_BIN", c.Layout.Path("bin")},
	} {
		fmt.Fprintf(&text, "export %s=%q\n", variable[0], variable[1])
	}
	text.WriteString("case \":$PATH:\" in *\":$COFFERDAM_BIN:\"*) ;; *) export PATH=\"$COFFERDAM_BIN:$PATH\" ;; esac\n")
	return text.String()
}

func link(target, path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}
