#!/usr/bin/env bash
# Takes a few real packages from the registries that presets name and lays them out as the registry double serves them:
# `tests/clients/registry.sh` prints the directory. It is kept by the hash of this script; delete it to have it taken anew.
# Needs Go and Maven, which know best what they ask for.
set -euo pipefail
cache=${COFFERDAM_CACHE:-$HOME/.cache/cofferdam}
tree=$cache/registry-$(sha256sum "$0" | cut -c1-16)
if [ -d "$tree" ]; then
  echo "$tree"
  exit
fi
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
echo "clients: taking packages from their registries" >&2

# put HOST PATH TYPE: keeps standard input as what the host answers for the path.
put() {
  local place="$work/tree/$1/$2"
  mkdir -p "$place"
  cat > "$place/@content"
  echo "$3" > "$place/@type"
}

# take HOST PATH TYPE [CURL OPTION…]
take() {
  curl --silent --show-error --fail --location --retry 3 "${@:4}" "https://$1/$2" > "$work/taken"
  put "$1" "$2" "$3" < "$work/taken"
}

# pip: a wheel, and the page that leads to it. Only that file of the page is there.
json=application/vnd.pypi.simple.v1+json
curl --silent --show-error --fail --location -H "Accept: $json" https://pypi.org/simple/six/ > "$work/six"
wheel=$(jq -r '.files[] | select(.filename == "six-1.17.0-py2.py3-none-any.whl").url' "$work/six")
jq '.files |= map(select(.filename == "six-1.17.0-py2.py3-none-any.whl"))' "$work/six" | put pypi.org simple/six/ "$json"
take files.pythonhosted.org "packages/${wheel##*/packages/}" application/octet-stream
# The page names the host that serves it outside.
sed -i "s#\"url\": \"[^\"]*/packages/#\"url\": \"https://files.pythonhosted.org/packages/#" "$work/tree/pypi.org/simple/six/@content"

# npm: a package, one that it needs, and one with a scope, whose name is one segment of a path.
for package in is-odd@3.0.1 is-number@6.0.0 @sindresorhus/is@7.1.1; do
  name=${package%@*} version=${package##*@}
  tarball="$name/-/${name##*/}-$version.tgz"
  curl --silent --show-error --fail "https://registry.npmjs.org/${name/\//%2f}" |
    jq --arg version "$version" --arg tarball "https://registry.npmjs.org/$tarball" \
      '.versions |= {($version): .[$version]} | .versions[$version].dist.tarball = $tarball | ."dist-tags" = {latest: $version}' |
    put registry.npmjs.org "${name/\//%2f}" application/json
  take registry.npmjs.org "$tarball" application/octet-stream
done

# cargo: the index that says where packages are, one of its files, and the package.
echo '{"dl": "https://static.crates.io/crates", "api": "https://crates.io"}' | put index.crates.io config.json application/json
curl --silent --show-error --fail https://index.crates.io/it/oa/itoa | jq -c 'select(.vers == "1.0.15")' | put index.crates.io it/oa/itoa text/plain
take static.crates.io crates/itoa/itoa-1.0.15.crate application/gzip
mkdir -p "$work/tree/static.crates.io/crates/itoa/1.0.15/download"
cp "$work/tree/static.crates.io/crates/itoa/itoa-1.0.15.crate"/@* "$work/tree/static.crates.io/crates/itoa/1.0.15/download/"

# Go: a module, and what the database of checksums says of it. Both caches are laid out as their servers are.
mkdir -p "$work/module"
(cd "$work/module" && printf 'module clients.test/x\n\ngo 1.20\n' > go.mod &&
  GOPATH="$work/go" GOFLAGS=-mod=mod GOTOOLCHAIN=local go get github.com/google/uuid@v1.6.0 >&2)
downloads="$work/go/pkg/mod/cache/download"
while read -r file; do
  put proxy.golang.org "$file" text/plain < "$downloads/$file"
done < <(cd "$downloads" && find github.com -type f ! -name '*.lock' ! -name '*.ziphash')
while read -r file; do
  put sum.golang.org "${file#sumdb/sum.golang.org/}" text/plain < "$downloads/$file"
done < <(cd "$downloads" && find sumdb -type f ! -name '*.lock')

# Maven: an artefact, and the plugin that fetches it with all that the plugin needs. A local repository is laid out as a remote one.
mvn -q -B -Dmaven.repo.local="$work/m2" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get \
  -Dartifact=org.hamcrest:hamcrest:2.2 -Dtransitive=false >&2
while read -r file; do
  put repo.maven.apache.org "maven2/$file" application/octet-stream < "$work/m2/$file"
done < <(cd "$work/m2" && find . -type f ! -name '_remote*' ! -name 'resolver-status*' -printf '%P\n')

# apt: the signed list of Debian 13, its list of packages by the name that its hash gives it, and one package.
take deb.debian.org debian/dists/trixie/InRelease text/plain
list=$(awk '/^SHA256:/ {on = 1} on && $3 == "main/binary-amd64/Packages.xz" {print $1; exit}' "$work/tree/deb.debian.org/debian/dists/trixie/InRelease/@content")
take deb.debian.org "debian/dists/trixie/main/binary-amd64/by-hash/SHA256/$list" application/x-xz
hello=$(xz -dc "$work/taken" | awk '/^Package: / {on = $2 == "hello"} on && /^Filename: / {print $2}')
take deb.debian.org "debian/$hello" application/x-debian-package

chmod -R u+w "$work/tree"
mkdir -p "$cache"
mv "$work/tree" "$tree.$$" && mv -T "$tree.$$" "$tree"
echo "$tree"
