//! Q5_1: blocks of 32, five bits, a scale and an offset. 6 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | d, f16 |
//! | 2 | 2 | m, f16 |
//! | 4 | 4 | qh, u32: bit i is the fifth bit of element i |
//! | 8 | 16 | qs: byte j holds element j in the low nibble, element j + 16 in the high one |
//!
//! y = d * q + m, q = nibble | fifth bit << 4.
//!
//! The fallback of Q5_K where a row is not a multiple of 256.

use super::Format;
use crate::{Isa, Kernel, activation, dot};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod encode;
mod scalar;

/// Five bits, a scale and an offset for 32.
pub static Q5_1: Format = Format {
    name: "Q5_1",
    gguf_id: Some(7),
    block_len: 32,
    block_bytes: 24,
    offset: true,
    activation: &activation::Q8_1,
    decode: scalar::decode,
    encode: encode::encode,
    pack: Some(&encode::PACK),
    kernels: &[
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks32::<avx512::Blocks>,
            many: dot::avx512::many::blocks32::<dot::avx512::many::Any<0>, true>,
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
        Kernel { isa: Isa::Neon, unpack: scalar::unpack, few: dot::neon::blocks32, many: dot::neon::blocks32 },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::blocks32, many: dot::scalar::blocks32 },
    ],
};
