#!/usr/bin/env bash
# Builds and packs the plugin: `deploy/plugin.sh DIRECTORY URI TARGET…`, with Rust's names of targets. The first is this machine's,
# and is built already; its program writes the manual pages of all, and is put into DIRECTORY as it is.
#
# Others need their standard library (`rustup target add TARGET`) and a C compiler and linker, as Cargo names them:
# CC_aarch64_unknown_linux_gnu=… and CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=…. For aarch64-unknown-linux-gnu these are
# Debian's gcc-aarch64-linux-gnu where nothing else is said. For darwin they need Apple's SDK.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 DIRECTORY URI TARGET…" >&2; exit 2; }
directory=$1 uri=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
export CC_aarch64_unknown_linux_gnu=${CC_aarch64_unknown_linux_gnu:-aarch64-linux-gnu-gcc}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-aarch64-linux-gnu-gcc}
built=()
own=$root/target/$1/release/kubectl-cofferdam
for target in "$@"; do
  case $target in
    x86_64-unknown-linux-gnu) platform=linux-amd64 flags='-C target-feature=+crt-static' ;;
    aarch64-unknown-linux-gnu) platform=linux-arm64 flags='-C target-feature=+crt-static' ;;
    x86_64-apple-darwin) platform=darwin-amd64 flags= ;;
    aarch64-apple-darwin) platform=darwin-arm64 flags= ;;
    *) echo "$0: the plugin is not built for $target" >&2; exit 2 ;;
  esac
  if [ "$target" != "$1" ]; then
    RUSTFLAGS=$flags cargo build --manifest-path "$root/Cargo.toml" --release --locked --package cofferdam-cli --bin kubectl-cofferdam --target "$target"
  fi
  built+=("$platform=$root/target/$target/release/kubectl-cofferdam")
done
manual=$(mktemp -d)
trap 'rm -rf "$manual"' EXIT
"$own" __man "$manual"
mkdir -p "$directory"
install -m 0755 "$own" "$directory/kubectl-cofferdam"
"$root/deploy/krew.sh" "$directory" "$manual" "$uri" "${built[@]}"
