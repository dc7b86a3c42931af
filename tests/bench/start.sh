#!/usr/bin/env bash
# What a run costs at its start and at its end beside a bare Job: the same image under the same RuntimeClass, in pairs.
# `tests/bench/start.sh [PAIRS]` (5) prints the seconds of each pair and the middle of the differences. It needs the
# embedded cluster with the chart installed (`make install`), and nothing else running on it.
set -euo pipefail
cd "$(dirname "$0")/../.."
export COFFERDAM_STATE="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$COFFERDAM_STATE/kubeconfig" PATH="$COFFERDAM_STATE/bin:$PATH"
pairs="${1:-5}"
space=bench-start
end() { kubectl delete namespace "$space" --ignore-not-found --wait=true >/dev/null; }
end
trap end EXIT

kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata:
  name: $space
  labels: {cofferdam.dev/sandbox: enabled, pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: cofferdam.dev/v1alpha1
kind: SandboxPolicy
metadata: {name: default, namespace: $space}
spec:
  limits:
    runtime: {runtimeClassNames: [gvisor]}
    images: {mode: AllowList, allowed: ["cofferdam.test/**"]}
    repositories:
      mode: AllowList
      clone: [{name: forge, url: "https://git.internet.test/**", addresses: [203.0.113.10/32]}]
    egress: {mode: DenyAll}
YAML
until kubectl -n "$space" get networkpolicy cofferdam-fence >/dev/null 2>&1; do sleep 0.2; done

bare() {
  kubectl apply -f - >/dev/null <<YAML
apiVersion: batch/v1
kind: Job
metadata: {name: bare-$1, namespace: $space}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      runtimeClassName: gvisor
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: agent
          image: cofferdam.test/busybox:dev
          command: ["true"]
          resources: {requests: {cpu: 100m, memory: 128Mi}}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
YAML
  kubectl -n "$space" wait --for=condition=Complete --timeout=120s "job/bare-$1" >/dev/null
}

run() {
  kubectl apply -f - >/dev/null <<YAML
apiVersion: cofferdam.dev/v1alpha1
kind: AgentRun
metadata: {name: run-$1, namespace: $space}
spec:
  task: {prompt: none}
  agent: {image: "cofferdam.test/busybox:dev", command: ["true"]}
  repositories: [{name: work, url: "https://git.internet.test/two-first.git", access: ReadWrite}]
  resources: {requests: {cpu: 100m, memory: 128Mi, ephemeral-storage: 64Mi}}
YAML
  kubectl -n "$space" wait --for=condition=Complete --timeout=120s "agentrun/run-$1" >/dev/null
}

# epoch TIME: a time of the API as seconds.
epoch() { date -d "$1" +%s; }

# started KIND/NAME SELECTOR: seconds from the object's creation to the start of its agent, both as the
# API has them, in whole seconds.
started() {
  local made began
  made=$(kubectl -n "$space" get "$1" -o jsonpath='{.metadata.creationTimestamp}')
  began=$(kubectl -n "$space" get pod -l "$2" \
    -o jsonpath='{.items[0].status.containerStatuses[?(@.name=="agent")].state.terminated.startedAt}')
  echo $(($(epoch "$began") - $(epoch "$made")))
}

# took COMMAND…: its seconds, with tenths.
took() {
  local from to
  from=$(date +%s%N)
  "$@"
  to=$(date +%s%N)
  awk -v ns=$((to - from)) 'BEGIN {printf "%.1f", ns / 1e9}'
}

echo "seconds from apply to Complete, and (in whole seconds) from creation to the agent's start"
printf '%-6s %10s %10s %12s %10s %10s\n' pair "bare Job" run difference "bare start" "run start"
differences=()
for pair in $(seq "$pairs"); do
  job=$(took bare "$pair")
  own=$(took run "$pair")
  difference=$(awk -v a="$own" -v b="$job" 'BEGIN {printf "%.1f", a - b}')
  differences+=("$difference")
  printf '%-6s %10s %10s %12s %10s %10s\n' "$pair" "$job" "$own" "$difference" \
    "$(started "job/bare-$pair" "batch.kubernetes.io/job-name=bare-$pair")" \
    "$(started "agentrun/run-$pair" "cofferdam.dev/run=run-$pair")"
done
printf '%s\n' "${differences[@]}" | sort -n |
  awk '{all[NR] = $1} END {printf "a run takes %.1f s longer, in the middle of %d pairs\n", all[int((NR + 1) / 2)], NR}'
