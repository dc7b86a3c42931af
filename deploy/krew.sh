#!/usr/bin/env bash
# Packs the plugin for krew: `deploy/krew.sh BINARY DIRECTORY [URI]`.
#
# Writes DIRECTORY/kubectl-cofferdam, the archive with the licence, its sha256, and, where URI says from where the
# archive will be downloaded, krew's manifest cofferdam.yaml with that sha256. Equal binaries give equal archives.
set -euo pipefail
[ $# -eq 2 ] || [ $# -eq 3 ] || { echo "usage: $0 BINARY DIRECTORY [URI]" >&2; exit 2; }
binary=$1 directory=$2 uri=${3:-}
root=$(cd "$(dirname "$0")/.." && pwd)
case $uri in
  '') ;;
  *[!A-Za-z0-9:/._~%+-]*) echo "$0: this URI would not stand in a manifest as it is: $uri" >&2; exit 2 ;;
  https://*) ;;
  *) echo "$0: krew downloads by https only, and this is not such a URI: $uri" >&2; exit 2 ;;
esac
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
case $(uname -m) in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) echo "$0: krew has no name for $(uname -m)" >&2; exit 1 ;;
esac
archive=kubectl-cofferdam-$version-linux-$architecture.tar.gz

mkdir -p "$directory"
# One of an earlier archive would name its sha256.
rm -f "$directory/cofferdam.yaml"
install -m 0755 "$binary" "$directory/kubectl-cofferdam"
install -m 0644 "$root/LICENSE" "$directory/LICENSE"
# By this name kubectl's own completion finds who completes `kubectl cofferdam`.
printf '#!/bin/sh\nexec kubectl-cofferdam __complete "$@"\n' > "$directory/kubectl_complete-cofferdam"
chmod 0755 "$directory/kubectl_complete-cofferdam"
tar -C "$directory" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - kubectl-cofferdam kubectl_complete-cofferdam LICENSE \
  | gzip -n -9 > "$directory/$archive"
sha256=$(sha256sum "$directory/$archive" | cut -d ' ' -f 1)
echo "$sha256  $archive" > "$directory/$archive.sha256"
if [ -z "$uri" ]; then
  echo "$directory/$archive; no krew manifest, because no URI was given"
  exit
fi
cat > "$directory/cofferdam.yaml" <<YAML
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: cofferdam
spec:
  version: v$version
  shortDescription: Run coding agents in sandboxes that they cannot leave
  description: |
    Lists, describes and ends runs of coding agents under Cofferdam, and says before anything starts whether a run would
    be allowed, with which values, which policy decides each of them, and what the agent could reach.
  platforms:
    - selector:
        matchLabels:
          os: linux
          arch: $architecture
      uri: $uri
      sha256: $sha256
      bin: kubectl-cofferdam
      files:
        - from: kubectl-cofferdam
          to: .
        - from: kubectl_complete-cofferdam
          to: .
        - from: LICENSE
          to: .
YAML
echo "$directory/$archive and $directory/cofferdam.yaml"
