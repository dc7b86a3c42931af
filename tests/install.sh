#!/usr/bin/env bash
# Load the images into the embedded cluster and install the chart with the real helm. Can be run again.
set -euo pipefail
cd "$(dirname "$0")/.."
state="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$state/kubeconfig" PATH="$state/bin:$PATH"

for image in busybox attacker mini-swe-agent; do images/build.sh "$image"; done
target/cluster load target/images/*.tar
# By digest too, as a pull from a registry leaves an image: profiles of agents name theirs so.
while read -r reference _ digest _; do
  case $reference in
    cofferdam.test/*:dev) said=$(ctr images tag --force "$reference" "${reference%:dev}@$digest" 2>&1) || { echo "$said" >&2; exit 1; } ;;
  esac
done < <(ctr images list 2>/dev/null)
tests/fixtures/forge.sh "$state/internet/git"

# A certificate for the output API, which the API server verifies by its authority in the values below.
tls=target/output-tls
if [ ! -s "$tls/tls.crt" ]; then
  mkdir -p "$tls"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=cofferdam-output-ca \
    -keyout "$tls/ca.key" -out "$tls/ca.crt" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=cofferdam-output -keyout "$tls/tls.key" -out "$tls/tls.csr" 2>/dev/null
  openssl x509 -req -in "$tls/tls.csr" -CA "$tls/ca.crt" -CAkey "$tls/ca.key" -CAcreateserial -days 3650 -out "$tls/tls.crt" \
    -extfile <(echo subjectAltName=DNS:cofferdam-output.cofferdam-system.svc; echo extendedKeyUsage=serverAuth) 2>/dev/null
fi
kubectl create namespace cofferdam-system --dry-run=client -o yaml | kubectl apply -f - >/dev/null
kubectl -n cofferdam-system create secret generic cofferdam-output-tls --dry-run=client -o yaml \
  --from-file="$tls/tls.crt" --from-file="$tls/tls.key" |
  kubectl label --local -f - app.kubernetes.io/managed-by=Helm -o yaml |
  kubectl annotate --local -f - meta.helm.sh/release-name=cofferdam meta.helm.sh/release-namespace=cofferdam-system -o yaml |
  kubectl apply --server-side --force-conflicts --field-manager=tests -f - >/dev/null

cat > target/test-values.yaml <<VALUES
log: info,cofferdam_controller=debug
image: {repository: cofferdam.test/cofferdam, tag: dev, pullPolicy: Never}
runner: {image: {repository: cofferdam.test/cofferdam-runner, tag: dev, pullPolicy: Never}}
clusterCIDRs: [10.244.0.0/16, 10.96.0.0/16, 10.10.0.0/24]
clusterDNS: [10.96.0.10]
publicProbes: ["203.0.113.66:443"]
apiServer: {cidrs: [10.96.0.1/32, 10.10.0.1/32]}
gateway: {replicas: 1, drainSeconds: 10}
output:
  caBundle: |
$(sed 's/^/    /' "$tls/ca.crt")
guard: {podStatusWriters: [cofferdam-test-kwok], queueControllers: ["system:serviceaccount:kueue-system:kueue-controller-manager"]}
archive: {storage: {className: local-static, size: 1Gi}}
trustedCA: |
$(sed 's/^/  /' "$state/internet/ca.pem")
VALUES
helm upgrade --install cofferdam charts/cofferdam --namespace cofferdam-system --create-namespace \
  --values target/test-values.yaml --wait --timeout 3m

# A chart that did not change leaves its pods alone, but the images behind the tag `dev` may have changed.
built=$(sha256sum target/images/cofferdam.tar target/images/cofferdam-runner.tar | sha256sum | cut -c1-16)
running=$(kubectl -n cofferdam-system get deploy cofferdam-gateway -o jsonpath='{.metadata.annotations.test-images}')
if [ -n "$running" ] && [ "$running" != "$built" ]; then
  kubectl -n cofferdam-system rollout restart deploy/cofferdam-keys deploy/cofferdam-output deploy/cofferdam-controller deploy/cofferdam-gateway statefulset/cofferdam-archive
fi
kubectl -n cofferdam-system annotate deploy cofferdam-gateway "test-images=$built" --overwrite >/dev/null
for role in deploy/cofferdam-keys deploy/cofferdam-output deploy/cofferdam-controller deploy/cofferdam-gateway statefulset/cofferdam-archive; do
  kubectl -n cofferdam-system rollout status "$role" --timeout=3m
done
# The ceiling that comes with the chart: every end-to-end run is under it too. It names the classes of the cluster, here
# with those that tests ask for: plain runc, one with a misleading name, and two that do not exist.
sed 's/runtimeClassNames: \[gvisor\]/runtimeClassNames: [gvisor, runc, cofferdam-test-gvisor, missing-runtime, no-such-runtime]/' deploy/default-policy.yaml |
  kubectl apply --server-side --force-conflicts -f -
# And a second one, so that each run is under three layers.
kubectl apply --server-side --force-conflicts -f tests/fixtures/second-ceiling.yaml
