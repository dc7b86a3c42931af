#!/usr/bin/env bash
# Measures the gateway beside other proxies: `tests/bench/gateway.sh [NAME…]`, all of them without names.
#
# Client, host and one proxy at a time are alone on the loopback of a network namespace of their own. squid and
# squid-openssl are Debian's, unpacked beside each other; mitmproxy is PyPI's. Wants a quiet machine, and root.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache="${COFFERDAM_BENCH:-/var/tmp/cofferdam-bench}"
mkdir -p "$cache"
program=$(cargo build --quiet --locked --release --bench gateway --message-format=json-render-diagnostics |
  jq -r 'select(.target.name == "gateway" and .executable != null).executable' | tail -1)
[ -n "$program" ] || { echo "gateway.sh: the program was not built" >&2; exit 1; }
tests/bench/gateway/tools.sh "$cache"
work=$(mktemp -d "${TMPDIR:-/tmp}/bench-gateway.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
unshare --mount --net --kill-child --fork tests/bench/gateway/inside.sh "$program" "$cache" "$work" "$@"
