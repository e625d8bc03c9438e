//! `sdot`: lane l of the sum gets the products of bytes 4l..4l + 4 of both factors.
//!
//! By lane (`sdot v, v, v.4b[i]`) the second factor is four bytes of a register for all lanes. With codes interleaved as four rows times four columns, a
//! lane is a row and the four bytes are a token's activations: no instruction is spent on bringing either into place.

use std::arch::{aarch64::*, asm};

use super::many::{Block, Lanes, Multiply, Rows8, Sums, transposed};
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

    /// A transposition: vector v holds columns 4v..4v + 4 of the four rows.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn interleave(rows: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
        transposed(rows.map(|row| vreinterpretq_u32_u8(row))).map(|words| vreinterpretq_u8_u32(words))
    }

    #[inline(always)]
    fn place(h: usize, v: usize) -> usize {
        2 * v + h
    }

    #[inline(always)]
    unsafe fn add_steps<const STEPS: usize>(mut sums: Sums, rows: &Rows8, from: usize, acts: [&[u8; TILE_BYTES]; 4]) -> Sums {
        // SAFETY: only inlined into functions that have dotprod, as the trait says.
        unsafe {
            for step in from..from + STEPS {
                let a = acts.map(|act| load_s8(act, HEADER + 16 * step));
                // Two vectors of weights times four tokens: eight products for two loads.
                macro_rules! columns {
                    ($($v:literal)*) => {$(
                        let w = [rows.code(step, Self::place(0, $v)), rows.code(step, Self::place(1, $v))];
                        for t in 0..4 {
                            for h in 0..2 {
                                sums[2 * t + h] = sdot_lane::<$v>(sums[2 * t + h], w[h], a[t]);
                            }
                        }
                    )*};
                }
                columns!(0 1 2 3);
            }
            sums
        }
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
