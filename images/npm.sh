#!/bin/bash
# Makes a layer with packages of npm as a tar archive: `images/npm.sh NAME OUTPUT`.
#
# images/NAME/package.json and package-lock.json name the packages and their hashes; nothing that a package would run when it is
# installed is run. Each line of images/NAME/links is a command and the file below node_modules that it stands for.
set -euo pipefail

name=$1 output=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
place=$work/layer/opt/$name
mkdir -p "$place" "$work/layer/usr/local/bin"

echo "images: installing $name from npm" >&2
cp "$here/$name"/package{,-lock}.json "$place/"
(cd "$place" && npm ci --ignore-scripts --omit=dev --no-audit --no-fund --no-update-notifier --cache "$work/cache" >&2)
while read -r command file; do
  [[ -f $place/node_modules/$file ]] || { echo "images/npm.sh: $name has no $file" >&2; exit 1; }
  chmod 0755 "$place/node_modules/$file"
  ln -s "/opt/$name/node_modules/$file" "$work/layer/usr/local/bin/$command"
done <"$here/$name/links"
chmod -R u=rwX,go=rX "$work/layer/opt"
tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "$work/layer" --file "$output.new" .
mv "$output.new" "$output"
