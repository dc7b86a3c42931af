#!/usr/bin/env bash
# The evidence of the run that was sealed last in the embedded cluster, verified by others: the Python of docs/evidence.md,
# and the libraries of in-toto and securesystemslib from PyPI. The libraries are installed once, by content.
set -euo pipefail
cd "$(dirname "$0")/../.."
state="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$state/kubeconfig" PATH="$state/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The index beside it says whose run it was; what the controller never heard of has none.
statement=
for found in $(ls -t "$state"/volumes/*/runs/*/statement.json); do
  [ -e "$(dirname "$found")/index.json" ] && { statement=$found; break; }
done
[ -n "$statement" ] || { echo "no run has a statement"; exit 1; }
kubectl -n cofferdam-system get configmap cofferdam-evidence-keys -o jsonpath='{.data.keys\.json}' > "$work/keys.json"

requirements=tests/statement/requirements.txt
environment="${COFFERDAM_CACHE:-$HOME/.cache/cofferdam}/statement-$(sha256sum "$requirements" | cut -c1-16)"
if [ ! -e "$environment/complete" ]; then
  /usr/bin/python3 -m venv --clear "$environment"
  "$environment/bin/pip" install --quiet --require-hashes --requirement "$requirements"
  touch "$environment/complete"
fi
examples/verify.sh "$(dirname "$statement")/chain.jsonl" "$statement" "$work/keys.json"
# Its namespace may be gone: an administrator reads it all the same, by its uid.
name=$(jq -r .run "$(dirname "$statement")/index.json")
target/x86_64-unknown-linux-gnu/release/kubectl-cofferdam audit export "${name#*/}" --namespace "${name%/*}" \
  --uid "$(basename "$(dirname "$statement")")" --directory "$work/export"
"$environment/bin/python" tests/statement/check.py "$statement" "$work/keys.json" "$work/export"
