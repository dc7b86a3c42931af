#!/usr/bin/env bash
# The chart without a cluster: lint, what it renders against rendered.yaml, and values that must be refused.
# `tests/chart/check.sh --update` writes rendered.yaml, src/controller/guard/guards.yaml, the chart's README.md and the
# descriptions in its values.schema.json, and docs/permissions.md anew. Needs helm, which the embedded cluster builds.
set -uo pipefail
cd "$(dirname "$0")/../.."
source tests/checks.sh
export PATH="${COFFERDAM_STATE:-/var/tmp/cofferdam}/bin:$PATH"
chart=charts/cofferdam
values=tests/chart/values.yaml

render() { helm template cofferdam "$chart" --namespace cofferdam-system --values "$values" "$@"; }

# refused WORDS FLAGS…: the values are refused, and the message says so.
refused() {
  local words=$1 said; shift
  said=$(render "$@" 2>&1 >/dev/null) && { echo "rendered"; return 1; }
  grep -qF -- "$words" <<<"$said" || { echo "wanted: $words"; echo "$said"; return 1; }
}

# The guard as the controller knows it, with placeholders for what an installation decides.
guards() {
  echo "# Written by tests/chart/check.sh --update from the chart. Do not edit."
  helm template cofferdam "$chart" --namespace placeholder-namespace --values "$values" --set crds.enabled=false \
    --set 'guard.podStatusWriters={placeholder:pod-status-writers}' --set 'guard.queueControllers={placeholder:queue-controllers}' \
    $(cd "$chart" && printf -- '--show-only %s ' templates/guard-*.yaml) | grep -v '^ *#'
}

same_guards() { diff -u src/controller/guard/guards.yaml <(guards); }

same() { diff -u tests/chart/rendered.yaml <(render --set crds.enabled=false); }

# Helm exits 0 for objects that are no objects; every document must have a kind.
only_objects() { [ "$(render | grep -c '^kind: ')" -eq "$(render | grep -c '^apiVersion: ')" ]; }

# stamped TIMES FLAGS…: the stamp of requesters is rendered so many times.
stamped() { local times=$1; shift; [ "$(render "$@" | grep -c '^kind: MutatingAdmissionPolicy$')" -eq "$times" ]; }

# aggregated TIMES FLAGS…: so many roles are added to the cluster's `edit`.
aggregated() { local times=$1; shift; [ "$(render "$@" | grep -c 'aggregate-to-edit: "true"')" -eq "$times" ]; }

if [ "${1:-}" = --update ]; then 
  tests/chart/values.py --update && render --set crds.enabled=false > tests/chart/rendered.yaml && guards > src/controller/guard/guards.yaml &&
    tests/chart/permissions.py tests/chart/rendered.yaml --update; exit
fi

# renders WORDS FLAGS…: what is rendered has the words.
renders() { local words=$1; shift; grep -qF -- "$words" <<<"$(render "$@")" || { echo "wanted: $words"; return 1; }; }

# leaves_out WORDS FLAGS…: what is rendered does not have the words.
leaves_out() { local words=$1; shift; local all; all=$(render "$@") && ! grep -nF -- "$words" <<<"$all"; }

# Every object has the labels that commonLabels asks for, so none was forgotten by its template.
all_labelled() {
  local objects labels
  objects=$(render --set extraObjects=null | grep -c '^kind: ') labels=$(render --set extraObjects=null | grep -c '^    helm.sh/chart: ')
  [ "$objects" -eq "$labels" ] || { echo "$objects objects, $labels with the labels of the release"; return 1; }
}

check "lint" helm lint --strict "$chart" --values "$values"
check "what is rendered" same
check "README and schema say what values.yaml says" tests/chart/values.py
check "the page of permissions says what the roles may" tests/chart/permissions.py tests/chart/rendered.yaml
check "every object has the labels of the release" all_labelled
check "a mirror holds all images" leaves_out "registry.test" --set global.imageRegistry=mirror.example.com/proxy
check "a mirror is asked for them" renders "mirror.example.com/proxy/cofferdam:dev" --set global.imageRegistry=mirror.example.com/proxy
check "OpenShift gives users by itself" leaves_out "runAsUser: 65532" --api-versions security.openshift.io/v1
check "and takes the rest" renders "runAsNonRoot: true" --api-versions security.openshift.io/v1
check "unless it is told not to" renders "runAsUser: 65532" --api-versions security.openshift.io/v1 --set global.compatibility.openshift.adaptSecurityContext=disabled
check "and where it is not seen" leaves_out "runAsUser: 65532" --set global.compatibility.openshift.adaptSecurityContext=force
check "pods that must stay" renders "minAvailable: 2" --set gateway.podDisruptionBudget.minAvailable=2
check "no budget" leaves_out "kind: PodDisruptionBudget" --set gateway.podDisruptionBudget.enabled=false --set output.podDisruptionBudget.enabled=false
check "no output API" leaves_out "name: cofferdam-output" --set output.enabled=false
check "no certificate for it" leaves_out "- --output" --set output.enabled=false
check "a certificate of one's own" renders "caBundle: LS0t" --set-file output.caBundle=<(printf -- '-----BEGIN CERTIFICATE-----\nbm90\n-----END CERTIFICATE-----\n')
check "a key for a bundle" refused "/output/caBundle" --set output.caBundle=secret
check "patches stay out of logs" leaves_out "print-patches"
once() { [ "$(render "${@:2}" | grep -cF -- "$1")" -eq 1 ]; }
check "unless they are wanted there, which is said once" once "- --print-patches" --set runner.patchInLog=true
check "no helm test" leaves_out "cofferdam-helm-test" --set helmTest.enabled=false
check "the test's run is the runner's image" renders "- --trial=registry.test/team/cofferdam-runner@sha256:"
check "unless another is named, which its policy then allows" renders 'allowed: ["mirror.test/agent:1"]' --set helmTest.image=mirror.test/agent:1
check "a test that waits for ever" refused "/helmTest/timeoutSeconds" --set helmTest.timeoutSeconds=0
check "a digest in the tag" refused "/image/tag" --set image.tag=sha256:0000000000000000000000000000000000000000000000000000000000000000
check "a short digest" refused "/image/digest" --set image.digest=sha256:0000
check "a name of a pull secret" refused "/imagePullSecrets/0" --set 'imagePullSecrets={pull}'
check "the guard is the one that the controller knows" same_guards
check "every document is an object" only_objects
check "the CRDs are kept" bash -c "grep -q 'helm.sh/resource-policy: keep' <<<\"\$(helm template x $chart -f $values -s templates/crds.yaml)\""
check "the CRDs need not be kept" bash -c "! grep -q 'resource-policy' <<<\"\$(helm template x $chart -f $values --set crds.keep=false -s templates/crds.yaml)\""
check "no ranges" refused "clusterCIDRs" --set clusterCIDRs=null
check "an address for a range" refused "/clusterCIDRs/0" --set 'clusterCIDRs={10.0.0.1}'
check "no image" refused "/image/repository" --set image.repository=
check "no runner image" refused "/runner/image/repository" --set runner.image.repository=
check "an unknown value" refused "gatway" --set gatway.replicas=3
check "an unknown value below" refused "replica" --set gateway.replica=3
check "no gateway" refused "/gateway/replicas" --set gateway.replicas=0
check "a drain that has no end" refused "/gateway/drainSeconds" --set gateway.drainSeconds=-1
check "a pod that outlives its drain" renders "terminationGracePeriodSeconds: 75" --set gateway.drainSeconds=45
check "a name for a probe" refused "/publicProbes/0" --set 'publicProbes={example.com:443}'
check "a key for a certificate" refused "/trustedCA" --set trustedCA=secret
check "a user that is CEL" refused "/guard/podStatusWriters/0" --set "guard.podStatusWriters={x' || true || 'y}"
check "credentials beside the keys" refused "credentials.namespace must be another namespace" --set credentials.namespace=cofferdam-system
check "credentials where a team keeps them" renders "--credentials-namespace=team-secrets" --set credentials.namespace=team-secrets
check "in a namespace that is made" renders "name: cofferdam-credentials" --show-only templates/rbac-gateway.yaml
check "or is there" leaves_out "kind: Namespace" --set credentials.createNamespace=false --show-only templates/rbac-gateway.yaml
check "a namespace that is none" refused "/credentials/namespace" --set credentials.namespace=Team_A
served=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy
check "requesters are stamped where the cluster can" stamped 1 --set requester.stamp=Auto --api-versions "$served"
check "and not where it cannot" stamped 0 --set requester.stamp=Auto
check "and not where they must not be" stamped 0 --set requester.stamp=Never --api-versions "$served"
check "a stamp that is none" refused "/requester/stamp" --set requester.stamp=Sometimes
check "who may edit may not use every policy" aggregated 1
check "unless it is so wanted" aggregated 2 --set access.use=Editors
check "an access that is none" refused "/access/use" --set access.use=Everybody
check "a queue that is CEL" refused "/guard/queueControllers/0" --set "guard.queueControllers={x' || true || 'y}"

checked
