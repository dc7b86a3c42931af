#!/usr/bin/env bash
# cargo deny, built once into the cache. Advisories need a database that is not in a package mirror; what is
# checked is what the project decides: which crates, which licences, which sources.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
tool="${HOME}/.cache/cofferdam/cargo-deny-${version}"
if [ ! -x "$tool/bin/cargo-deny" ]; then
  echo "building cargo-deny ${version} (once)"
  cargo install --quiet --locked --root "$tool" --no-default-features "cargo-deny@${version}"
fi
"$tool/bin/cargo-deny" --log-level error --locked check bans licenses sources
