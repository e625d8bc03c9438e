//! Few tokens: the weights' way from memory is what takes the time, as long as the instructions do not. They are few when nothing is stored between.
//!
//! Blocks of 256, one row (the others of `R` beside it):
//! ```text
//! for each half of the block:
//!     codes[8] = unpack 16 bytes each
//!     dots = sdot of codes and activations         (a vector a sub-block: four partial sums)
//!     total += scale[4] * sums4(dots)              (pairwise additions bring four sub-blocks into four lanes: one multiplication for four)
//! after four blocks: isum[4] = sums4(totals); lanes[block mod 16] += (d[4] * da[4]) * isum[4] (- (dmin[4] * da[4]) * msum[4])
//! ```
//! To multiply each dot by its scale before adding would take as many instructions, but all of them multiplications, for which most of these CPUs have
//! one pipe and not two. Blocks of 32 have one scale, so a dot is a block: four of them, `sums4`, and the same last line.
//!
//! Two rows at once: the activations are loaded once for both.

use std::arch::aarch64::*;
use std::array::from_fn;

use super::dotprod::sdot;
use super::many::Multiply;
use super::{Blocks32, Blocks256, add_to, load, load_f32, load_lanes, load_s8, many32, many256, reduce4, sums4, to_f32, widen};
use crate::activation::{HEADER, TILE_BYTES, f32_at};
use crate::dot::Job;

/// Up to so many tokens are multiplied one by one; above, unpacking the tile for `M` takes fewer instructions.
const FEW: usize = 2;

/// Blocks of 256 times Q8_K activations.
#[target_feature(enable = "neon,dotprod")]
pub fn few256<M: Multiply, F: Blocks256<RAW>, const RAW: usize>(job: &Job<'_>, out: &mut [f32]) {
    if job.tokens > FEW {
        return many256::<M, F, RAW>(job, out);
    }
    pairs(job, out, |w, act| rows256::<F, RAW, 2>(w, act), |w, act| rows256::<F, RAW, 1>(w, act));
}

/// Blocks of 32 times Q8_0 activations.
#[target_feature(enable = "neon,dotprod")]
pub fn few32<M: Multiply, F: Blocks32<RAW>, const RAW: usize>(job: &Job<'_>, out: &mut [f32]) {
    if job.tokens > FEW {
        return many32::<M, F, RAW>(job, out);
    }
    pairs(job, out, |w, act| rows32::<F, RAW, 2>(w, act), |w, act| rows32::<F, RAW, 1>(w, act));
}

/// The walk over pairs of rows and tokens; `two` and `one` multiply a pair, or the last row.
#[inline(always)]
pub fn pairs(job: &Job<'_>, out: &mut [f32], two: impl Fn([&[u8]; 2], &[u8]) -> [f32; 2], one: impl Fn([&[u8]; 1], &[u8]) -> [f32; 1]) {
    for (i, w) in job.w.chunks(2 * job.row_bytes).enumerate() {
        let (a, b) = w.split_at(job.row_bytes);
        for (act, out) in job.acts.chunks_exact(job.act_bytes).zip(out.chunks_exact_mut(job.rows())) {
            let out = &mut out[2 * i..];
            if b.is_empty() {
                [out[0]] = one([a], act);
            } else {
                [out[0], out[1]] = two([a, b], act);
            }
        }
    }
}

/// `R` rows of blocks of 256 times one token.
#[target_feature(enable = "neon,dotprod")]
fn rows256<F: Blocks256<RAW>, const RAW: usize, const R: usize>(w: [&[u8]; R], act: &[u8]) -> [f32; R] {
    let blocks = act.len() / TILE_BYTES;
    assert!(w.iter().all(|w| w.len() >= blocks * F::BYTES), "a block of weights for each tile of activations");
    let mut lanes = [[0f32; 16]; R];
    for first in (0..blocks).step_by(4) {
        // Blocks past the end of the row stay zero, and add zeros.
        let (mut isum, mut msum) = ([[vdupq_n_s32(0); 4]; R], [[vdupq_n_s32(0); 4]; R]);
        let (mut halves, mut da) = ([[0u32; 4]; R], [0f32; 4]);
        for b in 0..4.min(blocks - first) {
            let at = first + b;
            // SAFETY: `at < blocks`, and all rows are as long as that, as asserted above. (Checking each costs a twelfth of the instructions.)
            let act: &[u8; TILE_BYTES] = unsafe { &*act.as_ptr().add(at * TILE_BYTES).cast() };
            // SAFETY: as above.
            let w = w.map(|w| unsafe { w.get_unchecked(at * F::BYTES..(at + 1) * F::BYTES) });
            let (isums, msums) = block256::<F, RAW, R>(w, act);
            for r in 0..R {
                isum[r][b] = isums[r];
                msum[r][b] = msums[r];
                halves[r][b] = F::halves(w[r]);
            }
            da[b] = f32_at(act, 0);
        }
        // SAFETY: the array holds four floats.
        let da = unsafe { vld1q_f32(da.as_ptr()) };
        for r in 0..R {
            // SAFETY: the array holds 16 bytes.
            let halves = unsafe { vreinterpretq_u16_u32(vld1q_u32(halves[r].as_ptr())) };
            let d = widen(vget_low_u16(vuzp1q_u16(halves, halves)));
            let mut product = vmulq_f32(vmulq_f32(d, da), vcvtq_f32_s32(sums4(isum[r])));
            if F::MINS {
                let m = widen(vget_low_u16(vuzp2q_u16(halves, halves)));
                product = vsubq_f32(product, vmulq_f32(vmulq_f32(m, da), vcvtq_f32_s32(sums4(msum[r]))));
            }
            add_to(&mut lanes[r], first % 16, product);
        }
    }
    lanes.map(|lanes| reduce4([0, 4, 8, 12].map(|l| load_lanes(&lanes, l))))
}

/// Partial sums, four each, of one block of `R` rows: of scale * q * a, and of min * sums.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn block256<F: Blocks256<RAW>, const RAW: usize, const R: usize>(
    w: [&[u8]; R],
    act: &[u8; TILE_BYTES],
) -> ([int32x4_t; R], [int32x4_t; R]) {
    let sums = [32, 48].map(|at| vreinterpretq_s16_u8(load(act, at)));
    let (mut total, mut msum) = ([vdupq_n_s32(0); R], [vdupq_n_s32(0); R]);
    // SAFETY: NEON, which this function has.
    let scales = w.map(|w| unsafe { F::scales(w) });
    for r in 0..R {
        let (scale, mins) = scales[r];
        if F::MINS {
            let sums = vpaddq_s16(sums[0], sums[1]);
            msum[r] = vmlal_high_s16(vmull_s16(vget_low_s16(mins), vget_low_s16(sums)), mins, sums);
        }
        if F::BIAS != 0 {
            // What the codes are too large by, times the sum of the activations.
            let words =
                [vmovl_s16(vget_low_s16(sums[0])), vmovl_high_s16(sums[0]), vmovl_s16(vget_low_s16(sums[1])), vmovl_high_s16(sums[1])];
            let bias = words.into_iter().zip(scale).fold(vdupq_n_s32(0), |bias, (sums, scale)| vmlaq_s32(bias, sums, scale));
            total[r] = vmulq_n_s32(bias, -i32::from(F::BIAS));
        }
    }
    half256::<F, RAW, R, 0>(w, act, &scales.map(|(scale, _)| scale), &mut total);
    half256::<F, RAW, R, 1>(w, act, &scales.map(|(scale, _)| scale), &mut total);
    (total, msum)
}

/// Half `HALF` of a block.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn half256<F: Blocks256<RAW>, const RAW: usize, const R: usize, const HALF: usize>(
    w: [&[u8]; R],
    act: &[u8; TILE_BYTES],
    scale: &[[int32x4_t; 4]; R],
    total: &mut [int32x4_t; R],
) {
    let a: [int8x16_t; 8] = from_fn(|o| load_s8(act, HEADER + 128 * HALF + 16 * o));
    let zero = vdupq_n_s32(0);
    for r in 0..R {
        // SAFETY: NEON, which this function has.
        let q = unsafe { F::codes(HALF, F::raw(HALF).map(|at| load(w[r], at))) };
        if F::WIDE {
            let dots = [0, 2, 4, 6].map(|o| sdot(sdot(zero, q[o], a[o]), q[o + 1], a[o + 1]));
            total[r] = vmlaq_s32(total[r], sums4(dots), scale[r][HALF]);
        } else {
            for s in 0..2 {
                let dots = [4 * s, 4 * s + 1, 4 * s + 2, 4 * s + 3].map(|o| sdot(zero, q[o], a[o]));
                total[r] = vmlaq_s32(total[r], sums4(dots), scale[r][2 * HALF + s]);
            }
        }
    }
}

/// `R` rows of blocks of 32 times one token.
#[target_feature(enable = "neon,dotprod")]
fn rows32<F: Blocks32<RAW>, const RAW: usize, const R: usize>(w: [&[u8]; R], act: &[u8]) -> [f32; R] {
    let mut lanes = [[0f32; 16]; R];
    let mut padded = [[0u8; MOST]; R];
    let (len, tile) = (w[0].len(), 8 * F::BYTES);
    assert!(w.iter().all(|w| w.len() == len), "rows of one length");
    assert!(act.len() >= len.div_ceil(tile) * TILE_BYTES, "a tile of activations for each of weights");
    for (i, at) in (0..len).step_by(tile).enumerate() {
        // SAFETY: asserted above. (Checks here take a tenth of the instructions.)
        let act: &[u8; TILE_BYTES] = unsafe { &*act.as_ptr().add(i * TILE_BYTES).cast() };
        let blocks: [&[u8]; R] = if at + tile <= len {
            // SAFETY: as above.
            w.map(|w| unsafe { w.get_unchecked(at..at + tile) })
        } else {
            // The end of a row that is not whole tiles: zeros behind it, as behind the activations.
            for (padded, w) in padded.iter_mut().zip(w) {
                padded[..len - at].copy_from_slice(&w[at..]);
            }
            padded.each_ref().map(|padded| &padded[..tile])
        };
        group32::<F, RAW, R, 0>(blocks, act, &mut lanes, i % 2 * 8);
        group32::<F, RAW, R, 4>(blocks, act, &mut lanes, i % 2 * 8 + 4);
    }
    lanes.map(|lanes| reduce4([0, 4, 8, 12].map(|l| load_lanes(&lanes, l))))
}

/// Bytes of a tile of the largest format with blocks of 32.
const MOST: usize = 8 * 34;

/// Blocks `FIRST`.. of a tile, four of them, to lanes `lane`...
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn group32<F: Blocks32<RAW>, const RAW: usize, const R: usize, const FIRST: usize>(
    w: [&[u8]; R],
    act: &[u8; TILE_BYTES],
    lanes: &mut [[f32; 16]; R],
    lane: usize,
) {
    let a: [int8x16_t; 8] = from_fn(|i| load_s8(act, HEADER + 32 * FIRST + 16 * i));
    let da = load_f32(act, 4 * FIRST);
    for r in 0..R {
        let w = &w[r][FIRST * F::BYTES..(FIRST + 4) * F::BYTES];
        let dots = from_fn(|b| {
            // SAFETY: NEON, which this function has.
            let q = unsafe { F::codes(0, F::raw(0).map(|at| load(w, b * F::BYTES + at))) };
            sdot(sdot(vdupq_n_s32(0), q[0], a[2 * b]), q[1], a[2 * b + 1])
        });
        let d = w.as_ptr().cast::<u16>();
        // SAFETY: the slice holds four blocks, each of which begins with a half; the loads have no alignment.
        let d = unsafe {
            let d0 = vld1_lane_u16::<0>(d, vdup_n_u16(0));
            let d1 = vld1_lane_u16::<1>(d.byte_add(F::BYTES), d0);
            let d2 = vld1_lane_u16::<2>(d.byte_add(2 * F::BYTES), d1);
            widen(vld1_lane_u16::<3>(d.byte_add(3 * F::BYTES), d2))
        };
        add_to(&mut lanes[r], lane, vmulq_f32(vmulq_f32(d, da), to_f32::<F, RAW>(sums4(dots))));
    }
}
