#!/usr/bin/env bash
# Measures what runs cost, on the embedded cluster with the chart installed:
# `tests/bench/runs.sh guard|command|loads|queue|floors|finished N|all N`.
# The fake node comes before and goes after, however this ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
export COFFERDAM_STATE="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
# The same packages and features as for the end-to-end tests, so that dependencies are built once.
program=$(cargo build --quiet --locked --features e2e --bench runs --message-format=json-render-diagnostics |
  jq -r 'select(.target.name == "runs" and .executable != null).executable' | tail -1)
[ -n "$program" ] || { echo "runs.sh: the program was not built" >&2; exit 1; }
# Ctrl-C is for the program, which then removes what it made; this shell waits for it.
trap : INT
trap 'target/cluster kwok down' EXIT
target/cluster kwok up
# Inside the node's network, where the API server and the archive are as near as they are to the roles.
target/cluster exec -- "$program" "$@"
