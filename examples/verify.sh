#!/usr/bin/env bash
# Verifies the evidence of a run with the Python of docs/evidence.md: examples/verify.sh CHAIN STATEMENT KEYS
set -euo pipefail
page="$(dirname "$0")/../docs/evidence.md"
# program NUMBER: the page's first or second program.
program() { awk -v wanted="$1" '/^```python/ {seen++; inside = 1; next} /^```/ {inside = 0} inside && seen == wanted' "$page"; }
named=$(python3 -c "$(program 2)" "$2" "$3" 2>/dev/null)
# shellcheck disable=SC2086 # the run, the number of its last record and the hash of that
python3 -c "$(program 1)" "$1" $named
