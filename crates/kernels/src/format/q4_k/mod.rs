//! Q4_K: blocks of 256, four bits; eight sub-blocks of 32 with a six-bit scale and a six-bit offset. 4.5 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | d, f16 |
//! | 2 | 2 | dmin, f16 |
//! | 4 | 12 | scales: eight six-bit scales and eight six-bit mins, packed as `common::words_k4` says |
//! | 16 | 128 | qs: byte 32c + l holds element 64c + l in the low nibble, element 64c + 32 + l in the high one |
//!
//! y = (d * scale) * q - (dmin * min).
//!
//! The format of most weights of Q4_K_M: the scales cost half a bit a weight, as in Q4_0, and buy an offset besides.

use super::Format;
use crate::{Isa, Kernel, activation, dot};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod encode;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// Four bits, scales and offsets for 32.
pub static Q4_K: Format = Format {
    name: "Q4_K",
    gguf_id: Some(12),
    block_len: 256,
    block_bytes: 144,
    offset: true,
    activation: &activation::Q8_K,
    decode: scalar::decode,
    encode: encode::encode,
    pack: Some(&encode::PACK),
    kernels: &[
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Amx,
            unpack: avx2::unpack,
            few: dot::avx512::blocks256::<avx512::Blocks<true>>,
            many: dot::amx::blocks256::<dot::avx512::many::Q4K, dot::amx::Nibbles, 16, 32, true>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks256::<avx512::Blocks<false>>,
            many: dot::avx512::many::blocks256::<dot::avx512::many::Q4K, 16, 32, true>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::AvxVnni,
            unpack: avx2::unpack,
            few: dot::avx2::few256::<dot::avx2::AvxVnni, avx2::Blocks>,
            many: dot::avx2::many::blocks256::<dot::avx2::AvxVnni, avx2::Blocks>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx2,
            unpack: avx2::unpack,
            few: dot::avx2::few256::<dot::avx2::Avx2, avx2::Blocks>,
            many: dot::avx2::many::blocks256::<dot::avx2::Avx2, avx2::Blocks>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel {
            isa: Isa::I8mm,
            unpack: neon::unpack,
            few: dot::arm::few256::<dot::arm::I8mm, neon::Blocks, 4>,
            many: dot::arm::many256::<dot::arm::I8mm, neon::Blocks, 4>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel {
            isa: Isa::DotProd,
            unpack: neon::unpack,
            few: dot::arm::few256::<dot::arm::DotProd, neon::Blocks, 4>,
            many: dot::arm::many256::<dot::arm::DotProd, neon::Blocks, 4>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel { isa: Isa::Neon, unpack: neon::unpack, few: dot::neon::blocks256, many: dot::neon::blocks256 },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::blocks256, many: dot::scalar::blocks256 },
    ],
};
