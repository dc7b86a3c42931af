#!/bin/bash
# Makes a Debian root file system as a tar archive and prints where it is.
#
#   images/root.sh NAME
#
# images/NAME/packages lists the packages, images/NAME/suite (optional) names the release, images/NAME/finish.sh (optional) is run on this machine with the root's
# directory as its argument, after everything is installed. The result is kept in ~/.cache/cofferdam/roots by the
# content of all that it is made of; delete it there to have it made anew with today's packages.
set -euo pipefail

name=$1
here=$(cd "$(dirname "$0")" && pwd)
cache=${COFFERDAM_CACHE:-$HOME/.cache/cofferdam}/roots
# What the images contain is locked to a release: its Python is the one that the wheels are for.
base=bookworm
suite=$base

inputs=("$here/root.sh" "$here/trim.sh" "$here/$name/packages")
for optional in finish.sh suite; do
  if [[ -f $here/$name/$optional ]]; then inputs+=("$here/$name/$optional"); fi
done
if [[ -f $here/$name/suite ]]; then suite=$(<"$here/$name/suite"); fi
hash=$(cat "${inputs[@]}" | sha256sum | cut -c1-16)
root=$cache/$name-$hash.tar
if [[ -f $root ]]; then
  echo "$root"
  exit
fi

# The packages come from where this machine gets its own.
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
  [[ -s $file ]] && sources+=("$file")
done
if [[ ${#sources[@]} = 0 ]] || ! grep -q "$base" "${sources[@]}"; then
  echo "images/root.sh: this machine's apt sources have no Debian $base" >&2
  exit 1
fi
options=()
while IFS= read -r line; do
  options+=(--aptopt="$line")
done < <(apt-config dump | grep -E '^Acquire::https?::' || [[ $? = 1 ]])
finish=()
if [[ -x $here/$name/finish.sh ]]; then
  finish=(--customize-hook="$here/$name/finish.sh \"\$1\"")
fi

mkdir -p "$cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Another release is where this machine's own is.
if [[ $suite != "$base" ]]; then
  for index in "${!sources[@]}"; do
    sed "s/$base/$suite/g" "${sources[index]}" >"$work/$index-${sources[index]##*/}"
    sources[index]=$work/$index-${sources[index]##*/}
  done
fi
echo "images: making the root file system $name (a few minutes)" >&2
# trim.sh takes away apt altogether, so that mmdebstrap has nothing of it to clean.
SOURCE_DATE_EPOCH=0 TMPDIR=$work mmdebstrap --quiet --variant=minbase --mode=root \
  --skip=cleanup/apt --skip=cleanup/mmdebstrap \
  --include="$(grep -v '^#' "$here/$name/packages" | paste -sd,)" \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  "${options[@]}" "${finish[@]}" --customize-hook="$here/trim.sh \"\$1\"" \
  "$suite" "$work/root.tar" "${sources[@]}" >&2
mv "$work/root.tar" "$root.new"
mv "$root.new" "$root"
echo "$root"
