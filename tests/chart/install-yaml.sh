#!/usr/bin/env bash
# install.yaml, the chart without Helm: what it holds, that equal values give equal files, that the API server takes each
# object, and that it says the same as the release that Helm installed. Needs the chart installed by tests/install.sh.
set -uo pipefail
cd "$(dirname "$0")/../.."
source tests/checks.sh
export KUBECONFIG="${COFFERDAM_STATE:-/var/tmp/cofferdam}/kubeconfig" PATH="${COFFERDAM_STATE:-/var/tmp/cofferdam}/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

render() { deploy/install-yaml.sh "$@"; }
# refused WORDS ARGUMENTS…: it says no, with these words, and writes nothing.
refused() {
  local words=$1 said; shift
  said=$(render "$@" 2>&1) && { echo "rendered"; return 1; }
  [ ! -e "$2" ] || { echo "it wrote $2"; return 1; }
  grep -qF -- "$words" <<<"$said" || { echo "wanted: $words"; echo "$said"; return 1; }
}

# The test cluster stamps requesters, as Helm found out by asking it.
{ cat target/test-values.yaml; echo 'requester: {stamp: Always}'; } > "$work/values.yaml"
file=$work/install.yaml
check "it renders" render "$work/values.yaml" "$file"
check "equal values give equal files" bash -c "deploy/install-yaml.sh $work/values.yaml $work/again.yaml && cmp $file $work/again.yaml"
check "no hooks" bash -c "! grep -n 'helm-test' $file"
check "every document is an object" [ "$(grep -c '^kind: ' "$file")" -eq "$(grep -c '^apiVersion: ' "$file")" ]
check "the namespace is the first" [ "$(sed -n 's/^kind: //p' "$file" | sed -n 1p)" = Namespace ]
check "without ranges there is none" refused clusterCIDRs <(sed '/^clusterCIDRs/d' "$work/values.yaml") "$work/none.yaml"
check "nor for a namespace that is none" refused "is no name of a namespace" "$work/values.yaml" "$work/none.yaml" 'x;y'

objects=$(grep -c '^kind: ' "$file")
taken=$(kubectl apply --server-side --force-conflicts --dry-run=server --filename "$file" 2>"$work/refused" | grep -c 'serverside-applied (server dry run)')
check "the API server takes all $objects objects" [ "$taken" -eq "$objects" ]
cat "$work/refused" | grep -v '^Warning' | sed -n 1,10p
# The same objects as the release, but for who manages them. The diff ends with 1 where there is a difference.
kubectl diff --server-side --force-conflicts --field-manager=helm --filename "$file" > "$work/diff" 2>"$work/error"
check "it can be compared with the release" [ ! -s "$work/error" ]
differ() { grep -E '^[+-] ' "$work/diff" | grep -vE '^[+-] +(app\.kubernetes\.io/(managed-by|name|part-of): (Helm|kubectl|cofferdam)|(meta\.)?helm\.sh/(chart|resource-policy|release-name|release-namespace): .*|name: cofferdam-system|annotations:|pod-security\.kubernetes\.io/enforce: restricted|generation: [0-9]+)$'; }
same() { local all; all=$(differ); [ -z "$all" ] || { echo "$all"; return 1; }; }
check "and says the same" same
check "the comparison looks at something" grep -q 'managed-by: kubectl' "$work/diff"

checked
