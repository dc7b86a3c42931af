#!/usr/bin/env bash
# After the end-to-end tests: none of the operator's pods was started again, and none of their logs tells of a panic.
set -uo pipefail
cd "$(dirname "$0")/.."
source tests/checks.sh
state="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$state/kubeconfig" PATH="$state/bin:$PATH"
pods=$(kubectl -n cofferdam-system get pods -o name) || exit 1
[ "$(wc -l <<<"$pods")" -ge 5 ] || { echo "FAILED: keys, controller, gateway, archive and output are not all there: $pods"; exit 1; }
for pod in $pods; do
  restarts=$(kubectl -n cofferdam-system get "$pod" -o jsonpath='{.status.containerStatuses[*].restartCount}')
  log=$(kubectl -n cofferdam-system logs "$pod")
  # The control: there is a log to look into.
  if [ "$restarts" = 0 ] && [ -n "$log" ] && ! grep -q 'panicked at' <<<"$log"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $pod: $restarts restarts, $(wc -l <<<"$log") lines"
    grep 'panicked at' <<<"$log"
  fi
done
checked
