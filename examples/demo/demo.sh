#!/usr/bin/env bash
# The demonstration: a real coding agent, in a gVisor sandbox on a real node, fixes a real bug, and this report says
# what happened. Needs the embedded cluster with the chart installed (`make demo` sees to both). Can be run again.
#
#   examples/demo/demo.sh [private]     private: the repository is private, the model wants a key, and both keys are at the gateway
set -euo pipefail
cd "$(dirname "$0")/../.."
state="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
# kubectl finds `kubectl cofferdam` by the name of the program.
export KUBECONFIG="$state/kubeconfig" PATH="$state/bin:$PWD/target/x86_64-unknown-linux-gnu/release:$PATH"
namespace=demo run=fix-the-bug files=examples/demo
case "${1:-}" in
  private) run=fix-the-private-bug files=examples/demo/private ;;
  "") ;;
  *) echo "usage: demo.sh [private]" >&2; exit 2 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

heading() { printf '\n\033[1m%s\033[0m\n' "$1"; }
field() { jq -r "$1" "$work/run.json"; }
seconds_between() { echo $(($(date -d "$2" +%s) - $(date -d "$1" +%s))); }

prepare_forge_and_namespace() {
  examples/demo/forge.sh "$state/internet"
  kubectl create namespace "$namespace" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl label namespace "$namespace" --overwrite cofferdam.dev/sandbox=enabled \
    pod-security.kubernetes.io/enforce=restricted >/dev/null
  kubectl -n "$namespace" delete agentrun "$run" --ignore-not-found --wait >/dev/null
  if [ "$files" = examples/demo/private ]; then put_keys; fi
  kubectl -n "$namespace" apply -f "$files/policy.yaml"
}

# New ones each time, so that what is searched for them afterwards cannot have them from before.
put_keys() {
  local name
  printf 'sk-demo-%s' "$(head -c 18 /dev/urandom | base64 | tr -dc a-zA-Z0-9)" > "$work/demo-model"
  printf 'e2e-git-%s' "$(head -c 18 /dev/urandom | base64 | tr -dc a-zA-Z0-9)" > "$work/demo-git"
  for name in demo-model demo-git; do
    kubectl -n cofferdam-credentials create secret generic "$name" --from-file=token="$work/$name" --dry-run=client -o yaml |
      kubectl apply -f - >/dev/null
  done
  kubectl apply -f "$files/credentials.yaml"
  kubectl wait --for=condition=Ready --timeout=60s sandboxcredential/demo-model sandboxcredential/demo-git
}

report_keys() {
  [ "$files" = examples/demo/private ] || return 0
  heading "Where the keys are: in nothing that the run left"
  local name of role
  of=$(ls -d "$state"/volumes/*/runs/"$(field .metadata.uid)")
  {
    kubectl -n "$namespace" get agentruns,jobs,pods,configmaps,events -o yaml
    kubectl -n "$namespace" logs --all-containers "job/$(field .status.workload.name)" || true
    kubectl -n cofferdam-system get configmaps -o yaml
    for role in controller gateway; do kubectl -n cofferdam-system logs "deployment/cofferdam-$role"; done
    cat "$of"/chain.jsonl "$of"/statement.json "$work/patch"
  } > "$work/everything" 2>/dev/null
  for name in demo-model demo-git; do
    # The control: the credential's name is there.
    grep -q "\"credential\":\"$name\"" "$work/everything" || { echo "  no record says that $name was used" >&2; return 1; }
    if grep -qF -f "$work/$name" "$work/everything"; then echo "  $name is in it" >&2; return 1; fi
    echo "  $name was used, and its value is in none of $(wc -c < "$work/everything") bytes"
  done
}

report_phases() {
  heading "What happened"
  local created started agent ended
  created=$(field .metadata.creationTimestamp); started=$(field .status.startTime)
  agent=$(field .status.agentStartTime); ended=$(field .status.completionTime)
  printf '  %-34s %s\n' "created" "$created"
  printf '  %-34s +%s s\n' "admitted, Job made" "$(seconds_between "$created" "$started")"
  printf '  %-34s +%s s\n' "fence proven closed" "$(seconds_between "$created" "$(field .status.isolation.provenTime)")"
  printf '  %-34s +%s s\n' "agent started" "$(seconds_between "$created" "$agent")"
  printf '  %-34s +%s s\n' "ended: $(field .status.reason)" "$(seconds_between "$created" "$ended")"
  field '"  sandbox: \(.status.isolation.runtimeClassName), own node \(.status.isolation.nodeAccess), policy \(.status.resolved.policyHash[0:12])…"'
  field '.status.resolved.repositories[] | "  repository \(.name) at \(.commit)"'
  heading "What it was allowed, and what it was denied"
  field '"  \(.status.usage.allowedRequests) requests allowed, \(.status.usage.deniedRequests) denied"'
  field '.status.lastDenied[]? | "  denied: \(.host) (\(.code))"'
  # The script asks for one thing that no policy names: a demonstration in which nothing was denied shows nothing.
  [ "$(field '.status.lastDenied | length')" -gt 0 ] || { echo "  nothing was denied" >&2; return 1; }
  heading "What the run's owner sees: kubectl cofferdam describe"
  kubectl cofferdam -n "$namespace" describe "$run" | sed 's/^/  /'
}

report_patch() {
  heading "The patch"
  kubectl cofferdam -n "$namespace" diff "$run" > "$work/patch"
  sed 's/^/  /' "$work/patch"
  git clone --quiet "$state/internet/git/demo.git" "$work/demo"
  heading "The project's tests without the patch"
  if (cd "$work/demo" && python3 -m unittest -q 2>&1 | tail -4 | sed 's/^/  /'; exit "${PIPESTATUS[0]}"); then
    echo "  they pass already: the demonstration shows nothing" >&2; return 1
  fi
  kubectl cofferdam -n "$namespace" verify "$run" --checkout "$work/demo"
  git -C "$work/demo" apply "$work/patch"
  heading "The project's tests with the patch"
  (cd "$work/demo" && python3 -m unittest -q 2>&1 | tail -4 | sed 's/^/  /'; exit "${PIPESTATUS[0]}")
}

report_writes() {
  heading "What it cost the API server: writes by user agent"
  tests/writes.sh "$namespace" "$(field .metadata.creationTimestamp)"
}

report_evidence() {
  heading "What proves it: the run's records, sealed and signed"
  field '.status.conditions[] | select(.type == "Sealed") | "  Sealed \(.status) \(.reason) \(.message)"'
  local of
  of=$(ls -d "$state"/volumes/*/runs/"$(field .metadata.uid)")
  kubectl -n cofferdam-system get configmap cofferdam-evidence-keys -o jsonpath='{.data.keys\.json}' > "$work/keys.json"
  examples/verify.sh "$of/chain.jsonl" "$of/statement.json" "$work/keys.json" | sed 's/^/  /'
}

heading "kubectl cofferdam run -f $files/agentrun.yaml"
prepare_forge_and_namespace
# Its exit code says how the run ended, and it has said why.
kubectl cofferdam -n "$namespace" run -f "$files/agentrun.yaml"
kubectl -n "$namespace" get agentrun "$run" -o json > "$work/run.json"
report_phases
report_patch
report_keys
report_writes
took=$(seconds_between "$(field .metadata.creationTimestamp)" "$(field .status.completionTime)")
heading "From the start to the patch: $took s"
[ "$took" -lt 60 ] || { echo "that is not under 60 s" >&2; exit 1; }
report_evidence
