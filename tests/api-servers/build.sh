#!/usr/bin/env bash
# Builds Kubernetes' API server of a minor version, unless it is in the cache, and prints its path: `tests/api-servers/build.sh v1.33`.
# The cache is ~/.cache/cofferdam, by the hash of the module and of Go. COFFERDAM_BUILD_NICE: niceness of the build, 0 by default.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 v1.MINOR" >&2; exit 2; }
module=$(cd "$(dirname "$0")/$1" && pwd)
cache=${COFFERDAM_CACHE:-$HOME/.cache/cofferdam}
export GOTOOLCHAIN=local GOFLAGS=-buildvcs=false CGO_ENABLED=0
hash=$({ go version; cat "$module/go.mod" "$module/go.sum" "$module/main.go"; } | sha256sum | cut -c1-16)
program=$cache/kube-apiserver-$1-$hash
if [ ! -x "$program" ]; then
  mkdir -p "$cache"
  version=$(sed -n 's|^\tk8s.io/kubernetes ||p' "$module/go.mod")
  minor=${1#v1.}
  base=k8s.io/component-base/version
  # Without them the API server says that it is of no version, and clients that read it fail.
  flags="-s -w -X $base.gitVersion=$version -X $base.gitMajor=1 -X $base.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=$version"
  echo "building kube-apiserver $version (the first time takes some minutes)" >&2
  # It appears whole or not at all: two builds may run side by side.
  nice -n "${COFFERDAM_BUILD_NICE:-0}" go build -C "$module" -trimpath -ldflags "$flags" -o "$program.$$" . >&2 && mv "$program.$$" "$program"
  find "$cache" -maxdepth 1 -name "kube-apiserver-$1-*" ! -path "$program" -mtime +14 -delete
fi
touch "$program"
echo "$program"
