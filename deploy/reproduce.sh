#!/usr/bin/env bash
# Builds the programs of a release once more, from the committed files in another directory, and compares them with those of
# `make binary`: `deploy/reproduce.sh`. Paths, times and the target directory must not be in them. The registry's directory
# (CARGO_HOME) and the compiler are the same in both builds: what they put into a program is not seen here.
set -euo pipefail
[ $# -eq 0 ] || { echo "usage: $0" >&2; exit 2; }
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
first=$PWD/target/$target/release
[ -z "$(git status --porcelain --untracked-files=no)" ] || { echo "$0: commit first: the second build takes what is committed" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git archive HEAD | tar -x -C "$work"
(cd "$work" && RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR="$work/elsewhere" \
  cargo build --quiet --release --locked --bin cofferdam --bin kubectl-cofferdam --target "$target")
differ=0
for program in cofferdam kubectl-cofferdam; do
  one=$(sha256sum < "$first/$program") two=$(sha256sum < "$work/elsewhere/$target/release/$program")
  if [ "$one" = "$two" ]; then
    echo "$program: both builds are ${one%% *}"
  else
    echo "$program: ${one%% *} and ${two%% *}"; differ=1
  fi
done
exit "$differ"
