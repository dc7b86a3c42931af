#!/usr/bin/env bash
# Fuzzes what reads foreign bytes: `fuzz/run.sh [SECONDS [TARGET…]]`, 60 s of each target by default.
#
# Needs a nightly compiler and a C++ compiler (libFuzzer is built from the crate libfuzzer-sys). What is found is written to
# fuzz/target/found; once it is mended, put it into fuzz/corpus/TARGET, with a name that begins with `taken-` or `refused-`:
# `make unit` tries the corpus every time.
set -euo pipefail
cd "$(dirname "$0")"
seconds="${1:-60}"
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(authority head hello paths)
cargo +nightly --version >/dev/null 2>&1 || { echo "fuzz: needs a nightly compiler: rustup toolchain install nightly" >&2; exit 1; }
command -v c++ >/dev/null || { echo "fuzz: needs a C++ compiler: apt-get install g++" >&2; exit 1; }
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1"
triple=$(rustc +nightly -vV | sed -n 's/^host: //p')
# A target of its own keeps these flags from build scripts.
cargo +nightly build --locked --release --target "$triple" --quiet
mkdir -p target/found target/grown
for target in "${targets[@]}"; do
  echo "fuzzing $target for $seconds s"
  mkdir -p "target/grown/$target"
  "target/$triple/release/$target" -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 \
    -artifact_prefix="target/found/$target-" "target/grown/$target" "corpus/$target"
done
