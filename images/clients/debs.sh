#!/bin/bash
# Makes a layer of Debian packages that cannot be in a root, as a tar archive: `images/clients/debs.sh ROOT OUTPUT`. They are unpacked
# beside what ROOT has, and none of their scripts is run: apt, which images/trim.sh takes out of every root, and a JDK with Maven,
# whose scripts want the manuals that no root has.
set -euo pipefail

root=$1 output=$2
here=$(cd "$(dirname "$0")" && pwd)
suite=$(<"$here/suite")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,archives/partial,layer/usr/local/bin}
tar --extract --file "$root" --directory "$work" ./var/lib/dpkg/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main" >"$work/sources.list"
options=(-o "Dir::State::lists=$work/lists" -o "Dir::Cache::archives=$work/archives" -o "Dir::State::status=$work/var/lib/dpkg/status"
  -o "Dir::Etc::sourceparts=/dev/null" -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::preferencesparts=/dev/null"
  -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=root)
echo "images: unpacking apt, a JDK and Maven" >&2
apt-get "${options[@]}" -qq update >&2
apt-get "${options[@]}" -qq install --no-install-recommends --download-only -y apt debian-archive-keyring default-jdk-headless maven >&2
for archive in "$work"/archives/*.deb; do dpkg-deb -x "$archive" "$work/layer"; done
# In the place of the alternatives system.
for command in java javac; do ln -s "../../lib/jvm/default-java/bin/$command" "$work/layer/usr/local/bin/$command"; done
ln -s ../../share/maven/bin/mvn "$work/layer/usr/local/bin/mvn"
rm -rf "$work"/layer/usr/share/{doc,man,locale,bash-completion,lintian} "$work"/layer/{var,etc/cron.daily,etc/logrotate.d}
tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "$work/layer" --file "$output.new" .
mv "$output.new" "$output"
