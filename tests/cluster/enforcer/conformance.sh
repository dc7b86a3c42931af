#!/bin/bash
# Holds the enforcer of the cluster that runs against upstream's own NetworkPolicy cases: all that this machine can
# run, or with --short eight of them. A success is remembered as long as no part changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
exec go run -trimpath ./conformance "$@"
