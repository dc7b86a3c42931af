#!/usr/bin/env bash
# Puts everything of a release into a directory: `deploy/release.sh DIRECTORY`, after `make plugin image`.
#
# Programs, the plugin's archive, images as OCI archives, the chart, manifests, a bill of materials (CycloneDX) for each program
# and image, and SHA256SUMS. Equal inputs give equal files. It signs and uploads nothing: it writes the commands that
# would, with the digests of what they are about, to SIGN.sh, for whoever holds the identity. Needs helm.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
top=$(cd "$(dirname "$0")/.." && pwd)
binaries=${BINARIES:-$top/target/auditable}
images=${IMAGES:-$top/target/images}
version=$(sed -n 's/^version: //p' "$top/charts/cofferdam/Chart.yaml")
[ "$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml" | sed -n 1p)" = "$version" ] || { echo "$0: chart and workspace have other versions" >&2; exit 1; }
if [ -e "$1" ] && [ -n "$(ls -A "$1")" ]; then echo "$0: $1 is not empty" >&2; exit 1; fi
mkdir -p "$1"
directory=$(cd "$1" && pwd)
cd "$directory"

# A tar archive that depends on names and contents alone.
archive() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -cf - "$@" | gzip -n -9; }

for program in cofferdam kubectl-cofferdam; do
  install -m 0755 "$binaries/$program" "$program-$version-linux-amd64"
  "$top/deploy/sbom.py" binary "$program" "$program-$version-linux-amd64" > "$program-$version-linux-amd64.cdx.json"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$binaries/kubectl-cofferdam" __man "$work/manual"
plugins=("linux-amd64=$binaries/kubectl-cofferdam")
# Those of other platforms that this release is to have: `make plugin` has built them.
for target in ${PLUGIN_TARGETS:-}; do
  case $target in
    aarch64-unknown-linux-gnu) platform=linux-arm64 ;;
    x86_64-apple-darwin) platform=darwin-amd64 ;;
    aarch64-apple-darwin) platform=darwin-arm64 ;;
    *) echo "$0: the plugin is not built for $target" >&2; exit 2 ;;
  esac
  plugins+=("$platform=$top/target/$target/release/kubectl-cofferdam")
done
"$top/deploy/krew.sh" "$work/packed" "$work/manual" "" "${plugins[@]}" >/dev/null
mv "$work"/packed/*.tar.gz .

for image in cofferdam cofferdam-runner; do
  cp --dereference "$images/$image.tar" "$image-$version-image-amd64.tar"
  programs=(cofferdam)
  [ "$image" = cofferdam-runner ] || programs+=(kubectl-cofferdam)
  "$top/deploy/sbom.py" image "$image" "$image-$version-image-amd64.tar" "${programs[@]}" > "$image-$version-image-amd64.cdx.json"
done

archive -C "$top/charts" cofferdam > "cofferdam-$version.tgz"
helm show chart "cofferdam-$version.tgz" >/dev/null
cp "$top/deploy/default-policy.yaml" default-policy.yaml
cp "$top/deploy/argocd/health.yaml" argocd-health.yaml
cat "$top"/crds/*.yaml > crds.yaml
cp "$top/LICENSE" LICENSE
chmod 0644 ./*.yaml ./*.tgz ./*.tar ./*.json ./*.tar.gz LICENSE
sha256sum -- * > SHA256SUMS

# What cosign would be asked, where REGISTRY is the place of the images. Nothing here was run.
digest() { jq -er '.metadata.component.hashes[0].content' "$1"; }
{
  echo '#!/usr/bin/env bash'
  echo '# Signs what SHA256SUMS names, and the images once they are pushed. Set REGISTRY, then run it where cosign has an identity.'
  echo 'set -euo pipefail'
  echo ': "${REGISTRY:?name the registry that the images were pushed to}"'
  echo 'sha256sum --check --strict SHA256SUMS'
  echo 'cosign sign-blob --yes --bundle SHA256SUMS.sigstore.json SHA256SUMS'
  for image in cofferdam cofferdam-runner; do
    sbom=$image-$version-image-amd64.cdx.json
    echo "cosign sign --yes \"\$REGISTRY/$image@sha256:$(digest "$sbom")\""
    echo "cosign attest --yes --type cyclonedx --predicate $sbom \"\$REGISTRY/$image@sha256:$(digest "$sbom")\""
  done
} > SIGN.sh
chmod 0755 SIGN.sh
echo "$directory: $(wc -l < SHA256SUMS) files, not signed"
