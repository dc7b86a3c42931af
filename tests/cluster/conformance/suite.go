package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// patience bounds one case, in ginkgo's spelling; a case of upstream's takes under two minutes on two cores.
const patience = "10m"

// suite is upstream's program with what it needs.
type suite struct {
	program    string
	kubeconfig string
	// logs is a directory for one log a case.
	logs string
}

// result is how one case went.
type result struct {
	name   string
	passed bool
	took   time.Duration
	log    string
}

// registries is the file that renames upstream's registries.
func (s suite) registries() string { return filepath.Join(s.logs, "registries.yaml") }

// prepare makes the directory of logs anew.
func (s suite) prepare() error {
	if err := os.RemoveAll(s.logs); err != nil {
		return err
	}
	if err := os.MkdirAll(s.logs, 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.registries(), []byte("promoterE2eRegistry: "+registry+"\n"), 0o644)
}

// run runs the cases, some at a time, each in a process of its own: a case that hangs or dies takes no other along.
func (s suite) run(ctx context.Context, names []string, parallel int) []result {
	results := make([]result, len(names))
	slots := make(chan struct{}, max(parallel, 1))
	var done sync.WaitGroup
	for index, name := range names {
		slots <- struct{}{}
		done.Go(func() {
			defer func() { <-slots }()
			results[index] = s.one(ctx, index, name)
			verdict := "passed"
			if !results[index].passed {
				verdict = "FAILED"
			}
			fmt.Printf("%s  %5.1fs  %s\n", verdict, results[index].took.Seconds(), name)
		})
	}
	done.Wait()
	return results
}

// one runs a single case and reads the verdict from its output: an exit code of 0 alone could mean that no case of
// that name was found, or that it skipped itself.
func (s suite) one(ctx context.Context, index int, name string) result {
	began := time.Now()
	command := s.command(ctx, "--ginkgo.focus= "+regexp.QuoteMeta(name)+"$", "--ginkgo.timeout="+patience, "--ginkgo.no-color", "--ginkgo.v")
	output, err := command.CombinedOutput()
	outcome := result{name: name, passed: err == nil && ranOne(output), took: time.Since(began)}
	outcome.log = filepath.Join(s.logs, fmt.Sprintf("%02d.log", index))
	heading := fmt.Appendf(nil, "%s\npassed: %v, error: %v\n\n", name, outcome.passed, err)
	if err := os.WriteFile(outcome.log, append(heading, output...), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "conformance: log of a case:", err)
	}
	return outcome
}

var (
	ranPattern    = regexp.MustCompile(`Ran 1 of \d+ Specs`)
	passedPattern = []byte("1 Passed | 0 Failed")
)

// ranOne says whether ginkgo's summary tells of exactly one case that passed.
func ranOne(output []byte) bool {
	return ranPattern.Match(output) && bytes.Contains(output, passedPattern)
}

// summary is what a run came to.
type summary struct {
	failed int
	text   string
}

func summarise(results []result, took time.Duration) summary {
	var made summary
	for _, each := range results {
		if !each.passed {
			made.failed++
			fmt.Printf("failed: %s\n        log %s\n", each.name, each.log)
		}
	}
	made.text = fmt.Sprintf("network policy: %d of upstream's cases passed, %d failed, in %s",
		len(results)-made.failed, made.failed, took.Round(time.Second))
	return made
}
