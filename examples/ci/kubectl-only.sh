#!/usr/bin/env bash
# An agent by kubectl alone: `kubectl-only.sh NAMESPACE MANIFEST PATCH` creates the run, waits for its end, writes its one
# patch, and exits as `kubectl cofferdam run` does.
set -euo pipefail
namespace=${1:?kubectl-only.sh NAMESPACE MANIFEST PATCH} manifest=${2:?} patch=${3:?}
run=$(kubectl -n "$namespace" create -f "$manifest" -o jsonpath='{.metadata.name}')
echo "AgentRun $namespace/$run" >&2

# A run has one of two ends; whichever comes first.
for condition in Complete Failed; do
  kubectl -n "$namespace" wait "agentrun/$run" --for="condition=$condition" --timeout=2h >/dev/null 2>&1 &
done
wait -n || true
kill $(jobs -p) 2>/dev/null || true

field() { kubectl -n "$namespace" get agentrun "$run" -o jsonpath="{.status.$1}"; }
echo "$(field reason): $(field message)" >&2
case $(field failureClass) in
  '') ;;
  Agent) exit 10 ;;
  Policy) exit 12 ;;
  User) exit 13 ;;
  *) exit 11 ;;
esac

# Whole or not at all: the digest is the one that the archive gave the patch at receipt.
path=/apis/output.cofferdam.dev/v1alpha1/namespaces/$namespace/agentruns/$run/patch
kubectl get --raw "$path" > "$patch.part"
wanted=$(field 'outputs.patches[0].digest')
[ "sha256:$(sha256sum < "$patch.part" | cut -d ' ' -f 1)" = "$wanted" ] || { echo "the patch did not come whole" >&2; exit 2; }
mv "$patch.part" "$patch"
