#!/usr/bin/env bash
# Renders the chart into one file for clusters without Helm: `deploy/install-yaml.sh VALUES FILE [NAMESPACE]`.
#
# The file begins with the namespace. It has no hooks and nothing that only Helm reads. Whether requesters are stamped
# is `requester.stamp` of the values: `Auto` asks a cluster, and there is none here, so write `Always` for Kubernetes
# 1.36 and later. Equal values give equal files. Needs helm.
set -euo pipefail
[ $# -eq 2 ] || [ $# -eq 3 ] || { echo "usage: $0 VALUES FILE [NAMESPACE]" >&2; exit 2; }
values=$1 file=$2 namespace=${3:-cofferdam-system}
chart=$(cd "$(dirname "$0")/.." && pwd)/charts/cofferdam
version=$(sed -n 's/^version: //p' "$chart/Chart.yaml")
[[ $namespace =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]] || { echo "$0: $namespace is no name of a namespace" >&2; exit 2; }
[ -r "$values" ] || { echo "$0: $values cannot be read" >&2; exit 1; }

mkdir -p "$(dirname "$file")"
new=$(mktemp "$file.XXXXXX")
trap 'rm -f "$new"' EXIT
rendered=$(helm template cofferdam "$chart" --namespace "$namespace" --values "$values" --no-hooks --set crds.keep=false)
{
  cat <<YAML
# Cofferdam $version, rendered from its chart. Apply it with the rights of a cluster administrator:
#   kubectl apply --server-side -f install.yaml
# Then read deploy/default-policy.yaml of this version, name your RuntimeClass in it, and apply it. docs/operate.md says how to
# upgrade and how to uninstall.
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    app.kubernetes.io/name: cofferdam
    app.kubernetes.io/part-of: cofferdam
    app.kubernetes.io/managed-by: kubectl
    pod-security.kubernetes.io/enforce: restricted
YAML
  # Objects that an uninstallation by Helm leaves say so in their one annotation.
  sed -e '/^  annotations:$/{N;/helm\.sh\/resource-policy: keep$/d;}' -e '/^# Source: /d' -e '/^ *helm\.sh\/chart: /d' -e 's/^\( *app\.kubernetes\.io\/managed-by: \)Helm$/\1kubectl/' <<<"$rendered"
} > "$new"
# What is left of Helm would be an annotation or a label that a later chart brings.
if grep -n 'helm\.sh' "$new"; then echo "$0: these lines mean something to Helm alone" >&2; exit 1; fi
chmod 0644 "$new"
mv "$new" "$file"
echo "$file: $(grep -c '^kind: ' "$file") objects"
