#!/bin/bash
# Makes a layer with packages of PyPI as a tar archive: `images/python.sh NAME ROOT OUTPUT`.
#
# images/NAME/requirements.txt, made by images/lock.py, names the packages and their hashes; ROOT is the archive of the root file
# system on which the layer will lie, whose Python compiles them: the root of a sandbox is read-only, so that nothing would be
# compiled but in memory, at every start. What is in images/NAME/bin becomes commands.
set -euo pipefail

name=$1 root=$2 output=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
tar --extract --file "$root" --directory "$work/root" --exclude './dev/*'
packages=usr/lib/python3/dist-packages
layer=$work/layer
mkdir -p "$layer/$packages" "$layer/usr/local/bin"
version=$(sed -n 's/^# python: //p' "$here/$name/requirements.in")
# No dash: a package's name may have one.
from_source=$(sed -n 's/^# source: //p' "$here/$name/requirements.in" | tr ' ' '\n')

echo "images: installing $name from PyPI" >&2
/usr/bin/python3 -m venv "$work/venv"
pip=("$work/venv/bin/pip" --disable-pip-version-check --quiet)
cp "$here/$name/requirements.txt" "$work/wheeled"
for package in $from_source; do
  grep "^$package==" "$work/wheeled" >"$work/sourced"
  sed -i "/^$package==/d" "$work/wheeled"
  # Plain Python: what it would do to be installed is not done.
  "${pip[@]}" download --no-deps --no-build-isolation --require-hashes --no-binary :all: --dest "$work/sources" --requirement "$work/sourced" >&2
done
target=(--target "$layer/$packages" --no-deps --no-compile --ignore-requires-python --only-binary :all: --implementation cp --python-version "${version:-3.11}")
for platform in manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64; do target+=(--platform "$platform"); done
"${pip[@]}" install "${target[@]}" --require-hashes --requirement "$work/wheeled" >&2
for archive in "$work"/sources/*.tar.gz; do
  [[ -f $archive ]] || continue
  mkdir -p "$work/unpacked"
  tar --extract --file "$archive" --directory "$work/unpacked" --strip-components 1
  for module in "$work"/unpacked/*/__init__.py; do cp -r "$(dirname "$module")" "$layer/$packages/"; done
  rm -rf "$work/unpacked"
done
# The web pages of litellm's proxy server are a tenth of the layer, and nothing here serves them.
rm -rf "$layer/$packages/bin" "$layer/$packages/litellm/proxy/_experimental/out"

# In a mount namespace of its own, which takes what is mounted with it. A package may bring files of another Python, which are not
# compiled and not used.
mkdir -p "$work/root/$packages/added" "$work/root/dev/shm"
unshare --mount bash -c 'mount --bind "$1/$3" "$2/$3/added" && mount -t tmpfs tmpfs "$2/dev/shm" &&
  { chroot "$2" python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "/$3/added" -p "/$3" "/$3/added" >&2 || true; }' \
  compile "$layer" "$work/root" "$packages"

for command in "$here/$name/bin"/*; do install -m 0755 "$command" "$layer/usr/local/bin/"; done
tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "$layer" --file "$output.new" .
mv "$output.new" "$output"
