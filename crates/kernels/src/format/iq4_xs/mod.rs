//! IQ4_XS: blocks of 256, four bits through the table of IQ4_NL; eight sub-blocks of 32 with a signed six-bit scale. 4.25 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | d, f16 |
//! | 2 | 2 | scales_h, u16: bits 2b..2b+1 are the high two bits of scale b |
//! | 4 | 4 | scales_l: nibble b (low first) is the low four bits of scale b |
//! | 8 | 128 | qs: byte 16b + j holds element 32b + j in the low nibble, element 32b + 16 + j in the high one |
//!
//! y = (d * (scale - 32)) * VALUES[q], VALUES in `common::IQ4_VALUES`.

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

/// Four bits through a table, signed scales for 32.
pub static IQ4_XS: Format = Format {
    name: "IQ4_XS",
    gguf_id: Some(23),
    block_len: 256,
    block_bytes: 136,
    offset: false,
    activation: &activation::Q8_K,
    decode: scalar::decode,
    encode: encode::encode,
    pack: Some(&encode::PACK),
    kernels: &[
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Amx,
            unpack: avx2::unpack,
            few: dot::avx512::blocks256::<avx512::Blocks>,
            many: dot::amx::blocks256::<dot::avx512::many::Any<128>, dot::amx::Words, 32, 32, false>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks256::<avx512::Blocks>,
            many: dot::avx512::many::blocks256::<dot::avx512::many::Any<128>, 32, 32, false>,
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
