//! `sdot`: lane l of the sum gets the products of bytes 4l..4l + 4 of both factors.
//!
//! By lane (`sdot v, v, v.4b[i]`) the second factor is four bytes of a register for all lanes. With codes interleaved as four rows times four columns, a
//! lane is a row and the four bytes are a token's activations: no instruction is spent on bringing either into place.

use std::arch::{aarch64::*, asm};

use super::many::{Block, Lanes, Multiply, Rows8, Sums};
use super::{Blocks32, load_s8};
use crate::activation::{HEADER, TILE_BYTES};

/// Armv8.2 with dotprod.
pub struct DotProd;

/// `sum[l] += w[4l..4l + 4] . a[4l..4l + 4]`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub fn sdot(mut sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: registers only.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) w, in(vreg) a, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// `sum[l] += w[4l..4l + 4] . a[4I..4I + 4]`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot_lane<const I: usize>(mut sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: registers only.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]", inout(vreg) sum, in(vreg) w, in(vreg) a, const I,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

impl Multiply for DotProd {
    /// Rows 4h.. are vector h.
    const TWICE: bool = false;

    /// Two transpositions of four rows times four words. Vector 2k + h: columns 4k..4k + 4 of rows 4h..4h + 4.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn interleave(rows: [uint8x16_t; 8]) -> [uint8x16_t; 8] {
        let words = rows.map(|row| vreinterpretq_u32_u8(row));
        let transposed = |h: usize| {
            let pairs = |a: usize| (vtrn1q_u32(words[a], words[a + 1]), vtrn2q_u32(words[a], words[a + 1]));
            let ((even0, odd0), (even1, odd1)) = (pairs(4 * h), pairs(4 * h + 2));
            let long = |x: uint32x4_t| vreinterpretq_u64_u32(x);
            [
                vtrn1q_u64(long(even0), long(even1)),
                vtrn1q_u64(long(odd0), long(odd1)),
                vtrn2q_u64(long(even0), long(even1)),
                vtrn2q_u64(long(odd0), long(odd1)),
            ]
            .map(|x| vreinterpretq_u8_u64(x))
        };
        let (a, b) = (transposed(0), transposed(1));
        [a[0], b[0], a[1], b[1], a[2], b[2], a[3], b[3]]
    }

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn steps<const STEPS: usize>(rows: &Rows8, from: usize, acts: [&[u8; TILE_BYTES]; 4]) -> Sums {
        let mut sums = [vdupq_n_s32(0); 8];
        for step in from..from + STEPS {
            let a = acts.map(|act| load_s8(act, HEADER + 16 * step));
            // Two vectors of weights times four tokens: eight products for two loads.
            macro_rules! columns {
                ($lane:literal) => {
                    let w = [rows.code(step, 2 * $lane), rows.code(step, 2 * $lane + 1)];
                    for t in 0..4 {
                        for h in 0..2 {
                            sums[2 * t + h] = sdot_lane::<$lane>(sums[2 * t + h], w[h], a[t]);
                        }
                    }
                };
            }
            columns!(0);
            columns!(1);
            columns!(2);
            columns!(3);
        }
        sums
    }

    #[inline(always)]
    fn scale(sum: usize) -> usize {
        sum % 2
    }

    /// They are.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn by_token(sums: Sums) -> Sums {
        sums
    }

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn isums256<const STEPS: usize>(rows: &Rows8, acts: [&[u8; TILE_BYTES]; 4]) -> Sums {
        // SAFETY: this function has all that `Self` needs.
        unsafe { super::many::isums256::<Self, STEPS>(rows, acts) }
    }

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn blocks32<F: Blocks32<RAW>, const RAW: usize>(rows: &Rows8, blocks: Block, acts: [&[u8; TILE_BYTES]; 4], lanes: &mut Lanes) {
        // SAFETY: as above.
        unsafe { super::many::products32::<Self, F, RAW>(rows, blocks, acts, lanes) }
    }
}
