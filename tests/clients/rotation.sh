#!/usr/bin/env bash
# The gateway's authority is replaced while a client works: what a running sandbox was given holds for the one that signs next.
# `tests/clients/rotation.sh`. Moves the rotation of the installation forward by what it would take, as the role `keys` writes it
# down. The last line is "N passed, N failed". Needs the chart installed, and `tests/clients/run.sh` before it.
set -euo pipefail
cd "$(dirname "$0")/../.."
state="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$state/kubeconfig" PATH="$state/bin:$PWD/target/x86_64-unknown-linux-gnu/release:$PATH"
namespace=clients run=rotation secret=cofferdam-inspection-ca
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Asks until a second authority has signed what it meets, verifying each; what goes wrong is written down and ends it.
cat > "$work/client.py" <<'PYTHON'
import http.client, ssl, time

context = ssl.create_default_context()
seen = []
with open("result", "w") as result:
    while len(seen) < 2:
        connection = http.client.HTTPSConnection("127.0.0.1", 3128, context=context, timeout=20)
        connection.set_tunnel("allowed.internet.test", 443)
        connection.request("GET", "/")
        status = connection.getresponse().status
        der = connection.sock.getpeercert(True)
        place = der.index(b"\x55\x1d\x23")
        authority = der[place + 3 : place + 27].hex()
        connection.close()
        assert status == 200, status
        if authority not in seen:
            seen.append(authority)
            print("met", authority, flush=True)
            print("authority", authority, file=result, flush=True)
        time.sleep(0.5)
PYTHON
kubectl -n "$namespace" delete agentrun "$run" --ignore-not-found --wait >/dev/null
jq -n --rawfile script "$work/client.py" '{
  apiVersion: "cofferdam.dev/v1alpha1", kind: "AgentRun", metadata: {name: "rotation"}, spec: {
    task: {prompt: $script},
    agent: {image: "cofferdam.test/clients:dev", command: ["/bin/bash", "-c"], args: ["exec python3 \"$COFFERDAM_PROMPT_FILE\""]},
    repositories: [{name: "demo", url: "https://git.internet.test/demo.git", ref: "main", access: "ReadWrite"}],
    resources: {requests: {cpu: "100m", memory: "256Mi", "ephemeral-storage": "256Mi"}, limits: {cpu: "1", memory: "1Gi", "ephemeral-storage": "1Gi"}},
    activeDeadlineSeconds: 600}}' | kubectl -n "$namespace" apply -f - >/dev/null
job=''
until [ -n "$job" ] && kubectl -n "$namespace" logs "job/$job" -c agent 2>/dev/null | grep -q '^met '; do
  job=$(kubectl -n "$namespace" get agentrun "$run" -o jsonpath='{.status.workload.name}')
  [ -z "$(kubectl -n "$namespace" get agentrun "$run" -o jsonpath='{.status.completionTime}')" ] || break
  sleep 1
done

published() { kubectl -n cofferdam-system get secret "$secret" -o json | jq -r ".data[\"$1\"]" | base64 -d; }
before=$(published current.crt)
next=$(published next.crt)
# As if the one had signed for a month, and the other been published for three days.
long=$(date -u -d '-31 days' +%FT%TZ) days=$(date -u -d '-3 days' +%FT%TZ)
moved=$(published rotation.json | jq -c --arg long "$long" --arg days "$days" '.signsSince = $long | .beside.published = $days | .beside.replaced = null' | base64 -w 0)
kubectl -n cofferdam-system patch secret "$secret" --type=merge -p "{\"data\": {\"rotation.json\": \"$moved\"}}" >/dev/null
kubectl -n "$namespace" wait --for=jsonpath='{.status.completionTime}' --timeout=400s "agentrun/$run" >/dev/null || true
kubectl -n "$namespace" get agentrun "$run" -o json > "$work/run.json"
kubectl cofferdam -n "$namespace" diff "$run" > "$work/patch" || true

passed=0 failed=0
expect() { # WHAT COMMAND…
  if "${@:2}"; then echo "ok $1"; passed=$((passed + 1)); else echo "failed $1"; failed=$((failed + 1)); fi
}
expect "the role promoted the next authority" [ "$(published current.crt)" = "$next" ]
expect "the former one is trusted beside it" [ "$(published next.crt)" = "$before" ]
expect "the client met both, and trusted both" [ "$(grep -c '^+authority ' "$work/patch")" = 2 ]
expect "the run completed" [ "$(jq -r .status.reason "$work/run.json")" = Completed ]
expect "nothing was denied" [ "$(jq -r '.status.usage.deniedRequests // 0' "$work/run.json")" = 0 ]
[ "$failed" -eq 0 ] || kubectl -n "$namespace" logs "job/$job" -c agent --tail=20 >&2 || true
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
