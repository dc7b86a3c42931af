#!/usr/bin/env bash
# Brings the other proxies into a directory: `tools.sh DIRECTORY`. Does nothing where they are there.
set -euo pipefail
cache="$1"
mitmproxy=11.0.2
for package in squid squid-openssl; do
  root="$cache/$package"
  [ -x "$root/usr/sbin/squid" ] && continue
  echo "fetching Debian's $package" >&2
  mkdir -p "$cache/archives/$package/partial"
  apt-get update -q >/dev/null
  # Only fetched: the two cannot be installed together, and neither is to be started by its package.
  apt-get install -y -q --no-install-recommends --download-only -o Dir::Cache::archives="$cache/archives/$package" \
    "$package" >/dev/null
  rm -rf "$root.new"
  for archive in "$cache/archives/$package"/*.deb; do dpkg-deb -x "$archive" "$root.new"; done
  mv "$root.new" "$root"
done
if [ ! -x "$cache/mitmproxy/bin/mitmdump" ]; then
  echo "fetching mitmproxy $mitmproxy from PyPI" >&2
  rm -rf "$cache/mitmproxy"
  python3 -m venv "$cache/mitmproxy"
  "$cache/mitmproxy/bin/pip" install --quiet --disable-pip-version-check "mitmproxy==$mitmproxy"
fi
