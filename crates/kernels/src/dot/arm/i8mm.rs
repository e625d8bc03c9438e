//! `smmla`: two rows of eight bytes times two rows of eight bytes, four sums of eight products.
//!
//! ```text
//! sum[0] += w0 . a0    sum[1] += w0 . a1    sum[2] += w1 . a0    sum[3] += w1 . a1
//! ```
//! One factor is two rows of weights, interleaved when they are unpacked; the other two tokens, interleaved here by one `zip` for four products. Twice
//! the products of `sdot` an instruction, so what stands around them weighs twice as much: scales are stored as the sums need them, each twice.

use std::arch::{aarch64::*, asm};

use super::many::{Block, Lanes, Multiply, Rows8, Sums};
use super::{Blocks32, load};
use crate::activation::{HEADER, TILE_BYTES};

/// Armv8.6 with i8mm. All such CPUs have dotprod too.
pub struct I8mm;

/// The four sums above.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: registers only.
    unsafe {
        asm!("smmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) w, in(vreg) a, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// The lower halves of two vectors, and the upper ones.
#[inline]
#[target_feature(enable = "neon")]
fn halves(a: uint8x16_t, b: uint8x16_t) -> [uint8x16_t; 2] {
    let (a, b) = (vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b));
    [vreinterpretq_u8_u64(vzip1q_u64(a, b)), vreinterpretq_u8_u64(vzip2q_u64(a, b))]
}

impl Multiply for I8mm {
    /// Sum 2p + u: rows 2p and 2p + 1, tokens 2u and 2u + 1.
    const TWICE: bool = true;

    /// Vector 2p + k: columns 8k..8k + 8 of rows 2p and 2p + 1.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn interleave(rows: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
        let ([a, b], [c, d]) = (halves(rows[0], rows[1]), halves(rows[2], rows[3]));
        [a, b, c, d]
    }

    #[inline(always)]
    fn place(h: usize, v: usize) -> usize {
        4 * (v % 2) + 2 * h + v / 2
    }

    #[inline(always)]
    unsafe fn add_steps<const STEPS: usize>(mut sums: Sums, rows: &Rows8, from: usize, acts: [&[u8; TILE_BYTES]; 4]) -> Sums {
        // SAFETY: only inlined into functions that have i8mm, as the trait says.
        unsafe {
            for step in from..from + STEPS {
                let a = acts.map(|act| load(act, HEADER + 16 * step));
                let (a, b) = (halves(a[0], a[1]), halves(a[2], a[3]));
                for k in 0..2 {
                    let tokens = [vreinterpretq_s8_u8(a[k]), vreinterpretq_s8_u8(b[k])];
                    for p in 0..4 {
                        let w = rows.code(step, 4 * k + p);
                        for u in 0..2 {
                            sums[2 * p + u] = smmla(sums[2 * p + u], w, tokens[u]);
                        }
                    }
                }
            }
            sums
        }
    }

    #[inline(always)]
    fn scale(sum: usize) -> usize {
        sum / 2
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn by_token(sums: Sums) -> Sums {
        let mut out = sums;
        for u in 0..2 {
            for h in 0..2 {
                // Rows 4h, 4h + 1 and rows 4h + 2, 4h + 3, two tokens each: the even lanes are the first token's.
                let (a, b) = (sums[4 * h + u], sums[4 * h + 2 + u]);
                out[4 * u + h] = vuzp1q_s32(a, b);
                out[4 * u + 2 + h] = vuzp2q_s32(a, b);
            }
        }
        out
    }

    #[target_feature(enable = "neon,i8mm")]
    unsafe fn isums256<const STEPS: usize>(rows: &Rows8, acts: [&[u8; TILE_BYTES]; 4]) -> Sums {
        // SAFETY: this function has all that `Self` needs.
        unsafe { super::many::isums256::<Self, STEPS>(rows, acts) }
    }

    #[target_feature(enable = "neon,i8mm")]
    unsafe fn blocks32<F: Blocks32<RAW>, const RAW: usize>(rows: &Rows8, blocks: Block, acts: [&[u8; TILE_BYTES]; 4], lanes: &mut Lanes) {
        // SAFETY: as above.
        unsafe { super::many::products32::<Self, F, RAW>(rows, blocks, acts, lanes) }
    }
}
