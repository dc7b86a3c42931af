#!/bin/bash
# Makes the layer with mini-swe-agent and all that it needs from PyPI, pinned by hash, as a tar archive.
#
#   images/mini-swe-agent/layer.sh OUTPUT
set -euo pipefail

output=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packages=$work/layer/usr/lib/python3/dist-packages
mkdir -p "$packages" "$work/layer/usr/local/bin"

echo "images: installing mini-swe-agent from PyPI" >&2
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-deps --require-hashes --only-binary :all: --no-compile \
  --target "$packages" --requirement "$here/requirements.txt" >&2
# The web pages of litellm's proxy server are a tenth of the layer, and nothing here serves them.
rm -rf "$packages/bin" "$packages/litellm/proxy/_experimental/out"
# The root file system is read-only when it runs, so that nothing would be compiled but in memory, at every start.
/usr/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$work/layer" -p / "$packages"

cat >"$work/layer/usr/local/bin/mini" <<'SCRIPT'
#!/usr/bin/python3
from minisweagent.run.mini import app

app()
SCRIPT
chmod 0755 "$work/layer/usr/local/bin/mini"
tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "$work/layer" --file "$output.new" .
mv "$output.new" "$output"
