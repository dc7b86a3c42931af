#!/usr/bin/env bash
# Real coding agents, each in a sandbox under gVisor on the embedded cluster, mend the demo's bug with a model whose answers are
# written in model/: `tests/agents/run.sh [AGENT…]`. All that they ask is inspected, and their keys are at the gateway. A table says
# of each what it took, what it was allowed, what it asked that was denied, and whether its patch is right. The last line is
# "N passed, N failed". Needs the chart installed (`make agents` sees to that); images are kept by the hash of what they are made of.
set -euo pipefail
cd "$(dirname "$0")/../.."
state="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$state/kubeconfig" PATH="$state/bin:$PWD/target/x86_64-unknown-linux-gnu/release:$PATH"
namespace=agents
all=(claude-code codex gemini-cli opencode aider mini-swe-agent openhands)
agents=("${@:-${all[@]}}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The version that an image has, by what pins it.
version() {
  case $1 in
    aider) sed -n 's/^aider-chat==\([^ ]*\).*/\1/p' images/aider/requirements.txt ;;
    mini-swe-agent) sed -n 's/^mini-swe-agent==\([^ ]*\).*/\1/p' images/mini-swe-agent/requirements.txt ;;
    openhands) sed -n 's/^openhands-sdk==\([^ ]*\).*/\1/p' images/openhands/requirements.txt ;;
    gemini-cli) jq -r '.dependencies["@google/gemini-cli"]' images/gemini-cli/package.json ;;
    *) jq -r '.dependencies[]' "images/$1/package.json" | sed 's/-linux-x64$//' ;;
  esac
}

# Keys that are new each time, so that what is searched for them afterwards cannot have them from before.
put_keys() {
  local provider
  for provider in anthropic openai gemini; do
    printf 'sk-demo-%s' "$(head -c 18 /dev/urandom | base64 | tr -dc a-zA-Z0-9)" > "$work/agents-$provider"
    kubectl -n cofferdam-credentials create secret generic "agents-$provider" --from-file=token="$work/agents-$provider" --dry-run=client -o yaml |
      kubectl apply -f - >/dev/null
  done
  kubectl apply -f examples/agents/credentials.yaml >/dev/null
  kubectl wait --for=condition=Ready --timeout=60s sandboxcredential/agents-{anthropic,openai,codex,gemini} >/dev/null
}

prepare() {
  local agent
  for agent in "${agents[@]}"; do
    images/build.sh "$agent" >/dev/null
    # One after the other: the archive of an image is large, and what is loaded already is not loaded again.
    target/cluster load "target/images/$agent.tar"
  done
  examples/demo/forge.sh "$state/internet"
  cp tests/agents/model/*.json "$state/internet/model/"
  kubectl create namespace "$namespace" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl label namespace "$namespace" --overwrite cofferdam.dev/sandbox=enabled pod-security.kubernetes.io/enforce=restricted >/dev/null
  put_keys
}

# right RUN: whether its patch applies and is the mend, all tests pass with it, and nothing else was changed.
right() {
  local checkout="$work/checkout-$1"
  git clone --quiet "$state/internet/git/demo.git" "$checkout"
  kubectl cofferdam -n "$namespace" diff "$1" > "$work/$1.patch" && git -C "$checkout" apply "$work/$1.patch" || return 1
  (cd "$checkout" && PYTHONDONTWRITEBYTECODE=1 python3 -m unittest -q >"$work/$1.tests" 2>&1) || return 1
  [ "$(git -C "$checkout" status --porcelain)" = " M library/loans.py" ]
}

# keyless RUN: whether nothing that the run left holds a key, though a credential was used.
keyless() {
  local of key
  of=$(ls -d "$state"/volumes/*/runs/"$(jq -r .metadata.uid "$work/$1.json")")
  {
    kubectl -n "$namespace" get agentruns,jobs,pods,configmaps,events -o yaml
    kubectl -n "$namespace" logs --all-containers "job/$(jq -r .status.workload.name "$work/$1.json")" || true
    cat "$of/chain.jsonl" "$work/$1.patch"
  } > "$work/$1.left" 2>/dev/null
  cp "$of/chain.jsonl" "$work/$1.chain"
  grep -q '"credential":"agents-' "$work/$1.left" || return 1
  for key in "$work"/agents-{anthropic,openai,gemini}; do
    if grep -qF -f "$key" "$work/$1.left"; then return 1; fi
  done
}

# denied RUN: what it asked that was denied, once each, with how often and with what code.
denied() {
  jq -rs 'def place: (.host // "" | sub(":443$"; "")) + (.path // "" | sub("[?].*"; "") | gsub("/[0-9a-zA-Z-]{16,}"; "/…"));
    map(select(.type == "Denied") | .data | {what: "\(.code) \(.method // "") \(place)", count}) | group_by(.what)
    | map({what: .[0].what, count: (map(.count) | add)}) | sort_by(-.count)[] | "\(.count) × \(.what)"' "$work/$1.chain"
}

run() {
  local agent=$1 reason seconds verdict=wrong keys=seen allowed refused
  kubectl -n "$namespace" delete agentrun "$agent" --ignore-not-found --wait >/dev/null
  kubectl -n "$namespace" apply -f "examples/agents/$agent.yaml" >/dev/null
  kubectl -n "$namespace" wait --for=jsonpath='{.status.completionTime}' --timeout=420s "agentrun/$agent" >/dev/null || true
  kubectl -n "$namespace" get agentrun "$agent" -o json > "$work/$agent.json"
  reason=$(jq -r '.status.reason // "unfinished"' "$work/$agent.json")
  seconds=$(jq -r '.status | if .agentStartTime and .completionTime then (.completionTime | sub("\\.[0-9]+"; "") | fromdate) - (.agentStartTime | sub("\\.[0-9]+"; "") | fromdate) else "–" end' "$work/$agent.json")
  allowed=$(jq -r '.status.usage.allowedRequests // 0' "$work/$agent.json")
  refused=$(jq -r '.status.usage.deniedRequests // 0' "$work/$agent.json")
  if right "$agent"; then verdict=right; fi
  if keyless "$agent"; then keys=none; fi
  printf '%-15s %-9s %-12s %7s %8s %7s  %-6s %-5s\n' "$agent" "$(version "$agent")" "$reason" "$seconds" "$allowed" "$refused" "$verdict" "$keys" >> "$work/table"
  denied "$agent" > "$work/$agent.denied" 2>/dev/null || true
  if [ "$reason $verdict $keys" = "Completed right none" ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "=== $agent: $reason, patch $verdict, keys $keys" >&2
    jq -r '.status.message // empty' "$work/$agent.json" >&2
    kubectl -n "$namespace" logs --tail=40 "job/$(jq -r '.status.workload.name // "none"' "$work/$agent.json")" -c agent >&2 || true
    cat "$work/$agent.tests" "$work/$agent.denied" >&2 2>/dev/null || true
  fi
}

prepare
passed=0 failed=0
for agent in "${agents[@]}"; do run "$agent"; done
echo
printf '%-15s %-9s %-12s %7s %8s %7s  %-6s %-5s\n' agent version ended seconds allowed denied patch keys
cat "$work/table"
echo
echo "What each asked that was denied:"
for agent in "${agents[@]}"; do echo "$agent"; sed 's/^/  /' "$work/$agent.denied"; done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
