//! The products for ARM CPUs that multiply four (`sdot`) or eight (`smmla`) bytes a lane at once.
//!
//! Base NEON needs three instructions for sixteen products (`neon.rs`). Armv8.2 has `sdot` (Cortex-A55, A75 and later: most phones since 2018), which
//! needs one; Armv8.6 has `smmla` (Cortex-A510, A710, X2 and later), which makes 32 products. With these the multiplication is no longer what takes
//! the time: what stands around it is. So there are two ways through a matrix, and neither goes through a [`Tile`](crate::Tile).
//!
//! - [`few`]: one or two tokens. Codes go from the block through registers into the product and never to memory. Two rows share the loads of the
//!   activations, and the sums of four blocks are reduced together.
//! - [`many`]: a prompt. Eight rows of 256 weights are unpacked once into bytes, arranged so that a lane of the product is a row: no sum crosses
//!   lanes, and a scale is a lane of a vector. Four tokens are multiplied at once, so that a vector of weights is loaded once for four.
//!
//! Both need the same of a format, and no format has code for either: [`Codes`] says which bytes of a block make which codes. What it says is bytewise,
//! therefore it holds as well for bytes of several rows that were interleaved before: [`many`] interleaves packed nibbles, half as many as codes.
//!
//! `sdot` and `smmla` are inline assembly, because their intrinsics are not stable in Rust 1.95. `pure, nomem` leaves the compiler free to move them.
//!
//! No prefetch instructions: rows are read from end to end, which the prefetchers of all these CPUs follow; two rows are two streams.

use std::arch::aarch64::*;

mod dotprod;
mod few;
mod floats;
mod i8mm;
mod many;

pub use dotprod::DotProd;
pub use few::{few32, few256};
pub use floats::{Halves, few_floats};
pub use i8mm::I8mm;
pub use many::{many32, many256};

/// How the codes of a format lie in its blocks.
///
/// A block is cut into pieces of `16 * OUT` columns: the halves of a block of 256 (`OUT` = 8), or the one piece of a block of 32 (`OUT` = 2). A piece
/// is made of `RAW` vectors of sixteen bytes.
pub trait Codes<const RAW: usize, const OUT: usize> {
    /// Bytes of a block.
    const BYTES: usize;
    /// What the codes are too large by: 32 where Q6_K leaves its offset to the sums of the activations.
    const BIAS: i8 = 0;

    /// Where the vectors of a piece begin in the block.
    fn raw(piece: usize) -> [usize; RAW];

    /// The codes of a piece from its vectors: columns 16o.. of the piece from vector o. Byte i of a result depends on byte i of `raw` alone.
    ///
    /// # Safety
    /// NEON.
    unsafe fn codes(piece: usize, raw: [uint8x16_t; RAW]) -> [int8x16_t; OUT];
}

/// A format with blocks of 32 and an f16 scale in their first two bytes; no offset.
pub trait Blocks32<const RAW: usize>: Codes<RAW, 2> {
    /// Whether the codes are sixteen times too large: a nibble is moved to the upper half of a byte, where its sign is the byte's sign.
    const SIXTEENFOLD: bool = false;
}

/// A format with blocks of 256.
pub trait Blocks256<const RAW: usize>: Codes<RAW, 8> {
    /// Whether a scale belongs to 32 columns, and not to sixteen.
    const WIDE: bool;
    /// Whether there are offsets (mins). Only with [`Blocks256::WIDE`].
    const MINS: bool;

    /// d as f16 in the lower half; in the upper half dmin, or zero.
    fn halves(block: &[u8]) -> u32;

    /// The integer scales in order, four a vector, two vectors of them where they are [`Blocks256::WIDE`]; and the integer mins, or zeros.
    ///
    /// # Safety
    /// NEON.
    unsafe fn scales(block: &[u8]) -> ([int32x4_t; 4], int16x8_t);
}

/// Sixteen bytes at an offset.
#[inline]
#[target_feature(enable = "neon")]
fn load(from: &[u8], at: usize) -> uint8x16_t {
    let from = &from[at..at + 16];
    // SAFETY: the slice holds 16 bytes; the load has no alignment.
    unsafe { vld1q_u8(from.as_ptr()) }
}

/// Sixteen codes at an offset.
#[inline]
#[target_feature(enable = "neon")]
fn load_s8(from: &[u8], at: usize) -> int8x16_t {
    vreinterpretq_s8_u8(load(from, at))
}

/// Four floats at a byte offset.
#[inline]
#[target_feature(enable = "neon")]
fn load_f32(from: &[u8], at: usize) -> float32x4_t {
    vreinterpretq_f32_u8(load(from, at))
}

/// Adds to the four floats from `at` on.
#[inline]
#[target_feature(enable = "neon")]
fn add_to(lanes: &mut [f32], at: usize, x: float32x4_t) {
    let lanes = &mut lanes[at..at + 4];
    // SAFETY: the slice holds four floats; load and store have no alignment.
    unsafe { vst1q_f32(lanes.as_mut_ptr(), vaddq_f32(vld1q_f32(lanes.as_ptr()), x)) }
}

/// Four of sixteen lanes.
#[inline]
#[target_feature(enable = "neon")]
fn load_lanes(lanes: &[f32; 16], at: usize) -> float32x4_t {
    let lanes = &lanes[at..at + 4];
    // SAFETY: the slice holds four floats.
    unsafe { vld1q_f32(lanes.as_ptr()) }
}

/// [`reduce`](crate::dot::reduce) of sixteen lanes in four vectors: the same tree.
#[inline]
#[target_feature(enable = "neon")]
fn reduce4(lanes: [float32x4_t; 4]) -> f32 {
    let four = vaddq_f32(vaddq_f32(lanes[0], lanes[2]), vaddq_f32(lanes[1], lanes[3]));
    let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
}

/// The sums of four vectors, in order.
#[inline]
#[target_feature(enable = "neon")]
fn sums4(x: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(x[0], x[1]), vpaddq_s32(x[2], x[3]))
}

/// Four halves to floats: exact, as `f16_to_f32` is.
#[inline]
#[target_feature(enable = "neon")]
fn widen(halves: uint16x4_t) -> float32x4_t {
    vcvt_f32_f16(vreinterpret_f16_u16(halves))
}

/// Sums of codes of a [`Blocks32`] as floats. Exact: they stay below 2^24.
#[inline]
#[target_feature(enable = "neon")]
fn to_f32<F: Blocks32<RAW>, const RAW: usize>(isum: int32x4_t) -> float32x4_t {
    if F::SIXTEENFOLD { vcvtq_n_f32_s32::<4>(isum) } else { vcvtq_f32_s32(isum) }
}
