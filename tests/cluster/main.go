// Command cluster runs a real one-node Kubernetes with gVisor for Cofferdam's tests, without Docker or systemd, in
// network namespaces without uplink. See README.md beside this file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"cofferdam.dev/tests/cluster/internal/build"
	"cofferdam.dev/tests/cluster/internal/forward"
	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/lifecycle"
	"cofferdam.dev/tests/cluster/internal/node"
	"cofferdam.dev/tests/cluster/internal/process"
)

const usage = `usage: cluster <command>

  build [component...]         build what is missing into the cache, network-policy-cases and kwok only when named,
                               and print each program and image with its file
  up [--no-network-policy]     build what is missing and bring the cluster up, or to the wanted setting if it runs
  load <image.tar>...          import OCI archives into the node, except images that it has
  status [-o json]             how the cluster is; exit code 1 if it does not run
  kwok up|down                 give the cluster a fake node whose pods are played (built when first asked for), or
                               take it away again
  exec [--internet] -- <cmd>   run a command inside the node, or in the internet's network
  down                         end the cluster and leave nothing of it

State is in /var/tmp/cofferdam (COFFERDAM_STATE), builds are in ~/.cache/cofferdam.`

// errUsage asks for the usage text.
var errUsage = errors.New("wrong arguments")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	var ended *exec.ExitError
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	case errors.As(err, &ended) && ended.ExitCode() > 0 && len(os.Args) > 1 && os.Args[1] == "exec":
		os.Exit(ended.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 {
		return errUsage
	}
	command, arguments := arguments[0], arguments[1:]
	switch command {
	case process.EnterCommand:
		return process.Enter(arguments)
	case node.ForwardCommand:
		return forward.Run(layout.ForwardAddress, layout.NetworkNamespace(layout.NodeNamespace), layout.APIAddress)
	}
	place, err := layout.New()
	if err != nil {
		return err
	}
	if command == "build" {
		built, err := build.Builder{Layout: place, Output: os.Stderr}.Build(arguments...)
		if err != nil {
			return err
		}
		for _, files := range []map[string]string{built.Programs, built.Images} {
			for _, name := range slices.Sorted(maps.Keys(files)) {
				fmt.Printf("%s %s\n", name, files[name])
			}
		}
		return nil
	}
	cluster, err := lifecycle.New(place, os.Stderr)
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	switch command {
	case "up":
		without := flags.Bool("no-network-policy", false, "do not enforce NetworkPolicies")
		if flags.Parse(arguments) != nil || flags.NArg() > 0 {
			return errUsage
		}
		if err := cluster.Up(ctx, !*without); err != nil {
			return err
		}
		fmt.Printf("export KUBECONFIG=%s\n", place.Kubeconfig())
		return nil
	case "down":
		if len(arguments) > 0 {
			return errUsage
		}
		return cluster.Down()
	case "load":
		if len(arguments) == 0 {
			return errUsage
		}
		return cluster.Load(arguments)
	case "kwok":
		switch {
		case len(arguments) == 1 && arguments[0] == "up":
			return cluster.KwokUp(ctx)
		case len(arguments) == 1 && arguments[0] == "down":
			return cluster.KwokDown(ctx)
		}
		return errUsage
	case "status":
		format := flags.String("o", "text", "text or json")
		if flags.Parse(arguments) != nil || flags.NArg() > 0 {
			return errUsage
		}
		return status(ctx, cluster, *format)
	case "exec":
		internet := flags.Bool("internet", false, "in the internet's network")
		if flags.Parse(arguments) != nil || flags.NArg() == 0 {
			return errUsage
		}
		return cluster.Exec(*internet, flags.Args())
	}
	return errUsage
}

func status(ctx context.Context, cluster *lifecycle.Cluster, format string) error {
	current, err := cluster.Status(ctx)
	if err != nil {
		return err
	}
	switch format {
	case "json":
		err = current.WriteJSON(os.Stdout)
	case "text":
		err = current.WriteText(os.Stdout)
	default:
		return errUsage
	}
	if err == nil && !current.Running {
		os.Exit(1)
	}
	return err
}
