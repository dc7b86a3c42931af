#!/bin/bash
# Takes away from a root file system what a container has no use for: the package manager and its lists, caches,
# logs, time zones other than UTC, and what it took over from the machine that it was made on. dpkg's own list
# stays, so that a scanner can tell what is installed.
#
#   images/trim.sh ROOT
set -euo pipefail

root=$1
chroot "$root" dpkg --purge --force-depends --force-remove-essential --force-remove-protected apt debian-archive-keyring gpgv >/dev/null 2>&1
rm -rf "$root"/etc/apt "$root"/var/lib/apt "$root"/var/cache/* "$root"/var/log/* "$root"/usr/share/zoneinfo \
  "$root"/usr/share/bash-completion "$root"/usr/share/lintian "$root"/usr/share/gitweb "$root"/usr/lib/apt \
  "$root"/etc/resolv.conf "$root"/etc/hostname \
  "$root"/var/lib/dpkg/*-old "$root"/etc/*- "$root"/usr/share/perl5/Debian
find "$root/var/lib/dpkg/info" -type f ! -name '*.list' ! -name '*.md5sums' -delete

# The user that Cofferdam runs everything as; some programs want to find themselves in the list.
grep -q ':65532:' "$root/etc/group" || echo 'agent:x:65532:' >>"$root/etc/group"
grep -q ':65532:' "$root/etc/passwd" || echo 'agent:x:65532:65532::/home/agent:/bin/bash' >>"$root/etc/passwd"
mkdir -p "$root/home/agent" "$root/workspace"
chown 65532:65532 "$root/home/agent" "$root/workspace"

# Nothing in a sandbox may gain anything by what it starts.
find "$root" -xdev -type f -perm /6000 -exec chmod ug-s {} +
