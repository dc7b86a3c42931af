#!/bin/bash
# Compiles Python's own modules again, so that they are taken as they are: an image's files all have the same age, and
# a read-only root keeps what was compiled at the first start from being kept.
set -euo pipefail

chroot "$1" python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3.13 /usr/lib/python3
