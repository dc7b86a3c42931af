#!/usr/bin/env bash
# Runs stages of the test suite and counts: `tests/run.sh unit|e2e|all`. The last line is "N passed, N failed".
# A stage that breaks counts as one failure and the others still run, except those that stand on it.
set -uo pipefail
cd "$(dirname "$0")/.."
export COFFERDAM_STATE="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$COFFERDAM_STATE/kubeconfig"
logs=target/test-logs
mkdir -p "$logs"
passed=0
failed=0

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
  passed=$((passed + good)); failed=$((failed + bad))
  echo "=== $name: $good passed, $bad failed, $((SECONDS - start)) s"
  return "$status"
}

go_tests() {
  local module
  for module in tests/cluster tests/cluster/enforcer tests/cluster/image tests/cluster/internet; do
    go test -C "$module" -v ./... || return 1
  done
}

e2e() {
  cargo build --locked --bin kubectl-agentrun &&
    cargo test --locked --features e2e --test e2e -- --test-threads=3 "$@"
}

unit_stages() {
  stage lint tests/lint.sh
  stage unit-rust cargo test --locked
  stage unit-go go_tests
}

cluster_stages() {
  stage chart tests/chart/check.sh
  stage install make --no-print-directory install || return
  stage e2e e2e
  stage e2e-manifests e2e --ignored manifests
  stage e2e-unguarded e2e --ignored unguarded
  stage roles tests/roles.sh
  stage demo examples/demo/demo.sh
  stage e2e-withdrawn e2e --ignored withdrawn
  stage unenforced-up target/cluster up --no-network-policy && stage e2e-unenforced e2e --ignored unenforced
  stage enforced-again target/cluster up
}

case "${1:-all}" in
  unit) unit_stages ;;
  e2e) cluster_stages ;;
  all)
    stage packages tests/packages.sh
    unit_stages
    # Upstream's NetworkPolicy cases first: they need a cluster without the chart.
    stage cluster make --no-print-directory cluster && {
      stage network-policy tests/cluster/enforcer/conformance.sh --short
      cluster_stages
    }
    stage cluster-down make --no-print-directory cluster-down
    ;;
  *) echo "usage: $0 unit|e2e|all" >&2; exit 2 ;;
esac

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
