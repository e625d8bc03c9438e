#!/bin/bash
# The table of count.sh for llama.cpp's ARM kernels: those that multiply rows as the file has them, and those for rows that it rearranged when loading.
# usage: bash .ci/arm.sh FOLDER; bash bench/arm/peer.sh FOLDER LLAMA_CPP    (LLAMA_CPP: its source tree)
set -euo pipefail
llama=$(cd "${2:?usage: bash bench/arm/peer.sh FOLDER LLAMA_CPP}" && pwd)
cd "$(dirname "$0")/../.."
. "$1/env"
work=${TMPDIR:-/tmp}/nibble-arm-peer
mkdir -p "$work"
gcc -O2 -shared -fPIC -o "$work/insn.so" bench/arm/insn.c
cpu=$llama/ggml/src/ggml-cpu
flags="-O3 -DNDEBUG -DGGML_USE_CPU_REPACK -ffunction-sections -I$llama/ggml/include -I$llama/ggml/src -I$cpu"
for arch in dotprod:armv8.2-a+dotprod+fp16 i8mm:armv8.6-a+dotprod+fp16+i8mm; do
  out=$work/${arch%%:*}
  # shellcheck disable=SC2086
  aarch64-linux-gnu-gcc $flags -march=${arch#*:} -c -o "$out-quants.o" "$cpu/arch/arm/quants.c"
  # shellcheck disable=SC2086
  aarch64-linux-gnu-g++ $flags -march=${arch#*:} -c -o "$out-repack.o" "$cpu/arch/arm/repack.cpp"
  # Only the kernels are wanted of it: what they never call may stay away.
  aarch64-linux-gnu-g++ -O2 -Wl,--gc-sections -static -Wl,--unresolved-symbols=ignore-all -o "$out" -x c++ bench/arm/peer.c -x none "$out-quants.o" "$out-repack.o"
done

count() { # ARCH KERNEL ROWS TOKENS
  QEMU_CPU=max,sve=off qemu-aarch64 -L /usr/aarch64-linux-gnu -plugin "$work/insn.so" "$work/$1" "${@:2}" 2>&1 | sed -n 's/^instructions //p'
}
line() { # ARCH KERNEL TOKENS...
  line="| $1 | $2 |"
  for tokens in 1 32; do
    if [[ " ${*:3} " == *" $tokens "* ]]; then
      low=$(count "$1" "$2" 8 "$tokens")
      high=$(count "$1" "$2" 72 "$tokens")
      line+=" $(awk "BEGIN { printf \"%.4f\", ($high - $low) / (64 * 4096 * $tokens) }") |"
    else
      line+=" |"
    fi
  done
  echo "$line"
}
echo "| isa | kernel | 1 token | 32 tokens |"
echo "|---|---|---|---|"
for kernel in q4_K_q8_K q5_K_q8_K q6_K_q8_K iq4_xs_q8_K q4_0_q8_0 iq4_nl_q8_0 q8_0_q8_0; do line dotprod $kernel 1; done
for kernel in q4_K_8x4_q8_K q5_K_8x4_q8_K q6_K_8x4_q8_K q4_0_4x4_q8_0 iq4_nl_4x4_q8_0 q8_0_4x4_q8_0; do line dotprod $kernel 1 32; done
for kernel in q4_K_8x8_q8_K q5_K_8x8_q8_K q6_K_8x8_q8_K q4_0_4x8_q8_0 q8_0_4x8_q8_0; do line i8mm $kernel 1 32; done
