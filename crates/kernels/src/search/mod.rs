//! Encoding without calibration: the search for scales and codes that all formats share.
//!
//! A format rounds each weight to `scale * code (+ offset)`. Rounding to nearest is easy; the error is decided by the scales, and the best ones are
//! not the ones that cover the largest weight. The search has three steps:
//!
//! ```text
//! 1. for each sub-block, for each way to lay the largest weight on a level near the last one:
//!        round; fit the scale (and the offset) to these codes by weighted least squares; keep the best
//! 2. (super-blocks) for each super-block scale d near the one that the largest sub-block scale asks for:
//!        code the sub-block scales, round again, measure; keep the best
//! 3. repeat: move each sub-block's scale and offset code to a neighbour where that helps; fit d (and dmin) to the codes by least squares;
//!    round again; keep what lowers the error
//! ```
//! The reference quantizer (llama.cpp) without calibration data does step 1 for some formats, step 2 with one candidate, and step 3 not at all.
//!
//! How far step 1 looks differs by format: the more levels there are, the more clipping the largest weight may pay. The ranges in the formats' `encode.rs`
//! were chosen by the error on real tensors (`bench/peers/encode_error.py`); past them, or with finer steps, next to nothing is won.
//!
//! A tile of 256 weights is worked on at once, transposed: lane = sub-block, so that eight or sixteen independent searches run in the lanes of a
//! vector and no sum runs across one. The loops are plain Rust over arrays of [`Lanes`]; a compiler vectorises them by itself, once with the
//! baseline and once with AVX2 switched on. No multiply-add is fused and no sum is reordered: the bytes are the same on every CPU.
//!
//! Input: a NaN counts as 0, an infinity as 65504 of its sign (the largest f16). Blocks are scaled by a power of two before the search, so that no
//! finite input overflows in it. A scale beyond 65504 is stored as 65504; the codes are then the best for it.
//!
//! Weights of the squared error, without importance: 1 for the plain 32-blocks; c * rms + |x| for Q2_K, Q4_K and Q5_K; c * mean(x^2) + x^2 for Q3_K, Q6_K
//! and the IQ4 formats. The reference's quantizer has the same with c = 0 but for Q4_K and Q5_K. That neglects small weights; c was chosen so that the
//! plain error and the reference's own weighted error are both below its own on every tensor tried (`bench/record`). With importance: importance *
//! sqrt(sigma^2 + x^2), as the reference has it; importance alone for Q6_K and Q8_0.

// The loops run over lanes by index, all arrays in step: that is the shape that vectorises.
#![allow(clippy::needless_range_loop)]

pub mod affine;
pub mod feedback;
pub mod grid;
pub mod lanes;
pub mod linear;

use crate::Isa;
pub use lanes::{Lanes, Weighting};

/// Weights that are encoded at once: one super-block, or eight blocks of 32, or four of 64.
pub const TILE: usize = 256;

/// How a format encodes one tile.
pub trait Encoder {
    /// The format's name, for messages.
    const NAME: &'static str;
    /// Elements of a block: a divisor of [`TILE`].
    const LEN: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Encodes whole blocks, at most a tile. Must be `#[inline(always)]`, so that it is compiled with its caller's instructions.
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]);
}

/// Encodes whole blocks with the best instructions of this CPU.
///
/// # Panics
/// When the lengths do not fit each other or the block.
pub fn encode<E: Encoder>(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_on::<E>(Isa::best(), x, importance, out)
}

/// The same with a given instruction set; one that the CPU lacks is replaced by the portable code.
pub fn encode_on<E: Encoder>(isa: Isa, x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    assert!(x.len().is_multiple_of(E::LEN), "{} elements are not whole blocks of {}", x.len(), E::NAME);
    assert_eq!(out.len(), x.len() / E::LEN * E::BYTES, "bytes for {} elements of {}", x.len(), E::NAME);
    assert!(importance.is_none_or(|w| w.len() == x.len()), "one importance an element of {}", E::NAME);
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::Scalar && Isa::Avx2.available() {
        // SAFETY: the CPU has AVX2, which is all that the function needs.
        return unsafe { avx2::<E>(x, importance, out) };
    }
    let _ = isa;
    tiles::<E>(x, importance, out)
}

/// The portable body, compiled with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<E: Encoder>(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    tiles::<E>(x, importance, out)
}

#[inline(always)]
fn tiles<E: Encoder>(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    for (i, (x, out)) in x.chunks(TILE).zip(out.chunks_mut(TILE / E::LEN * E::BYTES)).enumerate() {
        E::tile(x, importance.map(|w| &w[i * TILE..i * TILE + x.len()]), out);
    }
}

#[cfg(test)]
mod tests;
