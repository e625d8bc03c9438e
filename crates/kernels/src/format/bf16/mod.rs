//! BF16: the upper half of an f32. 16 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | value: sign, 8 bits of exponent (bias 127), 7 bits of fraction |
//!
//! What most checkpoints are published in; copying it costs nothing. The activations stay in f32 (llama.cpp rounds them to bf16).

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

/// The upper half of single precision.
pub static BF16: Format = Format {
    name: "BF16",
    gguf_id: Some(30),
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
            many: dot::avx512::many::floats::<dot::avx512::many::Bf16>,
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
        Kernel { isa: Isa::Neon, unpack: scalar::unpack, few: dot::arm::few_floats::<neon::Floats>, many: dot::neon::floats },
        Kernel { isa: Isa::Scalar, unpack: scalar::unpack, few: dot::scalar::floats, many: dot::scalar::floats },
    ],
};
