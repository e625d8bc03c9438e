//! The table of formats, one folder each: byte layout (`mod.rs`), encoder, and the unpack functions an instruction set.
//!
//! To add a format: a folder beside these, a `pub static`, and a row in [`FORMATS`]. The tests walk the table.

use crate::{Activation, Kernel, Tile};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
pub(crate) mod common;
mod f16;
mod f32;
pub(crate) mod iq4_nl;
pub(crate) mod iq4_xs;
pub(crate) mod mxfp4;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod nf4;
pub(crate) mod q2_k;
pub(crate) mod q3_k;
pub(crate) mod q4_0;
pub(crate) mod q4_1;
pub(crate) mod q4_k;
pub(crate) mod q5_0;
pub(crate) mod q5_1;
pub(crate) mod q5_k;
pub(crate) mod q6_k;
pub(crate) mod q8_0;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::load16;
pub use bf16::BF16;
pub use f16::F16;
pub use f32::F32;
pub use iq4_nl::IQ4_NL;
pub use iq4_xs::IQ4_XS;
pub use mxfp4::MXFP4;
pub use nf4::NF4;
pub use q2_k::Q2_K;
pub use q3_k::Q3_K;
pub use q4_0::Q4_0;
pub use q4_1::Q4_1;
pub use q4_k::Q4_K;
pub use q5_0::Q5_0;
pub use q5_1::Q5_1;
pub use q5_k::Q5_K;
pub use q6_k::Q6_K;
pub use q8_0::Q8_0;

/// Decodes whole blocks: (bytes, elements).
pub type Decode = fn(&[u8], &mut [f32]);
/// Encodes one row: (elements, importance, bytes).
pub type Encode = fn(&[f32], Option<&[f32]>, &mut [u8]);

/// The inverse of a kernel's unpack, for methods that choose codes and scales by more than each weight's own error.
#[derive(Debug)]
pub struct Pack {
    /// The lowest and the highest code, as a tile has them.
    pub codes: (i8, i8),
    /// The codes in rising order where they are not all integers from the lowest to the highest; else empty.
    pub table: &'static [i8],
    /// Weights that share an integer scale: 16 or 32.
    pub unit: usize,
    /// The lowest and the highest integer scale of a sub-block; (1, 1) where a block has only its `d`.
    pub scales: (i16, i16),
    /// The highest integer offset of a sub-block; 0 where there is none.
    pub mins: i16,
    /// A tile to whole blocks: as many as the bytes hold, at most a tile. `d` and `m` are rounded to halves, integers must be in range.
    pub pack: fn(&Tile, &mut [u8]),
}

/// One way to store weights. All numbers are little endian.
#[derive(Debug)]
pub struct Format {
    /// The name that GGUF uses, in upper case: "Q4_K".
    pub name: &'static str,
    /// The type number in a GGUF file; `None` for what GGUF cannot hold.
    pub gguf_id: Option<u32>,
    /// Elements of a block.
    pub block_len: usize,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Whether a weight is scale * code + offset rather than scale * code.
    pub offset: bool,
    /// The form of activations that the products of this format read.
    pub activation: &'static Activation,
    /// Bytes to elements: any number of whole blocks; the lengths are asserted. Bit-equal to gguf-py's `dequantize` (NF4: to bitsandbytes).
    pub decode: Decode,
    /// Elements to bytes: whole rows, or a part of one; the lengths are asserted. With importance, one non-negative weight an element of `x`, the
    /// weighted squared error is minimised.
    pub encode: Encode,
    /// How a grid that has been searched elsewhere is stored; `None` for floats, MXFP4 and NF4.
    pub pack: Option<&'static Pack>,
    /// Best first; the last one is scalar.
    pub kernels: &'static [Kernel],
}

impl Format {
    /// Bytes of a row; `None` where `cols` is not a multiple of the block, or the number does not fit.
    pub fn row_bytes(&self, cols: usize) -> Option<usize> {
        if cols.is_multiple_of(self.block_len) { (cols / self.block_len).checked_mul(self.block_bytes) } else { None }
    }

    /// Unpacks whole blocks of a row, at most a tile, by the portable code.
    pub fn unpack(&self, blocks: &[u8], tile: &mut Tile) {
        let scalar = self.kernels.last().expect("every format has a scalar kernel");
        // SAFETY: the last kernel of every format is the scalar one, which needs no instruction set.
        unsafe { (scalar.unpack)(blocks, tile) }
    }

    /// Bits a weight, scales included.
    pub fn bits_per_weight(&self) -> f64 {
        self.block_bytes as f64 * 8.0 / self.block_len as f64
    }
}

/// Every format, in the order of the GGUF ids; those without one last. The only table of formats.
pub static FORMATS: &[&Format] =
    &[&F32, &F16, &Q4_0, &Q4_1, &Q5_0, &Q5_1, &Q8_0, &Q2_K, &Q3_K, &Q4_K, &Q5_K, &Q6_K, &IQ4_NL, &IQ4_XS, &BF16, &MXFP4, &NF4];

/// The format of that name, in either case.
pub fn by_name(name: &str) -> Option<&'static Format> {
    FORMATS.iter().copied().find(|f| f.name.eq_ignore_ascii_case(name))
}

/// The format of that GGUF type number.
pub fn by_gguf_id(id: u32) -> Option<&'static Format> {
    FORMATS.iter().copied().find(|f| f.gguf_id == Some(id))
}
