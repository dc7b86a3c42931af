#!/usr/bin/env bash
# Sends the corpus of ambiguous requests through the gateway to servers that people run, nginx, Apache, lighttpd, h2o and Go's, each
# alone in a network namespace, and holds what each has seen against what the gateway has judged.
#
# The servers are Debian's, unpacked and not installed. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${COFFERDAM_ORIGINS:-/var/tmp/cofferdam-origins}"
mkdir -p "$cache"
tests/unpack.sh "$cache" nginx-light apache2-bin lighttpd h2o
go build -C tests/origins -o "$cache/origin" .
# As all unit tests are built, so that nothing is built again.
program=$(cargo test --quiet --locked --no-run --message-format=json-render-diagnostics |
  jq -r 'select((.target.kind | index("lib")) and .target.name == "cofferdam_gateway" and .executable != null).executable' | tail -1)
[ -n "$program" ] || { echo "origins.sh: the program was not built" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/origins.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
unshare --mount --net --kill-child --fork tests/origins/inside.sh "$program" "$cache" "$work"
