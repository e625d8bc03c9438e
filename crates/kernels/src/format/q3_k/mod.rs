//! Q3_K: blocks of 256, three bits; sixteen sub-blocks of 16 with a signed six-bit scale. 3.4375 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 32 | hmask: bit 4h + j of byte l is the third bit of element 128h + 32j + l |
//! | 32 | 64 | qs: in half h (32 bytes), bits 2j..2j+1 of byte l are element 128h + 32j + l |
//! | 96 | 12 | scales: bytes 0..8 hold the low four bits of scales 0..7 (low nibble) and 8..15 (high nibble); byte 8 + j % 4, bits 2(j / 4).. the high two of scale j |
//! | 108 | 2 | d, f16 |
//!
//! y = (d * (scale - 32)) * (q - 4), q = low bits | third bit << 2.

use super::Format;
use crate::{Isa, Kernel, activation, dot};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod encode;
mod scalar;

/// Three bits, signed scales for 16.
pub static Q3_K: Format = Format {
    name: "Q3_K",
    gguf_id: Some(11),
    block_len: 256,
    block_bytes: 110,
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
            many: dot::amx::blocks256::<dot::avx512::many::Any<128>, dot::amx::Words, 16, 16, false>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks256::<avx512::Blocks>,
            many: dot::avx512::many::blocks256::<dot::avx512::many::Any<128>, 16, 16, false>,
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
        Kernel { isa: Isa::Neon, unpack: scalar::unpack, few: dot::neon::blocks256, many: dot::neon::blocks256 },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::blocks256, many: dot::scalar::blocks256 },
    ],
};
