#!/usr/bin/env bash
# Writes the module of a kube-apiserver: `tests/api-servers/module.sh v1.33.13`, into the directory of its minor version. Kubernetes
# requires its own parts as v0.0.0 and replaces them by directories, which no other module can use: here each is required by its
# published version.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 VERSION" >&2; exit 2; }
version=$1 parts=v0.${1#v1.}
minor=${version%.*}
here=$(cd "$(dirname "$0")" && pwd)/$minor
mkdir -p "$here"
cd "$here"
export GOTOOLCHAIN=local GOFLAGS=-mod=mod
go=$(go mod download -json "k8s.io/kubernetes@$version" | jq -r .GoMod)
{
  echo "module cofferdam.dev/tests/api-servers/$minor"
  echo
  echo "go 1.26.0"
  echo
  echo "require ("
  echo "	k8s.io/kubernetes $version"
  sed -n "s|^\t\(k8s.io/[a-z-]*\) v0\.0\.0\( //.*\)\{0,1\}$|\t\1 $parts|p" "$go" | sort -u
  echo ")"
} > go.mod
cp ../main.go.in main.go
go mod tidy
