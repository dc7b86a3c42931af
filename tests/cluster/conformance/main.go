// Command conformance holds the NetworkPolicy enforcer against upstream's own cases, on the cluster that runs.
//
// It prints one line a case and a summary, and remembers a success by the hash of everything that it depends on, so
// that it is repeated only when there is something new to learn. Nothing of Cofferdam has to be installed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cofferdam.dev/tests/cluster/internal/build"
	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/lifecycle"
)

// least is how many cases a whole run must have: fewer means that the selection is broken, not that all is well.
const least = 40

// options are what the command line says.
type options struct {
	short    bool
	again    bool
	parallel int
	only     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var chosen options
	flag.BoolVar(&chosen.short, "short", false, "run a few cases, one of each kind")
	flag.BoolVar(&chosen.again, "again", false, "run them even if they passed before with the same parts")
	flag.IntVar(&chosen.parallel, "parallel", 4, "how many cases to run at a time")
	flag.StringVar(&chosen.only, "only", "", "run the cases whose name contains this, and remember nothing")
	flag.Parse()
	if err := run(ctx, chosen); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, chosen options) error {
	place, err := layout.New()
	if err != nil {
		return err
	}
	built, err := build.Builder{Layout: place, Output: os.Stderr}.Build("network-policy-cases")
	if err != nil {
		return err
	}
	remembered := newStamp(place.Cache, built.Hashes)
	if passed, found := remembered.read(chosen.short); found && !chosen.again && chosen.only == "" {
		fmt.Printf("%s (remembered; --again repeats it)\n", passed)
		return nil
	}
	if err := ready(ctx, place, built); err != nil {
		return err
	}
	suite := suite{program: built.Programs["netpol"], kubeconfig: place.Kubeconfig(), logs: place.Path("conformance")}
	if err := suite.prepare(); err != nil {
		return err
	}
	cases, err := suite.cases(ctx)
	if err != nil {
		return err
	}
	selected, err := choose(cases, chosen)
	if err != nil {
		return err
	}
	if err := loadImage(ctx, place, suite, built.Programs); err != nil {
		return err
	}
	began := time.Now()
	results := suite.run(ctx, selected, chosen.parallel)
	summary := summarise(results, time.Since(began))
	fmt.Println(summary.text)
	if summary.failed > 0 {
		return fmt.Errorf("%d of %d cases failed; their logs are in %s", summary.failed, len(results), suite.logs)
	}
	if chosen.only != "" {
		return nil
	}
	if err := ready(ctx, place, built); err != nil {
		return fmt.Errorf("the cluster changed under the cases, so this success is not remembered: %w", err)
	}
	return remembered.write(chosen.short, summary.text)
}

// ready says whether the cluster that runs is the one that the result will be remembered for.
func ready(ctx context.Context, place layout.Layout, built build.Built) error {
	cluster, err := lifecycle.New(place, os.Stderr)
	if err != nil {
		return err
	}
	status, err := cluster.Status(ctx)
	switch {
	case err != nil:
		return err
	case !status.Running:
		return errors.New("the cluster does not run; `cluster up` brings it up")
	case !status.NetworkPolicy:
		return errors.New("the cluster runs without the enforcer; `cluster up` starts it")
	}
	running, err := filepath.EvalSymlinks(place.Bin("enforcer"))
	if err != nil {
		return fmt.Errorf("which enforcer runs: %w", err)
	}
	if !strings.Contains(running, built.Hashes["enforcer"]) {
		return fmt.Errorf("the enforcer that runs (%s) is not built from these sources; `cluster up` exchanges it", running)
	}
	return nil
}
