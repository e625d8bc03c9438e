//! Q5_K: blocks of 256, five bits; eight sub-blocks of 32 with a six-bit scale and a six-bit offset. 5.5 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | d, f16 |
//! | 2 | 2 | dmin, f16 |
//! | 4 | 12 | scales: eight six-bit scales and eight six-bit mins, packed as `common::words_k4` says |
//! | 16 | 32 | qh: bit b of byte l is the fifth bit of element 32b + l |
//! | 48 | 128 | qs: byte 32c + l holds element 64c + l in the low nibble, element 64c + 32 + l in the high one |
//!
//! y = (d * scale) * q - (dmin * min), q = nibble | fifth bit << 4.

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

/// Five bits, scales and offsets for 32.
pub static Q5_K: Format = Format {
    name: "Q5_K",
    gguf_id: Some(13),
    block_len: 256,
    block_bytes: 176,
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
            many: dot::amx::blocks256::<dot::avx512::many::Q5K, dot::amx::Words, 32, 32, true>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks256::<avx512::Blocks<false>>,
            many: dot::avx512::many::blocks256::<dot::avx512::many::Q5K, 32, 32, true>,
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
            few: dot::arm::few256::<dot::arm::I8mm, neon::Blocks, 6>,
            many: dot::arm::many256::<dot::arm::I8mm, neon::Blocks, 6>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel {
            isa: Isa::DotProd,
            unpack: neon::unpack,
            few: dot::arm::few256::<dot::arm::DotProd, neon::Blocks, 6>,
            many: dot::arm::many256::<dot::arm::DotProd, neon::Blocks, 6>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel { isa: Isa::Neon, unpack: neon::unpack, few: dot::neon::blocks256, many: dot::neon::blocks256 },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::blocks256, many: dot::scalar::blocks256 },
    ],
};
