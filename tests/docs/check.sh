#!/usr/bin/env bash
# What README and docs/ tell a reader to write and to type, tried on the installed chart: every object of their YAML blocks is shown to
# the API server, and the blocks of commands that are marked `<!-- tests/docs: NAME -->` are run. A reader puts in images, repositories
# and hosts of his own; here these are the embedded cluster's. Needs the chart installed by tests/install.sh.
set -uo pipefail
cd "$(dirname "$0")/../.."
TELL_PASSED=yes
source tests/checks.sh
top=$PWD
state="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$state/kubeconfig" PATH="$top/target/x86_64-unknown-linux-gnu/release:$state/bin:$PATH"
work=$(mktemp -d)
clean() {
  kubectl delete agentruns --all --namespace team-a --ignore-not-found --wait
  kubectl delete namespace team-a argocd --ignore-not-found --wait
  kubectl delete sandboxcredentials anthropic github --ignore-not-found
  kubectl --namespace cofferdam-credentials delete secret anthropic github --ignore-not-found
  kubectl delete clusterrolebinding cofferdam-ceiling-view --ignore-not-found
} >/dev/null 2>&1
trap 'clean; rm -rf "$work"' EXIT
clean

# As a reader changes what he copies: his images, his repositories, his hosts.
ours() {
  sed -e 's|ghcr\.io/team-a/agent:1|cofferdam.test/attacker:dev|; s|ghcr\.io/team-a/\*|cofferdam.test/*|' \
    -e 's|url: https://github\.com/team-a/\*|url: https://git.internet.test/*\n          addresses: [203.0.113.10/32]|' \
    -e 's|hosts: \[api\.anthropic\.com\]|hosts: [model.internet.test]|' \
    -e 's|shop=https://github\.com/team-a/shop|shop=https://git.internet.test/two-first -- sh -c "echo mended > mended.txt"|'
}
# run NAME [FILTER…]: runs a marked block, changed by the filter, where a reader would stand.
run() {
  local name=$1; shift
  [ $# -gt 0 ] || set -- cat
  python3 "$top/tests/docs/blocks.py" shell "$name" | "$@" > "$work/$name.sh" || return 1
  (cd "$work/checkout" && bash -euo pipefail "$work/$name.sh")
}
says() { local words=$1; shift; local said; said=$("$@" 2>&1) && grep -qF -- "$words" <<<"$said" || { echo "$said"; return 1; }; }

git clone --quiet "$state/internet/git/two-first.git" "$work/checkout"
mkdir "$work/checkout/examples"
ours < examples/sandboxpolicy.yaml > "$work/checkout/examples/sandboxpolicy.yaml"
cp -r deploy "$work/checkout/"

check "README: the first run" run first-run ours
check "and its patch is on the checkout" grep -q mended "$work/checkout/mended.txt"

# That page begins with a namespace of its own.
clean
printf 'a-key-for-a-test\n' | tee "$work/checkout/anthropic.key" > "$work/checkout/github.token"
check "credentials: keys and where they may go" run credentials
check "and both are ready" kubectl wait sandboxcredentials anthropic github --for=condition=Ready --timeout=60s

python3 tests/docs/blocks.py yaml "$work" > "$work/objects"
served=$(kubectl api-versions)
taken=0
while read -r file place; do
  grep -qxF "$(sed -n 's/^apiVersion: *//p' "$file" | sed -n 1p)" <<<"$served" || continue
  taken=$((taken + 1))
  check "$place" kubectl apply --server-side --force-conflicts --dry-run=server --filename "$file"
done < "$work/objects"
check "there are objects to show" [ "$taken" -ge 10 ]

bind_the_team() {
  while read -r file place; do
    case $place in docs/access.md:*) kubectl apply --server-side --force-conflicts --filename "$file" >/dev/null || return 1 ;; esac
  done < "$work/objects"
}
check "access: a team is bound" bind_the_team
check "and may use its policy" says yes run may-use

kubectl create namespace argocd >/dev/null
kubectl --namespace argocd create configmap argocd-cm >/dev/null
check "gitops: health scripts for Argo CD" run argocd-health
check "which are there" says "Cofferdam has not looked at this run yet" kubectl --namespace argocd get configmap argocd-cm --output=yaml

cp target/test-values.yaml "$work/values.yaml"
deploy/install-yaml.sh "$work/values.yaml" "$work/checkout/install.yaml" >/dev/null
# As of an older version, which had one object more.
{ cat "$work/checkout/install.yaml"; printf -- '---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: of-an-older-version, namespace: cofferdam-system}\n'; } > "$work/checkout/install-old.yaml"
check "operate: what only the old file has" says "configmap/of-an-older-version" run older-objects
tried() { sed 's|kubectl delete -f -|kubectl delete --dry-run=client -f -|'; }
kept() { local all; all=$(run delete-all-but-data tried) && grep -q 'deployment.apps "cofferdam-gateway" deleted' <<<"$all" && ! grep -E '^(namespace|secret|customresourcedefinition|persistentvolumeclaim|configmap)' <<<"$all" || { echo "$all"; return 1; }; }
check "operate: uninstalling without Helm keeps namespaces, keys and definitions" kept
checked
