#!/usr/bin/env bash
# Formatting, clippy, dependency rules, go vet, shell syntax, and generated files that must not differ.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --check
cargo clippy --quiet --locked --all-targets --all-features -- -D warnings
for module in tests/cluster tests/cluster/enforcer tests/cluster/image tests/cluster/internet tests/gitops tests/origins tests/policy-engines/sandbox; do
  unformatted=$(gofmt -l "$module" | grep -v /vendor/ || :)
  [ -z "$unformatted" ] || { echo "gofmt: $unformatted"; exit 1; }
  go vet -C "$module" ./...
done
tests/deny.sh
while read -r script; do bash -n "$script"; done < <(git ls-files '*.sh' .ci/run)
diff -r crds charts/cofferdam/files/crds || { echo "the chart's CRDs differ from crds/: run make crds"; exit 1; }
