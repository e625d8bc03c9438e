//! MXFP4: blocks of 32, four-bit floats (E2M1), a power of two as scale (E8M0). 4.25 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | e, biased exponent |
//! | 1 | 16 | qs: byte j holds element j in the low nibble, element j + 16 in the high one |
//!
//! y = 2^(e - 128) * VALUES[q]. The values are twice those of E2M1, so that they are integers, hence 128 and not 127. For e < 2 the scale is the f32
//! subnormal 0x00200000 << e.
//!
//! The format of the OCP Microscaling specification, in which some checkpoints are published: those blocks are kept as they are.

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

/// Twice the values of E2M1; bit 3 is the sign.
pub const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 2^(e - 128).
#[inline(always)]
pub fn scale(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}

/// Four-bit floats with a power of two for 32.
pub static MXFP4: Format = Format {
    name: "MXFP4",
    gguf_id: Some(39),
    block_len: 32,
    block_bytes: 17,
    offset: false,
    activation: &activation::Q8_0,
    decode: scalar::decode,
    encode: encode::encode,
    pack: None,
    kernels: &[
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Amx,
            unpack: avx2::unpack,
            few: dot::avx512::blocks32::<avx512::Blocks>,
            many: dot::amx::blocks32::<dot::avx512::many::Any<128>>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks32::<avx512::Blocks>,
            many: dot::avx512::many::blocks32::<dot::avx512::many::Any<128>, false>,
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
        Kernel { isa: Isa::Neon, unpack: neon::unpack, few: dot::neon::blocks32, many: dot::neon::blocks32 },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::blocks32, many: dot::scalar::blocks32 },
    ],
};
