#!/usr/bin/env bash
# What the API server adds to the policies of the installed chart: nothing. A GitOps controller compares what is rendered
# with what is stored, so every default that the chart leaves out is a difference for ever. Needs the chart installed by
# tests/install.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/checks.sh
export KUBECONFIG="${COFFERDAM_STATE:-/var/tmp/cofferdam}/kubeconfig" PATH="${COFFERDAM_STATE:-/var/tmp/cofferdam}/bin:$PATH"
wanted=$(helm get manifest cofferdam --namespace cofferdam-system |
  kubectl create --dry-run=client --output=json --filename - |
  jq -c 'if .kind == "List" then .items[] else . end
    | select(.kind | IN("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "NetworkPolicy"))')
while read -r object; do
  name=$(jq -r '"\(.kind)/\(.metadata.name)"' <<<"$object")
  part='{spec, rules, roleRef, subjects} | del(..|nulls)'
  namespace=$(jq -r '.metadata.namespace // "default"' <<<"$object")
  stored=$(kubectl -n "$namespace" get "$name" --output=json | jq -S "$part")
  if difference=$(diff -u <(jq -S "$part" <<<"$object") <(echo "$stored")); then
    passed=$((passed + 1))
  else
    failed=$((failed + 1)); echo "FAILED: $name is stored with more than the chart has:"; echo "$difference"
  fi
done <<<"$wanted"
checked && [ "$passed" -gt 20 ]
