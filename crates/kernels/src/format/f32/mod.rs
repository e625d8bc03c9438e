//! F32: IEEE single precision, as it is. 32 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | value, f32 |
//!
//! Norms and other one-dimensional tensors are stored so: they are small, and every weight depends on them.

use super::Format;
use crate::{Isa, Kernel, activation, dot};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod encode;
mod scalar;

/// Single precision.
pub static F32: Format = Format {
    name: "F32",
    gguf_id: Some(0),
    block_len: 1,
    block_bytes: 4,
    offset: false,
    activation: &activation::F32,
    decode: scalar::decode,
    encode: encode::encode,
    pack: None,
    kernels: &[
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx512Vnni,
            unpack: avx2::unpack,
            few: dot::avx512::floats::<avx512::Values>,
            many: dot::avx512::many::floats::<dot::avx512::many::F32>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::AvxVnni,
            unpack: avx2::unpack,
            few: dot::avx2::few_floats::<avx2::Values>,
            many: dot::avx2::many::floats::<avx2::Values>,
        },
        #[cfg(target_arch = "x86_64")]
        Kernel {
            isa: Isa::Avx2,
            unpack: avx2::unpack,
            few: dot::avx2::few_floats::<avx2::Values>,
            many: dot::avx2::many::floats::<avx2::Values>,
        },
        #[cfg(target_arch = "aarch64")]
        Kernel { isa: Isa::Neon, unpack: scalar::unpack, few: dot::neon::floats, many: dot::neon::floats },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::floats, many: dot::scalar::floats },
    ],
};
