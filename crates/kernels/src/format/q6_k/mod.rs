//! Q6_K: blocks of 256, six bits; sixteen sub-blocks of 16 with a signed eight-bit scale. 6.5625 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 128 | ql: in half h (64 bytes), byte l < 64: low nibble element 128h + l, high nibble element 128h + 64 + l |
//! | 128 | 64 | qh: in half h (32 bytes), bits 2j..2j+1 of byte l are the high bits of element 128h + 32j + l |
//! | 192 | 16 | scales, i8 |
//! | 208 | 2 | d, f16 |
//!
//! y = (d * scale) * (q - 32), q = low bits | high bits << 4.
//!
//! Close to lossless; the output matrix and the more sensitive half of Q4_K_M are stored so.

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

/// Six bits, signed scales for 16.
pub static Q6_K: Format = Format {
    name: "Q6_K",
    gguf_id: Some(14),
    block_len: 256,
    block_bytes: 210,
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
            few: dot::avx512::blocks256::<avx512::Blocks<true>>,
            many: dot::amx::blocks256::<dot::avx512::many::Q6K, dot::amx::Words, 8, 16, false>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks256::<avx512::Blocks<false>>,
            many: dot::avx512::many::blocks256::<dot::avx512::many::Q6K, 8, 16, false>,
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
