#!/usr/bin/env bash
# Real clients in a sandbox under gVisor on the embedded cluster: each trusts the gateway by the sandbox's variables and files, and
# pip, npm, Bun, cargo, Go, Maven and apt install real packages from doubles of their registries, all of it inspected. The last line
# is "N passed, N failed". Needs the chart installed (`make clients` sees to that).
set -euo pipefail
cd "$(dirname "$0")/../.."
state="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$state/kubeconfig" PATH="$state/bin:$PWD/target/x86_64-unknown-linux-gnu/release:$PATH"
namespace=clients run=clients
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

images/build.sh clients >/dev/null
target/cluster load target/images/clients.tar
examples/demo/forge.sh "$state/internet"
registry=$(tests/clients/registry.sh)
rm -rf "$state/internet/registry.new"
cp -r "$registry" "$state/internet/registry.new"
rm -rf "$state/internet/registry"
mv "$state/internet/registry.new" "$state/internet/registry"
kubectl create namespace "$namespace" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
kubectl label namespace "$namespace" --overwrite cofferdam.dev/sandbox=enabled pod-security.kubernetes.io/enforce=restricted >/dev/null
kubectl -n "$namespace" apply -f tests/clients/policy.yaml >/dev/null
kubectl -n "$namespace" delete agentrun "$run" --ignore-not-found --wait >/dev/null

# Too long for the run itself.
kubectl -n "$namespace" delete configmap clients --ignore-not-found >/dev/null
jq -n --rawfile script tests/clients/inside.sh \
  '{apiVersion: "v1", kind: "ConfigMap", metadata: {name: "clients"}, immutable: true, data: {prompt: $script}}' | kubectl -n "$namespace" create -f - >/dev/null
jq -n --arg digest "sha256:$(sha256sum tests/clients/inside.sh | cut -d ' ' -f 1)" '{
  apiVersion: "cofferdam.dev/v1alpha1", kind: "AgentRun", metadata: {name: "clients"}, spec: {
    task: {promptFrom: {configMapKeyRef: {name: "clients", key: "prompt", digest: $digest}}},
    agent: {image: "cofferdam.test/clients:dev", command: ["/bin/bash", "-c"], args: ["exec bash \"$COFFERDAM_PROMPT_FILE\""]},
    repositories: [{name: "demo", url: "https://git.internet.test/demo.git", ref: "main", access: "ReadWrite"}],
    resources: {requests: {cpu: "500m", memory: "1Gi", "ephemeral-storage": "1Gi"}, limits: {cpu: "2", memory: "4Gi", "ephemeral-storage": "8Gi"}},
    activeDeadlineSeconds: 1200}}' | kubectl -n "$namespace" apply -f - >/dev/null
kubectl -n "$namespace" wait --for=jsonpath='{.status.completionTime}' --timeout=1500s "agentrun/$run" >/dev/null || true
kubectl -n "$namespace" get agentrun "$run" -o json > "$work/run.json"
kubectl cofferdam -n "$namespace" diff "$run" > "$work/patch" || true
sed -nE 's/^\+(ok|failed) /\1 /p' "$work/patch" | tee "$work/result"
jq -r '.status | "\(.reason): \(.message // ""), \(.usage.allowedRequests) requests allowed, \(.usage.deniedRequests) denied"' "$work/run.json"
of=$(ls -d "$state"/volumes/*/runs/"$(jq -r .metadata.uid "$work/run.json")")
jq -r 'select(.type == "Denied") | .data | "denied: \(.code) \(.method // "") \(.host // "")\(.path // "")"' "$of/chain.jsonl" | sort | uniq -c

expected=$(grep -c '^check [a-z]' tests/clients/inside.sh)
passed=$(grep -c '^ok ' "$work/result" || true)
echo "$passed passed, $((expected - passed)) failed"
[ "$passed" -eq "$expected" ]
