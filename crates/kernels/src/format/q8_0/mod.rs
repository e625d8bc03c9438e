//! Q8_0: blocks of 32, eight bits, one scale. 8.5 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | d, f16 |
//! | 2 | 32 | qs, i8 |
//!
//! y = d * q.
//!
//! Nearly lossless; the fallback of Q6_K where a row is not a multiple of 256.

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

/// Eight bits, one scale for 32.
pub static Q8_0: Format = Format {
    name: "Q8_0",
    gguf_id: Some(8),
    block_len: 32,
    block_bytes: 34,
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
            few: dot::avx512::blocks32::<avx512::Blocks>,
            many: dot::amx::blocks32::<dot::avx512::many::Q80>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks32::<avx512::Blocks>,
            many: dot::avx512::many::blocks32::<dot::avx512::many::Q80, false>,
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
            unpack: scalar::unpack,
            few: dot::arm::few32::<dot::arm::I8mm, neon::Blocks, 2>,
            many: dot::arm::many32::<dot::arm::I8mm, neon::Blocks, 2>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel {
            isa: Isa::DotProd,
            unpack: scalar::unpack,
            few: dot::arm::few32::<dot::arm::DotProd, neon::Blocks, 2>,
            many: dot::arm::many32::<dot::arm::DotProd, neon::Blocks, 2>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel { isa: Isa::Neon, unpack: scalar::unpack, few: dot::neon::blocks32, many: dot::neon::blocks32 },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::blocks32, many: dot::scalar::blocks32 },
    ],
};
