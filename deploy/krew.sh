#!/usr/bin/env bash
# Packs the plugin for krew: `deploy/krew.sh DIRECTORY MANUAL URI PLATFORM=BINARY…`, where a PLATFORM is linux-amd64 and the like.
#
# Writes into DIRECTORY for each platform the archive with the program, its completion for kubectl, the manual pages of MANUAL and
# the licence, and its sha256; and, where URI names the directory from which the archives will be downloaded, krew's
# manifest cofferdam.yaml with these sums (an empty URI: none). Equal programs give equal archives.
set -euo pipefail
[ $# -ge 4 ] || { echo "usage: $0 DIRECTORY MANUAL URI PLATFORM=BINARY…" >&2; exit 2; }
directory=$1 manual=$2 uri=${3%/}
shift 3
root=$(cd "$(dirname "$0")/.." && pwd)
case $uri in
  '') ;;
  *[!A-Za-z0-9:/._~%+-]*) echo "$0: this URI would not stand in a manifest as it is: $uri" >&2; exit 2 ;;
  https://*) ;;
  *) echo "$0: krew downloads by https only, and this is not such a URI: $uri" >&2; exit 2 ;;
esac
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)

mkdir -p "$directory"
# One of earlier archives would name their sums.
rm -f "$directory/cofferdam.yaml"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
platforms=
for built in "$@"; do
  platform=${built%%=*} binary=${built#*=}
  case $platform in
    linux-amd64|linux-arm64|darwin-amd64|darwin-arm64) ;;
    *) echo "$0: the plugin is not built for $platform" >&2; exit 2 ;;
  esac
  tree=$work/$platform archive=kubectl-cofferdam-$version-$platform.tar.gz
  mkdir -p "$tree/man/man1"
  install -m 0755 "$binary" "$tree/kubectl-cofferdam"
  install -m 0644 "$root/LICENSE" "$tree/LICENSE"
  install -m 0644 "$manual"/*.1 "$tree/man/man1"
  # By this name kubectl's own completion finds who completes `kubectl cofferdam`.
  printf '#!/bin/sh\nexec kubectl-cofferdam __complete "$@"\n' > "$tree/kubectl_complete-cofferdam"
  chmod 0755 "$tree/kubectl_complete-cofferdam" "$tree/man" "$tree/man/man1"
  tar -C "$tree" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - kubectl-cofferdam kubectl_complete-cofferdam LICENSE man \
    | gzip -n -9 > "$directory/$archive"
  sha256=$(sha256sum "$directory/$archive" | cut -d ' ' -f 1)
  echo "$sha256  $archive" > "$directory/$archive.sha256"
  platforms+="
    - selector:
        matchLabels:
          os: ${platform%-*}
          arch: ${platform#*-}
      uri: $uri/$archive
      sha256: $sha256
      bin: kubectl-cofferdam
      files:
        - from: kubectl-cofferdam
          to: .
        - from: kubectl_complete-cofferdam
          to: .
        - from: man
          to: .
        - from: LICENSE
          to: ."
  echo "$directory/$archive"
done
if [ -z "$uri" ]; then
  echo "no krew manifest, because no URI was given"
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
    Starts, follows, lists and ends runs of coding agents under Cofferdam, shows and applies what they changed, verifies it, and
    says before anything starts whether a run would be allowed, with which values, which policy decides each of them, and
    what the agent could reach.
  platforms:$platforms
YAML
echo "$directory/cofferdam.yaml"
