#!/usr/bin/env bash
# What deploy/release.sh puts together, from the programs and images that were built for the embedded cluster: that it can be
# made again byte for byte, that sums and bills of materials are about these files, that a changed byte is found, and that
# the commands which would sign name the images' own digests. Needs helm, jq, and `make plugin image`.
set -uo pipefail
cd "$(dirname "$0")/../.."
source tests/checks.sh
export PATH="${COFFERDAM_STATE:-/var/tmp/cofferdam}/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sums() { (cd "$1" && sha256sum --check --strict --quiet SHA256SUMS); }

check "a release is put together" deploy/release.sh "$work/one"
check "and again" deploy/release.sh "$work/two"
check "equal inputs give equal files" diff -r "$work/one" "$work/two"
check "it is not written over another" not deploy/release.sh "$work/one"
check "the sums are right" sums "$work/one"
check "every file has one" [ "$(ls "$work/one" | grep -cvE '^(SHA256SUMS|SIGN.sh)$')" -eq "$(wc -l < "$work/one/SHA256SUMS")" ]
printf x >> "$work/two/cofferdam-runner-$(sed -n 's/^version: //p' charts/cofferdam/Chart.yaml)-image-amd64.tar"
check "a byte more is found" not sums "$work/two"

check "the plugin's archive has manual pages that man reads" bash -c '
  tar -xzf "$1"/kubectl-cofferdam-*-linux-amd64.tar.gz -C "$2" man && [ "$(ls "$2"/man/man1 | wc -l)" -gt 10 ]' _ "$work/one" "$work"

for sbom in "$work"/one/*-linux-amd64.cdx.json; do
  file=${sbom%.cdx.json}
  check "$(basename "$sbom") is about its program" [ "$(jq -r '.metadata.component.hashes[0].content' "$sbom")" = "$(sha256sum "$file" | cut -d' ' -f1)" ]
done
for sbom in "$work"/one/*.cdx.json; do
  name=$(basename "$sbom")
  check "$name is CycloneDX with a place for everything" jq -e '
    .bomFormat == "CycloneDX" and .specVersion == "1.6" and (.serialNumber | test("^urn:uuid:[0-9a-f-]{36}$"))
    and ([.components[]."bom-ref"] | length == (unique | length))
    and ([.components[]."bom-ref", .metadata.component."bom-ref"] as $known | [.dependencies[] | .ref, .dependsOn[]] - $known == [])' "$sbom"
  check "$name has the TLS library that is linked, and no test's" jq -e '[.components[].name] | any(. == "rustls") and all(. != "proptest")' "$sbom"
done
for program in cofferdam kubectl-cofferdam; do
  file=$(echo "$work"/one/$program-[0-9]*-linux-amd64)
  listed() {
    objcopy --dump-section .dep-v0="$work/crates" "$file" /dev/null &&
      python3 -c 'import json, sys, zlib; print(*sorted("%s@%s" % (each["name"], each["version"]) for each in json.loads(zlib.decompress(open(sys.argv[1], "rb").read()))["packages"]), sep="\n")' "$work/crates"
  }
  same_crates() { diff <(listed) <(jq -r '.components[] | "\(.name)@\(.version)"' "$file.cdx.json" | LC_ALL=C sort); }
  check "$program names the crates of its bill of materials inside itself" same_crates
done
check "the runner's image has git" jq -e '.components | any(.purl // "" | startswith("pkg:deb/debian/git@"))' "$work"/one/cofferdam-runner-*.cdx.json
check "the roles' image has no packages" jq -e '.components | all((.purl // "" | startswith("pkg:deb/")) | not)' "$work"/one/cofferdam-[0-9]*-image-amd64.cdx.json
same_chart() { diff <(helm template x "$work"/one/cofferdam-[0-9]*.tgz -f tests/chart/values.yaml) <(helm template x charts/cofferdam -f tests/chart/values.yaml); }
check "the packed chart renders as the one here" same_chart
for image in cofferdam cofferdam-runner; do
  of_archive=$(tar -xOf "$work"/one/$image-[0-9]*-image-amd64.tar index.json | jq -r '.manifests[0].digest')
  check "$image would be signed by its digest" grep -q "sign --yes \"\$REGISTRY/$image@$of_archive\"" "$work/one/SIGN.sh"
done
check "the commands are a script" bash -n "$work/one/SIGN.sh"

checked
