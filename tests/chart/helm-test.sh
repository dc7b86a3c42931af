#!/usr/bin/env bash
# `helm test` of the installed chart, as whoever installs it calls it: it succeeds, it says what it has proven, and it leaves
# nothing. Then once more where it has to fail. Needs the chart installed by tests/install.sh.
set -uo pipefail
cd "$(dirname "$0")/../.."
source tests/checks.sh
export KUBECONFIG="${COFFERDAM_STATE:-/var/tmp/cofferdam}/kubeconfig" PATH="${COFFERDAM_STATE:-/var/tmp/cofferdam}/bin:$PATH"

try() { helm test cofferdam --namespace cofferdam-system --logs --timeout 5m 2>&1; }
says() { grep -qE -- "$1" <<<"$log"; }

# The objects of a test, the pod of one that failed excepted.
left() {
  kubectl get namespace,clusterrole,clusterrolebinding --output name | grep helm-test
  kubectl -n cofferdam-system get serviceaccount,role,rolebinding,networkpolicy --output name | grep helm-test
}
nothing_left() { local all; all=$(left); [ -z "$all" ] || { echo "$all"; return 1; }; }

log=$(try); status=$?
echo "$log"
check "it succeeds" [ "$status" -eq 0 ]
check "all roles are ready" says 'ok +cofferdam-gateway: [0-9]+ of [0-9]+ ready'
check "the guard is proven" says 'ok +guard: '
check "the fence is proven" says 'ok +fence: the sandbox reached nothing but the gateway'
check "a run completes, and its records are sealed" says 'ok +trial run doctor-[a-z0-9]+: completed after .* its [0-9]+ records are sealed'
check "it may look at everything that it looks at" [ "$(grep -c unknown <<<"$log")" -eq 0 ]
check "it leaves nothing" nothing_left
check "its pod is gone too" [ -z "$(kubectl -n cofferdam-system get pods --output name | grep helm-test)" ]

# An agent that fails: everything is ready, and no run completes.
helm upgrade cofferdam charts/cofferdam --namespace cofferdam-system --values target/test-values.yaml \
  --set 'helmTest.command={/usr/bin/cofferdam,no-such-role}' >/dev/null
log=$(try); status=$?
echo "$log"
check "it fails where no run completes" [ "$status" -ne 0 ]
check "and says why" says 'WRONG +trial run doctor-[a-z0-9]+: AgentFailed: '
check "and what to do" says 'to do: '
check "and leaves nothing but its pod" nothing_left
helm upgrade cofferdam charts/cofferdam --namespace cofferdam-system --values target/test-values.yaml --wait --timeout 3m >/dev/null
kubectl -n cofferdam-system delete pod cofferdam-helm-test --ignore-not-found >/dev/null

checked
