//! The products with AVX2, and with AVX-VNNI beside it.
//!
//! - [`few256`], [`few32`], [`few_floats`]: up to three tokens, unpacking and multiplying in one pass.
//! - [`many`]: six tokens and more (floats four), panels of rows side by side.
//! - here: four and five tokens, and rows too long for a panel, by the general walk of [`super::walk`] over tiles.
//!
//! What AVX-VNNI adds is in one place, [`step`]: the drivers are written over it and compiled for both.
//!
//! `maddubs` multiplies unsigned by signed bytes and adds neighbours to 16 bits. Where codes are signed, the sign of the weight moves to the
//! activation: |w| * (a with the sign of w). No sum of two saturates: 128 * 127 * 2 < 2^15. Then `madd` multiplies by 16-bit scales (or by one) and
//! adds neighbours to 32 bits. Formats with an offset have unsigned codes and skip the signs.

use std::arch::x86_64::*;

use super::scalar::combine256;
use super::{Job, walk};
use crate::activation::{HEADER, TILE_BYTES, f32_at};
use crate::tile::Tile;

pub(crate) mod few256;
pub(crate) mod few32;
pub(crate) mod few_floats;
pub(crate) mod many;
mod step;

pub(crate) use few_floats::few_floats;
pub(crate) use few32::few32;
pub(crate) use few256::few256;
pub(crate) use step::{Avx2, AvxVnni, Step};

/// Blocks of 32 times Q8_0 activations (with an offset: Q8_1).
#[target_feature(enable = "avx2,f16c")]
pub fn blocks32(job: &Job<'_>, out: &mut [f32]) {
    let offset = job.format.offset;
    // SAFETY: the unpack beside this driver needs the same instructions, which the caller of this function has promised.
    unsafe { walk(job, TILE_BYTES, out, |tile, act, i, lanes| product32(offset, tile, act, i, lanes)) }
}

/// Blocks of 256 times Q8_K activations.
#[target_feature(enable = "avx2,f16c")]
pub fn blocks256(job: &Job<'_>, out: &mut [f32]) {
    let offset = job.format.offset;
    // SAFETY: as above.
    unsafe { walk(job, TILE_BYTES, out, |tile, act, i, lanes| product256(offset, tile, act, i, lanes)) }
}

/// 32 bytes at an offset.
#[inline]
#[target_feature(enable = "avx2")]
fn load<T: Copy>(from: &[T], at: usize) -> __m256i {
    let from = &from[at..at + 32 / size_of::<T>()];
    // SAFETY: the slice holds 32 bytes, any of which is a value; the load has no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// Eight floats.
#[inline]
#[target_feature(enable = "avx2")]
fn load_f32(from: &[f32; 8]) -> __m256 {
    // SAFETY: the array holds 32 bytes; the load has no alignment.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

/// Eight floats back.
#[inline]
#[target_feature(enable = "avx2")]
fn store_f32(to: &mut [f32; 8], x: __m256) {
    // SAFETY: the array holds 32 bytes; the store has no alignment.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) }
}

/// Sums of neighbouring products of 32 codes and 32 activations, in 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs(unsigned: bool, w: __m256i, a: __m256i) -> __m256i {
    if unsigned { _mm256_maddubs_epi16(w, a) } else { _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w)) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn product32(offset: bool, tile: &Tile, act: &[u8], i: usize, lanes: &mut [f32; 16]) {
    let act = &act[..TILE_BYTES];
    let ones = _mm256_set1_epi16(1);
    let sum = |b: usize| _mm256_madd_epi16(pairs(offset, load(&tile.q, 32 * b), load(act, HEADER + 32 * b)), ones);
    // Eight vectors to one of their sums: neighbours, neighbours, then the two halves.
    let low = _mm256_hadd_epi32(_mm256_hadd_epi32(sum(0), sum(1)), _mm256_hadd_epi32(sum(2), sum(3)));
    let high = _mm256_hadd_epi32(_mm256_hadd_epi32(sum(4), sum(5)), _mm256_hadd_epi32(sum(6), sum(7)));
    let isum = _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high));

    let scale = _mm256_mul_ps(load_f32(&tile.d), _mm256_castsi256_ps(load(act, 0)));
    let mut product = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(isum));
    if offset {
        product = _mm256_add_ps(product, _mm256_mul_ps(load_f32(&tile.m), _mm256_castsi256_ps(load(act, 32))));
    }
    let lanes: &mut [f32; 8] = (&mut lanes[i % 2 * 8..][..8]).try_into().expect("eight of sixteen lanes");
    store_f32(lanes, _mm256_add_ps(load_f32(lanes), product));
}

#[inline]
#[target_feature(enable = "avx2")]
fn product256(offset: bool, tile: &Tile, act: &[u8], i: usize, lanes: &mut [f32; 16]) {
    let act = &act[..TILE_BYTES];
    // Chunk c of 32 holds sub-blocks 2c (low half) and 2c + 1: scale 2c in every place of the low half, 2c + 1 in the high one.
    let place = |c: i16| {
        let (low, high) = ((4 * c + 1) << 8 | (4 * c), (4 * c + 3) << 8 | (4 * c + 2));
        _mm256_set_m128i(_mm_set1_epi16(high), _mm_set1_epi16(low))
    };
    let places = [place(0), place(1), place(2), place(3)];
    let scales = load(&tile.scale, 0);
    let scales = [_mm256_permute2x128_si256::<0x00>(scales, scales), _mm256_permute2x128_si256::<0x11>(scales, scales)];
    let mut isum = _mm256_setzero_si256();
    for c in 0..8 {
        let pairs = pairs(offset, load(&tile.q, 32 * c), load(act, HEADER + 32 * c));
        isum = _mm256_add_epi32(isum, _mm256_madd_epi16(pairs, _mm256_shuffle_epi8(scales[c / 4], places[c % 4])));
    }
    let isum = sum_i32(isum);
    let msum = if offset { sum_i32(_mm256_madd_epi16(load(&tile.min, 0), load(act, 32))) } else { 0 };
    lanes[i % 16] += combine256(offset, tile, f32_at(act, 0), isum, msum);
}

/// The fixed tree of [`super::reduce`] on two times eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce(lanes: [__m256; 2]) -> f32 {
    let x = _mm256_add_ps(lanes[0], lanes[1]);
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
}

/// Sum of eight integers.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_i32(x: __m256i) -> i32 {
    let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0x4e>(x));
    _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32::<0xb1>(x)))
}
