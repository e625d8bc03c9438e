#!/bin/bash
# Instructions a weight and token of the ARM kernels, counted under emulation: a table in Markdown.
# usage: bash .ci/arm.sh FOLDER; bash bench/arm/count.sh FOLDER [FORMAT...]
#
# A proxy for comparing variants where there is no ARM machine: it knows nothing of caches, of pipes or of memory. A row of 4096 columns costs the
# difference between 72 and 8 rows, divided by 64; so starting up is not counted. One token is generation, 32 are a prompt.
set -euo pipefail
cd "$(dirname "$0")/../.."
. "${1:?usage: bash bench/arm/count.sh FOLDER [FORMAT...]}/env"
shift
formats=${*:-Q4_K Q5_K Q6_K IQ4_XS Q4_0 IQ4_NL Q8_0 F16 BF16}
work=${TMPDIR:-/tmp}/nibble-arm-count
mkdir -p "$work"
gcc -O2 -shared -fPIC -o "$work/insn.so" bench/arm/insn.c
# As a release build compiles it, without the crates that only tests need.
common="--edition 2024 --target aarch64-unknown-linux-gnu -C opt-level=3 -C linker=aarch64-linux-gnu-gcc -C codegen-units=1 -C symbol-mangling-version=v0"
# shellcheck disable=SC2086
rustc $common --crate-type rlib --crate-name nibble_kernels -o "$work/libnibble_kernels.rlib" crates/kernels/src/lib.rs
# shellcheck disable=SC2086
rustc $common --extern "nibble_kernels=$work/libnibble_kernels.rlib" -o "$work/one_product" crates/kernels/examples/one_product.rs

count() { # FORMAT ISA ROWS TOKENS
  QEMU_CPU=max qemu-aarch64 -L /usr/aarch64-linux-gnu -plugin "$work/insn.so" "$work/one_product" "$@" 2>&1 | sed -n 's/^instructions //p'
}
echo "| format | isa | 1 token | 4 tokens | 32 tokens |"
echo "|---|---|---|---|---|"
for format in $formats; do
  for isa in ${ISAS:-neon dotprod i8mm}; do
    line="| $format | $isa |"
    for tokens in 1 4 32; do
      low=$(count "$format" "$isa" 8 "$tokens" || true)
      [ -n "$low" ] || continue 2 # not written
      high=$(count "$format" "$isa" 72 "$tokens")
      line+=" $(awk "BEGIN { printf \"%.4f\", ($high - $low) / (64 * 4096 * $tokens) }") |"
    done
    echo "$line"
  done
done
