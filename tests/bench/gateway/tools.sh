#!/usr/bin/env bash
# Brings the other proxies into a directory: `tools.sh DIRECTORY`. Does nothing where they are there.
set -euo pipefail
cache="$1"
mitmproxy=11.0.2
"$(dirname "$0")/../../unpack.sh" "$cache" squid squid-openssl
if [ ! -x "$cache/mitmproxy/bin/mitmdump" ]; then
  echo "fetching mitmproxy $mitmproxy from PyPI" >&2
  rm -rf "$cache/mitmproxy"
  python3 -m venv "$cache/mitmproxy"
  "$cache/mitmproxy/bin/pip" install --quiet --disable-pip-version-check "mitmproxy==$mitmproxy"
fi
