//! F16: IEEE half precision. 16 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | value, f16: sign, 5 bits of exponent (bias 15), 10 bits of fraction |
//!
//! Three more bits of fraction than BF16, but nothing above 65504 and little below 6e-8: a checkpoint in BF16 does not always fit.
//! The activations stay in f32 (llama.cpp rounds them to f16).

use super::Format;
use crate::{Isa, Kernel, activation, dot};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod encode;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// Half precision.
pub static F16: Format = Format {
    name: "F16",
    gguf_id: Some(1),
    block_len: 1,
    block_bytes: 2,
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
            many: dot::avx512::many::floats::<dot::avx512::many::F16>,
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
        Kernel { isa: Isa::Neon, unpack: neon::unpack, few: dot::arm::few_floats::<neon::Floats>, many: dot::neon::floats },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::floats, many: dot::scalar::floats },
    ],
};
