//! Q4_0: blocks of 32, four bits, one scale. 4.5 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | d, f16 |
//! | 2 | 16 | qs: byte j holds element j in the low nibble, element j + 16 in the high one |
//!
//! y = d * (q - 8).
//!
//! The oldest of them: cheap everywhere, and the fallback of Q2_K and Q3_K where a row is not a multiple of 256.

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

/// Four bits, one scale for 32.
pub static Q4_0: Format = Format {
    name: "Q4_0",
    gguf_id: Some(2),
    block_len: 32,
    block_bytes: 18,
    offset: false,
    activation: &activation::Q8_0,
    decode: scalar::decode,
    encode: encode::encode,
    pack: Some(&encode::PACK),
    kernels: &[
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Amx,
            unpack: avx2::unpack,
            few: dot::avx512::blocks32::<avx512::Blocks<true>>,
            many: dot::amx::blocks32::<dot::avx512::many::Q40>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks32::<avx512::Blocks<false>>,
            many: dot::avx512::many::blocks32::<dot::avx512::many::Q40, false>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::AvxVnni,
            unpack: avx2::unpack,
            few: dot::avx2::few32::<dot::avx2::AvxVnni, avx2::Blocks>,
            many: dot::avx2::many::blocks32::<dot::avx2::AvxVnni, avx2::Blocks>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx2,
            unpack: avx2::unpack,
            few: dot::avx2::few32::<dot::avx2::Avx2, avx2::Blocks>,
            many: dot::avx2::many::blocks32::<dot::avx2::Avx2, avx2::Blocks>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel {
            isa: Isa::I8mm,
            unpack: neon::unpack,
            few: dot::arm::few32::<dot::arm::I8mm, neon::Blocks, 1>,
            many: dot::arm::many32::<dot::arm::I8mm, neon::Blocks, 1>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel {
            isa: Isa::DotProd,
            unpack: neon::unpack,
            few: dot::arm::few32::<dot::arm::DotProd, neon::Blocks, 1>,
            many: dot::arm::many32::<dot::arm::DotProd, neon::Blocks, 1>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel { isa: Isa::Neon, unpack: neon::unpack, few: dot::neon::blocks32, many: dot::neon::blocks32 },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::blocks32, many: dot::scalar::blocks32 },
    ],
};
