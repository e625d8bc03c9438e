//! Q2_K: blocks of 256, two bits; sixteen sub-blocks of 16 with a four-bit scale and a four-bit offset. 2.625 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 16 | scales: low nibble the scale, high nibble the min of sub-block s |
//! | 16 | 64 | qs: in half h (32 bytes), bits 2j..2j+1 of byte l are element 128h + 32j + l |
//! | 80 | 2 | d, f16 |
//! | 82 | 2 | dmin, f16 |
//!
//! y = (d * scale) * q - (dmin * min).

use super::Format;
use crate::{Isa, Kernel, activation, dot};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod encode;
mod scalar;

/// Two bits, scales and offsets for 16.
pub static Q2_K: Format = Format {
    name: "Q2_K",
    gguf_id: Some(10),
    block_len: 256,
    block_bytes: 84,
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
            few: dot::avx512::blocks256::<avx512::Blocks>,
            many: dot::amx::blocks256::<dot::avx512::many::Any<0>, dot::amx::Words, 16, 16, true>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::blocks256::<avx512::Blocks>,
            many: dot::avx512::many::blocks256::<dot::avx512::many::Any<0>, 16, 16, true>,
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
