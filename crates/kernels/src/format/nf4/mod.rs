//! NF4: blocks of 64, four bits, a table of 16 quantiles of the normal distribution. 4.5 bits a weight.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | absmax, f32 |
//! | 4 | 32 | qs: byte j holds element 2j in the HIGH nibble, element 2j + 1 in the low one |
//!
//! y = `CODES[q] * absmax`.
//!
//! bitsandbytes keeps these two in separate tensors (and may quantize absmax itself to 8 bits: "double quantization", 4.127 bits a weight). This block is
//! our arrangement in memory; the values are the same bits. No GGUF type holds it. The table is not linear, so products are done in f32.

use super::Format;
use crate::{Isa, Kernel, activation, dot};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod encode;
mod scalar;

/// The sixteen values, from bitsandbytes: quantiles of the normal distribution, scaled to -1..=1, with an exact zero.
#[allow(clippy::excessive_precision)]
pub const CODES: [f32; 16] = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
];

/// bitsandbytes 4-bit NormalFloat.
pub static NF4: Format = Format {
    name: "NF4",
    gguf_id: None,
    block_len: 64,
    block_bytes: 36,
    offset: false,
    activation: &activation::F32,
    decode: scalar::decode,
    encode: encode::encode,
    pack: None,
    kernels: &[
        #[cfg(target_arch = "x86_64")]
        Kernel { isa: Isa::Avx512Vnni, unpack: avx2::unpack, few: avx512::few, many: dot::avx512::many::floats::<dot::avx512::many::Nf4> },
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
