#!/usr/bin/env bash
# The release's life around live runs: upgrade from the chart of the commit before, rollback, uninstallation in the order of
# docs/operate.md and in the wrong one. Live runs go on, fences outlive the pods that they surround, and nothing hangs. Every
# wait is for a condition, with a limit. Needs the chart installed by tests/install.sh, and installs it again at its end.
set -uo pipefail
cd "$(dirname "$0")/../.."
TELL_PASSED=yes
source tests/checks.sh
export COFFERDAM_STATE="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$COFFERDAM_STATE/kubeconfig" PATH="$COFFERDAM_STATE/bin:$PATH"
release=cofferdam-system
space=lifecycle-$RANDOM
work=$(mktemp -d)
watcher=

finish() {
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT

phase_is() { [ "$(kubectl -n "$space" get agentrun "$1" -o jsonpath='{.status.phase}')" = "$2" ]; }
reason_is() { [ "$(kubectl -n "$space" get agentrun "$1" -o jsonpath='{.status.reason}')" = "$2" ]; }
reached() { kubectl -n "$space" logs -l "cofferdam.dev/run=$1" -c agent --tail=-1 | grep -c reached; }
# goes_on RUN: the same pod as before still runs, and its agent reaches its host once more.
goes_on() {
  local before
  phase_is "$1" Running && [ "$(pod "$1")" = "$(cat "$work/pod-$1")" ] || { kubectl -n "$space" get agentruns,pods -o wide; return 1; }
  before=$(reached "$1")
  until_true 30 more_than "$before" "$1"
}
more_than() { [ "$(reached "$2")" -gt "$1" ]; }
pod() { kubectl -n "$space" get pods -l "cofferdam.dev/run=$1" -o jsonpath='{.items[*].metadata.uid}'; }
no() { local all; all=$(kubectl "$@" --ignore-not-found --output=name) && [ -z "$all" ]; }

# start RUN: an agent that reaches its host again and again, until it is stopped.
start() {
  kubectl create --filename - <<YAML || return 1
apiVersion: cofferdam.dev/v1alpha1
kind: AgentRun
metadata: {name: $1, namespace: $space}
spec:
  task: {prompt: Wait.}
  agent:
    image: cofferdam.test/attacker:dev
    command: [sh, -c, "while :; do curl -sf --max-time 5 http://allowed.internet.test/ >/dev/null && echo reached; sleep 1; done"]
  resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {cpu: '1', memory: 512Mi}}
YAML
  until_true 60 phase_is "$1" Running && until_true 30 more_than 0 "$1" && pod "$1" > "$work/pod-$1"
}

opt_in() {
  kubectl apply --server-side --filename - <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $space, labels: {cofferdam.dev/sandbox: enabled, pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: cofferdam.dev/v1alpha1
kind: SandboxPolicy
metadata: {name: default, namespace: $space}
spec:
  limits:
    images: {mode: AllowList, allowed: ["cofferdam.test/attacker:dev"]}
    egress:
      mode: AllowList
      rules: [{name: allowed, hosts: [allowed.internet.test], ports: [80], addresses: [203.0.113.30/32]}]
YAML
}

# In one answer the fence first and the pods after it: a pod that is seen although the fence was gone has lost it.
watch_fence() {
  while :; do
    seen=$(kubectl -n "$space" get networkpolicies,pods --output=name 2>/dev/null) || continue
    if grep -q '^pod/agr-' <<<"$seen" && ! grep -q cofferdam-fence <<<"$seen"; then echo "$SECONDS s: $seen" >> "$work/unfenced"; fi
    echo seen >> "$work/looks"
  done
}
always_fenced() { [ "$(wc -l < "$work/looks")" -gt 10 ] && [ ! -e "$work/unfenced" ] || cat "$work/unfenced" "$work/looks"; [ ! -e "$work/unfenced" ]; }

ready() {
  local role
  for role in deploy/cofferdam-keys deploy/cofferdam-output deploy/cofferdam-controller deploy/cofferdam-gateway statefulset/cofferdam-archive; do
    kubectl -n "$release" rollout status "$role" --timeout=2m || return 1
  done
}
# upgrade CHART FLAG…
upgrade() { local chart=$1; shift; helm upgrade cofferdam "$chart" --namespace "$release" --values target/test-values.yaml "$@"; }
revision() { helm history cofferdam --namespace "$release" --output json | jq '.[-1].revision'; }

# The chart as it was before the last commit that changed it. A shallow clone has no such commit: then the chart of now, with
# another value, so that the upgrade replaces every pod at least.
before=$(git rev-list -2 HEAD -- charts/cofferdam | sed -n 2p)
if [ -n "$before" ] && git archive "$before" charts/cofferdam 2>/dev/null | tar -x -C "$work"; then
  echo "the chart before: $before"; older=()
else
  echo "this clone has no earlier chart: the chart of now stands for it"
  mkdir -p "$work/charts" && cp -r charts/cofferdam "$work/charts/"; older=(--set log=info)
fi
first=$(revision)

check "a namespace opts in" opt_in
check "a run is live, and reaches its host" start live
watch_fence & watcher=$!

# The older chart with the images of now: its controller may not be content with it, so nothing is awaited.
check "the chart of before is installed over it" upgrade "$work/charts/cofferdam" "${older[@]}"
second=$(revision)
check "the upgrade from it" upgrade charts/cofferdam --wait --timeout 3m
check "all roles are ready" ready
check "the live run goes on" goes_on live
check "a new run starts" start another
check "the rollback to the chart of before" helm rollback cofferdam "$second" --namespace "$release"
check "and the one to the chart of now" helm rollback cofferdam "$first" --namespace "$release" --wait --timeout 3m
check "all roles are ready again" ready
check "both live runs go on" eval 'goes_on live && goes_on another'
cancel() { kubectl -n "$space" patch agentrun live --type merge -p '{"spec": {"cancel": "KeepWork"}}'; }
check "a live run is stopped as ever" cancel
check "and its end is Cancelled, with what it leaves in the archive" until_true 60 reason_is live Cancelled

# The order of docs/operate.md, with one live run.
check "runs are deleted, and wait for their pods" kubectl -n "$space" delete agentruns --all --wait --timeout 2m
check "the pods went with them" until_true 30 no -n "$space" get pods
check "the namespace opts out" kubectl label namespace "$space" cofferdam.dev/sandbox-
check "the fence goes" until_true 60 no -n "$space" get networkpolicy cofferdam-fence

# The wrong order: the release goes while a run is live.
check "the namespace opts in again" opt_in
check "one more run is live" start last
check "the release goes, and does not wait for the run" helm uninstall cofferdam --namespace "$release" --wait --timeout 2m
check "the guard went with it" no get validatingadmissionpolicy cofferdam-guard-pods
check "the fence stands around the pod that is left" kubectl -n "$space" get networkpolicy cofferdam-fence
pod_is_left() { [ "$(pod last)" = "$(cat "$work/pod-last")" ]; }
check "which is still there" pod_is_left
no_exit() { until_true 20 silent; }
silent() { local before; before=$(reached last); sleep 3; [ "$(reached last)" -eq "$before" ]; }
check "and reaches nothing without the gateway" no_exit
check "the namespace is deleted" kubectl delete namespace "$space" --wait=false
check "its pods end" until_true 90 no -n "$space" get pods
only_the_fence_is_left() { kubectl get namespace "$space" -o json | jq -e '[.status.conditions[]? | select(.type == "NamespaceContentRemaining" and .status == "True") | .message] | any(test("networkpolicies|agentruns"))'; }
check "the namespace waits for the fence, and says so" until_true 60 only_the_fence_is_left
check "no pod was ever seen without the fence" always_fenced
rescue() {
  kubectl -n "$space" patch networkpolicy cofferdam-fence --type merge -p '{"metadata":{"finalizers":null}}'
  until_true 60 no get namespace "$space"
}
check "the fence's finalizer can be taken away by hand, and the namespace goes" rescue
check "the chart is installed again" tests/install.sh

checked
