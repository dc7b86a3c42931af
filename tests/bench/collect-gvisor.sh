#!/usr/bin/env bash
# What collecting costs under gVisor, in the containers of a pod of the embedded cluster: one makes the work tree as `prepare`
# does, one changes it as an agent does, one collects as the sidecar does, each with its own mounts of the volumes.
# `tests/bench/collect-gvisor.sh [small|large|new|sparse|many|all]` (all: each but `many`) measures 20 changes among 60,000 files
# of 1 GB and of 8 GB, 49,500 new files, a sparse file of 20 GB, and a million new files, which takes the agent long to make. It
# prints a row for each, and fails above the goals: 3 s, 15 s, else the 60 s that all collecting has; 128 MiB. It needs the
# cluster with the runner's image (`make install`), 20 GB below the cluster's state directory, and nothing else running.
set -euo pipefail
cd "$(dirname "$0")/../.."
export COFFERDAM_STATE="${COFFERDAM_STATE:-/var/tmp/cofferdam}"
export KUBECONFIG="$COFFERDAM_STATE/kubeconfig" PATH="$COFFERDAM_STATE/bin:$PATH"
sizes=${1:-all}
space=bench-collect
place=$COFFERDAM_STATE/bench-collect
user=65532
end() {
  kubectl delete namespace "$space" --ignore-not-found --wait=true >/dev/null
  rm -rf "$place"
}
end
trap end EXIT

# Static, as the runner is: it rests on nothing in the image, and on what `images/build.sh` had built.
program=$(env RUSTFLAGS="-C target-feature=+crt-static" \
  cargo bench --quiet --locked --target x86_64-unknown-linux-gnu --bench collect --no-run --message-format=json-render-diagnostics |
  jq -r 'select(.target.name == "collect" and .executable != null).executable' | tail -1)
mkdir -p "$place"
cp "$program" "$place/collect"
kubectl create namespace "$space" >/dev/null
echo "| tree under gVisor | seconds | MiB | files in the patch | left out | whole |"
echo "|---|---|---|---|---|---|"

# measure NAME "DIRECTORIES EACH BYTES" "PART…" SECONDS FILES: a tree, what an agent does to it, within how many seconds the
# patch is to be there, and how many files it has.
failed=0
measure() {
  local name=$1 tree part=${3// /, } seconds=$4 files=$5
  read -r -a tree <<<"$2"
  rm -rf "$place/remote"
  "$place/collect" remote "$place/remote" "${tree[@]}"
  # Git takes repositories of no other owner.
  chown -R "$user:$user" "$place/remote"
  kubectl -n "$space" apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: collect}
spec:
  runtimeClassName: gvisor
  restartPolicy: Never
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: $user, runAsGroup: $user, fsGroup: $user}
  volumes:
    - {name: bench, hostPath: {path: "$place", type: Directory}}
    - {name: tree, emptyDir: {}}
    - {name: git, emptyDir: {}}
    - {name: scratch, emptyDir: {}}
  initContainers:
    - name: prepare
      image: cofferdam.test/cofferdam-runner:dev
      imagePullPolicy: Never
      command: [/bench/collect, prepare, /bench/remote, /git/pristine.git, /tree/work]
      resources: {requests: {cpu: 50m, memory: 128Mi}, limits: {cpu: "2", memory: 1Gi}}
      volumeMounts:
        - {name: bench, mountPath: /bench, readOnly: true}
        - {name: tree, mountPath: /tree}
        - {name: git, mountPath: /git}
        - {name: scratch, mountPath: /tmp}
    - name: agent
      image: cofferdam.test/cofferdam-runner:dev
      imagePullPolicy: Never
      command: [/bench/collect, $part]
      resources: {requests: {cpu: 50m, memory: 128Mi}, limits: {cpu: "1", memory: 512Mi}}
      volumeMounts:
        - {name: bench, mountPath: /bench, readOnly: true}
        - {name: tree, mountPath: /tree}
  containers:
    - name: sidecar
      image: cofferdam.test/cofferdam-runner:dev
      imagePullPolicy: Never
      command: [/bench/collect, measure, /git/pristine.git, /tree/work, /tmp/scratch, "$name"]
      # As the sidecar of a run has them.
      resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {cpu: "1", memory: 512Mi}}
      volumeMounts:
        - {name: bench, mountPath: /bench, readOnly: true}
        - {name: tree, mountPath: /tree, readOnly: true}
        - {name: git, mountPath: /git}
        - {name: scratch, mountPath: /tmp}
YAML
  local phase
  for _ in $(seq 1800); do
    phase=$(kubectl -n "$space" get pod collect -o jsonpath='{.status.phase}')
    case "$phase" in Succeeded | Failed) break ;; esac
    sleep 1
  done
  kubectl -n "$space" logs collect -c prepare >&2 || true
  local row
  row=$(kubectl -n "$space" logs collect -c sidecar)
  echo "$row"
  kubectl -n "$space" delete pod collect --wait=true >/dev/null
  awk -F '|' -v most="$seconds" -v files="$files" '{exit !($3 + 0 <= most && $4 + 0 <= 128 && $5 + 0 == files)}' <<<"$row" || {
    echo "not as it must be: within $seconds s, 128 MiB, $files files in the patch" >&2
    failed=1
  }
}

changed="change /tree/work"
case "$sizes" in small | all) measure "60,000 files, 1 GB, 20 files changed" "400 150 17000" "$changed" 3 20 ;; esac
case "$sizes" in large | all) measure "60,000 files, 8 GB, 20 files changed" "400 150 135000" "$changed" 15 20 ;; esac
case "$sizes" in new | all) measure "49,500 new files of 800 bytes" "1 1 10" "fill /tree/work new" 60 49500 ;; esac
case "$sizes" in sparse | all) measure "one sparse file of 20 GB" "1 1 10" "fill /tree/work sparse" 60 0 ;; esac
case "$sizes" in many) measure "1,000,000 new empty files" "1 1 10" "fill /tree/work many" 60 50000 ;; esac
exit "$failed"
