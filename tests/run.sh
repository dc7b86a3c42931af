#!/usr/bin/env bash
# Runs stages of the test suite and counts: `tests/run.sh unit|e2e|all`. A table says what each stage took; the last line
# is "N passed, N failed". A stage that breaks counts as one failure and the others still run, except those that stand
# on it.
set -uo pipefail
cd "$(dirname "$0")/.."
export COFFERDAM_STATE="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$COFFERDAM_STATE/kubeconfig"
# End-to-end tests at a time: each waits more than it works.
threads="${COFFERDAM_E2E_THREADS:-6}"
logs=target/test-logs
results="$logs/results"
mkdir -p "$logs"

# stage NAME COMMAND…: runs it with its output shown and kept, and counts what its test runner counted.
stage() {
  local name=$1; shift
  local log="$logs/$name.log" start=$SECONDS good bad status
  echo "=== $name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  good=$(awk '/^test result:/ {n += $4} /^--- PASS/ {n++} /^[0-9]+ passed, [0-9]+ failed/ {n += $1} END {print n + 0}' "$log")
  bad=$(awk '/^test result:/ {n += $6} /^--- FAIL/ {n++} /^[0-9]+ passed, [0-9]+ failed/ {n += $3} END {print n + 0}' "$log")
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  if [ "$status" -eq 0 ] && [ "$good" -eq 0 ]; then good=1; fi
  echo "$name $good $bad $((SECONDS - start))" >> "$results"
  echo "=== $name: $good passed, $bad failed, $((SECONDS - start)) s"
  return "$status"
}

# report: the table of all stages, in the order in which they ended, and the sum.
report() {
  echo
  awk 'BEGIN {printf "%-20s %8s %8s %8s\n", "stage", "passed", "failed", "seconds"}
    {printf "%-20s %8d %8d %8d\n", $1, $2, $3, $4; passed += $2; failed += $3}
    END {printf "%-20s %26d\n\n%d passed, %d failed\n", "from start to end", seconds, passed, failed; exit (failed > 0)}' \
    seconds="$SECONDS" "$results"
}

# Builds the end-to-end tests and the plugin that they call, and prints the path of the tests' executable.
build_e2e() {
  cargo build --quiet --locked --features e2e --bin kubectl-cofferdam --test e2e --message-format=json-render-diagnostics |
    jq -r 'select(.target.name == "e2e" and .executable != null).executable' | tail -1
}

go_tests() {
  local module
  for module in tests/cluster tests/cluster/enforcer tests/cluster/image tests/cluster/internet; do
    go test -C "$module" -v ./... || return 1
  done
  # What this one reads is outside of its module, where Go does not look when it decides whether a result is still good.
  go test -C tests/gitops -count=1 -v ./...
}

e2e() {
  local program
  program=$(build_e2e) && [ -n "$program" ] && (cd tests && "$program" --test-threads="$threads" "$@")
}

unit_stages() {
  stage lint tests/lint.sh
  stage unit-rust cargo test --locked
  stage unit-go go_tests
  stage ocsf tests/ocsf/check.sh
}

installed_stages() {
  stage chart tests/chart/check.sh
  stage install make --no-print-directory install || return
  stage chart-drift tests/chart/drift.sh
  stage release tests/release/check.sh
  stage install-yaml tests/chart/install-yaml.sh
  stage helm-test tests/chart/helm-test.sh
  stage e2e e2e
  stage e2e-manifests e2e --ignored manifests
  stage bench tests/bench/runs.sh guard
  stage demo examples/demo/demo.sh
  stage demo-private examples/demo/demo.sh private
  stage docs tests/docs/check.sh
  stage statement tests/statement/check.sh
  return 0
}

# These take something from the whole cluster, which is why each runs alone; they wait for most of their time.
taking_stages() {
  stage e2e-unguarded e2e --ignored unguarded
  stage e2e-flooded e2e --ignored flooded
  stage roles tests/roles.sh
  stage lifecycle tests/chart/lifecycle.sh
  stage e2e-archive-down e2e --ignored archive_that_is_down
  stage e2e-withdrawn e2e --ignored withdrawn
  stage unenforced-up target/cluster up --no-network-policy && stage e2e-unenforced e2e --ignored unenforced
}

case "${1:-all}" in
  unit|e2e|all) : > "$results" ;;
  *) echo "usage: $0 unit|e2e|all" >&2; exit 2 ;;
esac

case "${1:-all}" in
  unit) unit_stages ;;
  e2e)
    installed_stages && taking_stages
    stage enforced-again target/cluster up
    ;;
  all)
    stage packages tests/packages.sh
    unit_stages
    stage origins tests/origins.sh
    # Upstream's NetworkPolicy cases first: they need a cluster without the chart.
    if stage cluster make --no-print-directory cluster; then
      stage network-policy tests/cluster/enforcer/conformance.sh --short
      installed_stages && taking_stages
    fi
    stage cluster-down make --no-print-directory cluster-down
    ;;
esac

report
