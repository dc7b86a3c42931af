#!/usr/bin/env bash
# The events that `audit show -o ocsf` makes of each kind of record, which a test of the command holds it to, against the schema that
# OCSF publishes. The libraries are installed once, by content.
set -euo pipefail
cd "$(dirname "$0")/../.."
requirements=tests/ocsf/requirements.txt
environment="${COFFERDAM_CACHE:-$HOME/.cache/cofferdam}/ocsf-$(sha256sum "$requirements" | cut -c1-16)"
if [ ! -e "$environment/complete" ]; then
  /usr/bin/python3 -m venv --clear "$environment"
  "$environment/bin/pip" install --quiet --require-hashes --requirement "$requirements"
  touch "$environment/complete"
fi
"$environment/bin/python" tests/ocsf/check.py src/cli/audit/ocsf/events.jsonl
