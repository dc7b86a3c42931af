// Command enforcer enforces the cluster's NetworkPolicies on one node, with nftables, in the network namespace that
// it is started in.
//
// It is made to be restarted: the tables stay when it ends, so that no fence opens meanwhile, and pods that it has
// not seen yet have no network. `enforcer --flush` removes the tables.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// options are what the command line says.
type options struct {
	kubeconfig string
	node       string
	podCIDR    netip.Prefix
	flush      bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	chosen, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, chosen)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		slog.Error("enforcer ends", "error", err)
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(arguments []string) (options, error) {
	var chosen options
	flags := flag.NewFlagSet("enforcer", flag.ContinueOnError)
	flags.StringVar(&chosen.kubeconfig, "kubeconfig", "", "file with the API server's address and credentials")
	flags.StringVar(&chosen.node, "node", "", "name of the node whose pods are isolated here")
	flags.TextVar(&chosen.podCIDR, "pod-cidr", netip.MustParsePrefix("10.244.0.0/16"), "addresses of all pods of the cluster")
	flags.BoolVar(&chosen.flush, "flush", false, "remove the tables and end")
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	if !chosen.flush && (chosen.kubeconfig == "" || chosen.node == "") {
		return options{}, errors.New("--kubeconfig and --node are needed")
	}
	if !chosen.podCIDR.Addr().Is4() {
		return options{}, fmt.Errorf("--pod-cidr %s is not IPv4", chosen.podCIDR)
	}
	return chosen, nil
}

// run flushes or enforces until the context ends.
func run(ctx context.Context, chosen options) error {
	tables, err := openTables()
	if err != nil {
		return err
	}
	if chosen.flush {
		return tables.remove(ctx)
	}
	if err := showBridgedFrames(); err != nil {
		return err
	}
	if err := tables.start(ctx, chosen.podCIDR); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", chosen.kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", chosen.kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("API client: %w", err)
	}
	return watch(ctx, client, chosen, tables)
}
