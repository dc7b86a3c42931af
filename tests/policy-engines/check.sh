#!/usr/bin/env bash
# Shows what the controller builds, and what it must not, to the policies of deploy/ in Gatekeeper's and Kyverno's own
# engines, built here at the versions that the modules beside this file pin. Needs no cluster; its registry is on
# loopback. Built engines are kept outside the tree by the hash of what they were made of. The last line is
# "N passed, N failed". COFFERDAM_BUILD_NICE: niceness of the long builds, 0 by default.
set -uo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cofferdam
logs=$(cd ../.. && pwd)/target/test-logs
mkdir -p "$cache" "$logs"
export GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
passed=0
failed=0

# count_packages: turns the names of compiled packages into one line for every hundred; lets all else through.
count_packages() {
  awk '/^[^ #]+$/ {if (++n % 100 == 0) {print "    " n " packages"; fflush()}; next} {print; fflush()}'
}

# build MODULE PACKAGE: puts the path of an engine into $engine, and builds it if it is not there.
build() {
  local module=$1 package=$2 name hash start=$SECONDS
  name=policy-engine-$module
  hash=$({ go version; echo "$package"; cat "$module/go.mod" "$module/go.sum"; } | sha256sum | cut -c1-16)
  engine=$cache/$name-$hash
  if [ -x "$engine" ]; then
    touch "$engine"
    echo "=== $module: built already, $engine"
    return
  fi
  echo "=== $module: building $package (the first time takes some minutes)"
  # It appears whole or not at all: two builds may run side by side.
  nice -n "${COFFERDAM_BUILD_NICE:-0}" go build -C "$module" -trimpath -v -o "$engine.$$" "$package" 2>&1 | count_packages \
    && mv "$engine.$$" "$engine" || { rm -f "$engine.$$"; return 1; }
  find "$cache" -maxdepth 1 -name "$name-*" -mtime +14 -delete
  echo "=== $module: built in $((SECONDS - start)) s"
}

# check MODULE: runs a module's tests and counts them.
check() {
  local module=$1 log="$logs/policy-engine-$1.log" status good bad start=$SECONDS
  # The flag as in build, or everything would be compiled anew.
  nice -n "${COFFERDAM_BUILD_NICE:-0}" go test -C "$module" -trimpath -count=1 -v ./... 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  good=$(grep -cE '^ *--- PASS' "$log")
  bad=$(grep -cE '^ *--- FAIL' "$log")
  # A test that does not compile, or breaks off, has no line of its own.
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  passed=$((passed + good)); failed=$((failed + bad))
  echo "=== $module: $good passed, $bad failed, $((SECONDS - start)) s"
}

# engine MODULE PACKAGE VARIABLE: builds an engine and checks its module, which finds it by that variable.
engine() {
  local engine
  if build "$1" "$2"; then
    export "$3=$engine"
    check "$1"
  else
    failed=$((failed + 1))
  fi
}

check sandbox
engine gatekeeper github.com/open-policy-agent/gatekeeper/v3/cmd/gator COFFERDAM_GATOR
engine kyverno github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno COFFERDAM_KYVERNO

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
