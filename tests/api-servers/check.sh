#!/usr/bin/env bash
# The chart, its custom resource definitions and its guard on older API servers: `tests/api-servers/check.sh [v1.33 …]`.
#
# Each is Kubernetes' own kube-apiserver of that version, built from its Go module, over the embedded cluster's etcd, on loopback. There
# are no controllers and no nodes: what is seen is what the API server takes, stores and refuses. The last line is
# "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.."
TELL_PASSED=yes
source tests/checks.sh
work=$(mktemp -d)
pids=()
end() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null; done
  pids=()
}
trap 'end; rm -rf "$work"' EXIT

tools=$(target/cluster build) || { echo "the embedded cluster's programs are not built"; exit 1; }
program() { sed -n "s/^$1 //p" <<<"$tools"; }
kube=$(program kube) helm=$(program helm)
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# begin VERSION: starts etcd and the API server, and makes a state directory as the embedded cluster's: kubeconfig and programs.
begin() {
  local state=$work/$1 apiserver etcd peer port token
  apiserver=$(tests/api-servers/build.sh "$1") || return 1
  mkdir -p "$state/bin"
  etcd=$(free_port) peer=$(free_port) port=$(free_port) token=$(openssl rand -hex 16)
  openssl genrsa -out "$state/accounts.key" 2048 2>/dev/null
  echo "$token,administrator,administrator,system:masters" > "$state/tokens.csv"
  "$kube" etcd --data-dir "$state/etcd" --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "default=http://127.0.0.1:$peer" > "$state/etcd.log" 2>&1 &
  pids+=($!)
  "$apiserver" --etcd-servers "http://127.0.0.1:$etcd" --bind-address 127.0.0.1 --secure-port "$port" --cert-dir "$state/certificates" \
    --service-cluster-ip-range 10.96.0.0/16 --authorization-mode RBAC --token-auth-file "$state/tokens.csv" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$state/accounts.key" \
    --service-account-signing-key-file "$state/accounts.key" > "$state/apiserver.log" 2>&1 &
  pids+=($!)
  cat > "$state/kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: x, cluster: {server: "https://127.0.0.1:$port", insecure-skip-tls-verify: true}}]
users: [{name: x, user: {token: $token}}]
contexts: [{name: x, context: {cluster: x, user: x}}]
current-context: x
YAML
  ln -sf "$helm" "$state/bin/helm"
  printf '#!/bin/sh\nexec "%s" kubectl "$@"\n' "$kube" > "$state/bin/kubectl"
  chmod +x "$state/bin/kubectl"
  export COFFERDAM_STATE=$state KUBECONFIG=$state/kubeconfig PATH=$state/bin:$original_path
  # The first answer comes before the API server has made its own roles.
  until_true 60 kubectl get clusterrole edit || { tail -20 "$state/apiserver.log"; return 1; }
}
original_path=$PATH

refused() {
  local words=$1 said; shift
  said=$("$@" 2>&1) && { echo "it was taken: $said"; return 1; }
  grep -qF -- "$words" <<<"$said" || { echo "wanted: $words"; echo "$said"; return 1; }
}
create() { kubectl create --dry-run=server --output=name --filename - "$@"; }
as_jane() { create --as=jane --as-group=system:authenticated "$@"; }
controller=system:serviceaccount:cofferdam-system:controller

objects() {
  cat <<'YAML'
apiVersion: v1
kind: Namespace
metadata: {name: tenant-a, labels: {cofferdam.dev/sandbox: enabled}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: jane-edits, namespace: tenant-a}
# What `edit` consists of, for no controller puts it together here.
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:aggregate-to-edit"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: tenant-a}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: jane-runs, namespace: tenant-a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cofferdam-edit}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: use-default, namespace: tenant-a}
rules: [{apiGroups: [cofferdam.dev], resources: [sandboxpolicies], resourceNames: [default], verbs: [use]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: jane-uses, namespace: tenant-a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: use-default}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]
YAML
}

metadata() { echo "metadata: {name: $1, namespace: ${2:-tenant-a}}"; }
pod() { cat <<YAML
apiVersion: v1
kind: Pod
$(metadata "$1" "${2:-}")
spec: {containers: [{name: x, image: x.invalid/x}]}
YAML
}
network_policy() { cat <<YAML
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
$(metadata "$1")
spec: {podSelector: $2, policyTypes: [Egress], egress: [{}]}
YAML
}
service() { cat <<YAML
apiVersion: v1
kind: Service
$(metadata "$1")
spec: {selector: {$2}, ports: [{port: 80}]$3}
YAML
}
# Endpoints of a pod of this name.
endpoints() { cat <<YAML
apiVersion: v1
kind: Endpoints
$(metadata way-in)
subsets: [{addresses: [{ip: 10.244.0.9, targetRef: {kind: Pod, name: $1, namespace: tenant-a}}], ports: [{port: 80}]}]
YAML
}
endpoint_slice() { cat <<YAML
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
$(metadata way-in)
addressType: IPv4
endpoints: [{addresses: [10.244.0.9], targetRef: {kind: Pod, name: $1, namespace: tenant-a}}]
ports: []
YAML
}
token_secret() { cat <<YAML
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: tenant-a, annotations: {kubernetes.io/service-account.name: $1}}
type: kubernetes.io/service-account-token
YAML
}
# agent_run NAME MORE-METADATA MORE-SPEC
agent_run() { cat <<YAML
apiVersion: cofferdam.dev/v1alpha1
kind: AgentRun
metadata: {name: $1, namespace: tenant-a$2}
spec:
  task: {prompt: Fix it.}
$3
YAML
}
image='  agent: {image: ghcr.io/team-a/agent:1}'
# The Job that the controller builds, in the words of its own test.
job() {
  awk '/^---$/ {n++; next} n >= 2' src/controller/agent_run/workload/snapshots/cofferdam_controller__agent_run__workload__tests__the_job_of_a_run.snap
}
frozen_policy() { cat <<YAML
apiVersion: v1
kind: ConfigMap
$(metadata policy-forged cofferdam-system)
data: {x: "y"}
YAML
}

every_object_is_there() {
  local wanted got
  wanted=$(helm get manifest cofferdam --namespace cofferdam-system | grep -c '^kind: ')
  got=$(helm get manifest cofferdam --namespace cofferdam-system | kubectl get --filename - --output=name | wc -l)
  [ "$wanted" -eq "$got" ] && [ "$wanted" -gt 50 ] || { echo "$wanted rendered, $got there"; return 1; }
}
examples() {
  local file
  for file in examples/clustersandboxpolicy.yaml deploy/default-policy.yaml deploy/profiles/*.yaml examples/sandboxpolicy.yaml examples/agentrun.yaml; do
    sed 's/^  namespace: .*/  namespace: tenant-a/' "$file" | kubectl create --dry-run=server --filename - >/dev/null || { echo "$file"; return 1; }
  done
}
stamped() { [ "$(kubectl -n tenant-a get agentrun "$1" --output=jsonpath='{.spec.requestedBy.username}')" = "$2" ]; }
canary() { pod agr-guard-canary | refused agr-guard-canary create; }
forged_status() { kubectl -n tenant-a patch agentrun mine --subresource=status --type=merge --patch '{"status": {"phase": "Succeeded"}}'; }

try() {
  local version=$1 serves=no
  kubectl api-resources --api-group=admissionregistration.k8s.io --output=wide 2>/dev/null | grep -q '^mutatingadmissionpolicies .*admissionregistration.k8s.io/v1 ' && serves=yes
  echo "=== $version: MutatingAdmissionPolicy v1: $serves"
  cat > "$work/values.yaml" <<'YAML'
image: {repository: registry.test/cofferdam}
runner: {image: {repository: registry.test/cofferdam-runner}}
clusterCIDRs: [10.244.0.0/16, 10.96.0.0/16]
apiServer: {cidrs: [10.96.0.1/32]}
YAML
  check "$version: Helm installs the chart" helm install cofferdam charts/cofferdam --namespace cofferdam-system --create-namespace --values "$work/values.yaml"
  check "$version: every object of it is stored" every_object_is_there
  check "$version: the definitions are served" kubectl wait --for=condition=Established --timeout=30s crd agentruns.cofferdam.dev sandboxpolicies.cofferdam.dev clustersandboxpolicies.cofferdam.dev sandboxcredentials.cofferdam.dev
  check "$version: the API server adds nothing to what the chart says" tests/chart/drift.sh
  objects | kubectl apply --server-side --filename - >/dev/null
  check "$version: the guard is live" until_true 30 canary
  check "$version: no other pod is refused" create < <(pod ordinary)
  check "$version: nobody makes a pod of a run" refused cofferdam-guard-pods create < <(pod agr-forged)
  check "$version: the controller's Job is taken" create --as="$controller" < <(job)
  check "$version: from nobody else" refused cofferdam-guard-jobs create < <(job)
  check "$version: no NetworkPolicy opens sandboxes" refused cofferdam-guard-networkpolicies as_jane < <(network_policy open '{}')
  check "$version: one that leaves them out is taken" as_jane < <(network_policy apart '{matchExpressions: [{key: cofferdam.dev/run, operator: DoesNotExist}]}')
  check "$version: no Service selects sandboxes" refused cofferdam-guard-services as_jane < <(service way-in 'cofferdam.dev/run: x' '')
  check "$version: others are taken" as_jane < <(service ordinary 'app: x' '')
  local gateway; gateway=$(kubectl -n cofferdam-system get service cofferdam-gateway --output=jsonpath='{.spec.clusterIP}')
  check "$version: no Service takes the gateway's address" refused cofferdam-guard-addresses as_jane < <(service taker 'app: x' ", externalIPs: [$gateway]")
  check "$version: no Endpoints name a sandbox" refused 'Sandbox pods are nobody'"'"'s endpoints: agr-x' create < <(endpoints agr-x)
  check "$version: no EndpointSlice names one" refused 'Sandbox pods are nobody'"'"'s endpoints: agr-x' create < <(endpoint_slice agr-x)
  check "$version: others are taken, in both kinds" eval 'create < <(endpoints x) && create < <(endpoint_slice x)'
  check "$version: no lasting token of sandboxes" refused cofferdam-guard-secrets create < <(token_secret cofferdam-sandbox)
  check "$version: tokens of other accounts are taken" create < <(token_secret other)
  check "$version: nobody forges a frozen policy" refused cofferdam-guard-policies create < <(frozen_policy)
  check "$version: the examples are taken" examples
  check "$version: a run needs the right to its policy" refused 'lacks the verb use on SandboxPolicy other' as_jane < <(agent_run theirs '' "$image
  policyRef: {name: other}")
  check "$version: with it a run is created" kubectl create --as=jane --as-group=system:authenticated --filename - < <(agent_run mine '' "$image")
  check "$version: nobody writes its status" refused cofferdam-guard-status forged_status
  check "$version: a run names no other requester" refused 'requestedBy' as_jane < <(agent_run forged '' "$image
  requestedBy: {username: somebody-else}")
  check "$version: a run has no finalizers" refused 'must not have finalizers' as_jane < <(agent_run stuck ', finalizers: [example.com/x]' "$image")
  check "$version: a run has one source of its agent" refused 'exactly one of agent.image and agentProfile' as_jane < <(agent_run none '' '')
  check "$version: a run by a profile is taken" as_jane < <(agent_run short '' '  agentProfile: claude-code')
  if [ "$serves" = yes ]; then
    check "$version: requesters are stamped" stamped mine jane
  else
    check "$version: requesters are not stamped" stamped mine ''
    check "$version: and one that is true is taken" as_jane < <(agent_run truthful '' "$image
  requestedBy: {username: jane}")
  fi
}

[ $# -gt 0 ] || set -- v1.33 v1.34 v1.35
for version in "$@"; do
  if begin "$version"; then try "$version"; else failed=$((failed + 1)); echo "FAILED: $version does not start"; fi
  end
done
checked
