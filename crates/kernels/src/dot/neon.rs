//! The products with base NEON (no `sdot`: the oldest of the phones in use lack it).
//!
//! `vmull_s8` multiplies eight bytes to 16 bits, `vmlal_s8` adds eight more: no sum of two overflows, 128 * 127 * 2 < 2^15. `vpaddlq_s16` adds neighbours
//! to 32 bits.

use std::arch::aarch64::*;

use super::scalar::combine256;
use super::{Job, walk};
use crate::activation::{HEADER, TILE_BYTES, f32_at};
use crate::tile::{TILE, Tile};

/// Blocks of 32 times Q8_0 activations (with an offset: Q8_1).
#[target_feature(enable = "neon")]
pub fn blocks32(job: &Job<'_>, out: &mut [f32]) {
    let offset = job.format.offset;
    // SAFETY: the unpack beside this driver needs the same instructions, which the caller of this function has promised.
    unsafe { walk(job, TILE_BYTES, out, |tile, act, i, lanes| product32(offset, tile, act, i, lanes)) }
}

/// Blocks of 256 times Q8_K activations.
#[target_feature(enable = "neon")]
pub fn blocks256(job: &Job<'_>, out: &mut [f32]) {
    let offset = job.format.offset;
    // SAFETY: as above.
    unsafe { walk(job, TILE_BYTES, out, |tile, act, i, lanes| product256(offset, tile, act, i, lanes)) }
}

/// Floats times F32 activations.
#[target_feature(enable = "neon")]
pub fn floats(job: &Job<'_>, out: &mut [f32]) {
    // SAFETY: as above.
    unsafe { walk(job, 4 * TILE, out, |tile, act, _, lanes| product_floats(tile, act, lanes)) }
}

/// Sixteen bytes at an offset.
#[inline]
#[target_feature(enable = "neon")]
fn load<T: Copy>(from: &[T], at: usize) -> int8x16_t {
    let from = &from[at..at + 16 / size_of::<T>()];
    // SAFETY: the slice holds 16 bytes, any of which is a value; the load has no alignment.
    unsafe { vld1q_s8(from.as_ptr().cast()) }
}

/// Sums of neighbouring pairs of the products of sixteen codes and activations: four numbers whose sum is the dot product.
#[inline]
#[target_feature(enable = "neon")]
fn dot16(w: int8x16_t, a: int8x16_t) -> int32x4_t {
    let products = vmull_s8(vget_low_s8(w), vget_low_s8(a));
    vpaddlq_s16(vmlal_s8(products, vget_high_s8(w), vget_high_s8(a)))
}

#[inline]
#[target_feature(enable = "neon")]
fn product32(offset: bool, tile: &Tile, act: &[u8], i: usize, lanes: &mut [f32; 16]) {
    let act = &act[..TILE_BYTES];
    let lanes = &mut lanes[i % 2 * 8..][..8];
    for (b, lane) in lanes.iter_mut().enumerate() {
        let low = dot16(load(&tile.q, 32 * b), load(act, HEADER + 32 * b));
        let high = dot16(load(&tile.q, 32 * b + 16), load(act, HEADER + 32 * b + 16));
        let isum = vaddvq_s32(vaddq_s32(low, high));
        let product = (tile.d[b] * f32_at(act, b)) * isum as f32;
        *lane += if offset { product + tile.m[b] * f32_at(act, 8 + b) } else { product };
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn product256(offset: bool, tile: &Tile, act: &[u8], i: usize, lanes: &mut [f32; 16]) {
    let act = &act[..TILE_BYTES];
    let mut isum = vdupq_n_s32(0);
    for (s, &scale) in tile.scale.iter().enumerate() {
        isum = vmlaq_n_s32(isum, dot16(load(&tile.q, 16 * s), load(act, HEADER + 16 * s)), i32::from(scale));
    }
    let mut msum = vdupq_n_s32(0);
    if offset {
        for half in 0..2 {
            let (min, sums) = (vreinterpretq_s16_s8(load(&tile.min, 8 * half)), vreinterpretq_s16_s8(load(act, 32 + 16 * half)));
            msum = vmlal_s16(msum, vget_low_s16(min), vget_low_s16(sums));
            msum = vmlal_s16(msum, vget_high_s16(min), vget_high_s16(sums));
        }
    }
    lanes[i % 16] += combine256(offset, tile, f32_at(act, 0), vaddvq_s32(isum), vaddvq_s32(msum));
}

#[inline]
#[target_feature(enable = "neon")]
fn product_floats(tile: &Tile, act: &[u8], lanes: &mut [f32; 16]) {
    let mut sums = [0, 4, 8, 12].map(|i| vreinterpretq_f32_s8(load(lanes, i)));
    for (w, act) in tile.f.chunks_exact(16).zip(act.chunks_exact(64)) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let (w, act) = (vreinterpretq_f32_s8(load(w, 4 * i)), vreinterpretq_f32_s8(load(act, 16 * i)));
            // Not `vfmaq`: a fused product would round once where the others round twice.
            *sum = vaddq_f32(*sum, vmulq_f32(w, act));
        }
    }
    for (lanes, sum) in lanes.chunks_exact_mut(4).zip(sums) {
        // SAFETY: the chunk holds four floats; the store has no alignment.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), sum) }
    }
}
