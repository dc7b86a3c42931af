#!/usr/bin/env bash
# Unpacks a Debian package, and those that it needs and the machine has not, into a directory of its own below another one:
# `unpack.sh DIRECTORY PACKAGE…`. Nothing is installed or started. Does nothing where they are there.
set -euo pipefail
cache="$1"
shift
for package in "$@"; do
  root="$cache/$package"
  [ -d "$root" ] && continue
  echo "fetching Debian's $package" >&2
  mkdir -p "$cache/archives/$package/partial"
  apt-get update -q >/dev/null
  apt-get install -y -q --no-install-recommends --download-only -o Dir::Cache::archives="$cache/archives/$package" \
    "$package" >/dev/null
  rm -rf "$root.new"
  for archive in "$cache/archives/$package"/*.deb; do dpkg-deb -x "$archive" "$root.new"; done
  mv "$root.new" "$root"
done
