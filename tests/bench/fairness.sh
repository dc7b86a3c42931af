#!/usr/bin/env bash
# What a hostile run costs an honest one: the honest run's times per request through the gateway, alone and beside a run of
# 256 tunnels, as a ratio of the same sitting, and the memory of the gateway meanwhile.
# `tests/bench/fairness.sh [slow|busy] [ROUNDS] [REQUESTS]` (slow, 3, 1000): slow tunnels never read their answers, busy ones
# read as fast as they can. It fails where the ratio of the middle p99 is above 2, or the gateway was started anew or above
# its limit. It needs the embedded cluster with the chart installed (`make install`), and nothing else running on it.
set -euo pipefail
cd "$(dirname "$0")/../.."
export COFFERDAM_STATE="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$COFFERDAM_STATE/kubeconfig" PATH="$COFFERDAM_STATE/bin:$PATH"
manner=${1:-slow} rounds=${2:-3} requests=${3:-1000} tunnels=256
case "$manner" in slow) read=4194304 ;; busy) read=0 ;; *) echo "slow or busy, not $manner" >&2; exit 2 ;; esac
spaces=(bench-honest bench-hostile)
end() { kubectl delete namespace "${spaces[@]}" --ignore-not-found --wait=true >/dev/null; }
end
trap end EXIT
for space in "${spaces[@]}"; do
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
    egress:
      mode: AllowList
      rules:
        - {name: allowed, hosts: [allowed.internet.test], addresses: [203.0.113.30/32], ports: [80, 443], tls: Tunnel}
YAML
  until kubectl -n "$space" get networkpolicy cofferdam-fence >/dev/null 2>&1; do sleep 0.2; done
done

# run SPACE NAME SCRIPT TARGETS: a run whose agent is a script of the end-to-end tests.
run() {
  local script
  script=$(sed "s/@@TARGETS@@/$4/" "tests/e2e/scripts/$3")
  kubectl -n "$1" create configmap "$2" --from-literal=prompt="$script" >/dev/null
  kubectl apply -f - >/dev/null <<YAML
apiVersion: cofferdam.dev/v1alpha1
kind: AgentRun
metadata: {name: $2, namespace: $1}
spec:
  task: {promptFrom: {configMapKeyRef: {name: $2, key: prompt, digest: "sha256:$(printf %s "$script" | sha256sum | cut -d ' ' -f 1)"}}}
  agent: {image: "cofferdam.test/attacker:dev", command: [python3, /cofferdam/prompt]}
  resources: {requests: {cpu: 100m, memory: 128Mi, ephemeral-storage: 64Mi}}
YAML
}

# steady NAME: the honest run's p99 in milliseconds; what it says goes to standard error.
steady() {
  run bench-honest "$1" steady.py "{\"requests\": $requests}"
  kubectl -n bench-honest wait --for=jsonpath='{.status.phase}'=Succeeded --timeout=600s "agentrun/$1" >/dev/null
  local line
  line=$(kubectl -n bench-honest logs "$(pod bench-honest "$1")" -c agent | grep ^answered)
  echo "$1: $line" >&2
  sed -E 's/.*p99 ([0-9.]+) ms.*/\1/' <<<"$line"
}

pod() { kubectl -n "$1" get pod -l "cofferdam.dev/run=$2" -o name; }
middle() { printf '%s\n' "$@" | sort -n | awk '{all[NR] = $1} END {print all[int((NR + 1) / 2)]}'; }
gateway() { kubectl -n cofferdam-system get pod -l app.kubernetes.io/component=gateway -o jsonpath="$1"; }

# memory: MiB that the gateway's container holds.
memory() {
  kubectl get --raw /api/v1/nodes/node-a/proxy/stats/summary |
    jq -r '.pods[] | select(.podRef.name | startswith("cofferdam-gateway")) | .containers[].memory.workingSetBytes / 1048576 | floor'
}

restarts=$(gateway '{.items[*].status.containerStatuses[*].restartCount}')
limit=$(gateway '{.items[0].spec.containers[0].resources.limits.memory}')
alone=() beside=() most=0
for round in $(seq "$rounds"); do alone+=("$(steady "alone-$round")"); done
run bench-hostile hoarder hoard.py "{\"tunnels\": $tunnels, \"read\": $read}"
until kubectl -n bench-hostile logs "$(pod bench-hostile hoarder)" -c agent 2>/dev/null | grep -q ' ended '; do sleep 1; done
for round in $(seq "$rounds"); do
  beside+=("$(steady "beside-$round")")
  now=$(memory)
  if [ "${now:-0}" -gt "$most" ]; then most=$now; fi
done
kubectl -n bench-hostile logs "$(pod bench-hostile hoarder)" -c agent | tail -1 >&2
again=$(gateway '{.items[*].status.containerStatuses[*].restartCount}')
awk -v alone="$(middle "${alone[@]}")" -v beside="$(middle "${beside[@]}")" -v most="$most" -v limit="$limit" \
  -v manner="$manner" -v same="$([ "$restarts" = "$again" ] && echo 1 || echo 0)" 'BEGIN {
    printf "%s: p99 %.1f ms alone, %.1f ms beside: ratio %.2f; gateway %d MiB of %s, %s\n", manner, alone, beside, beside / alone, most, limit, same ? "not restarted" : "RESTARTED"
    exit !(beside <= 2 * alone && same && most <= limit + 0)
  }'
