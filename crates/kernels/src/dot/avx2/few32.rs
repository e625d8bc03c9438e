//! Blocks of 32 times Q8_0 activations (with an offset: Q8_1), one token or a few, with AVX2: no tile in memory. Read [`super::few256`] first.
//!
//! Eight blocks are a tile of activations and half of the sixteen lanes. Each is unpacked and multiplied to eight dwords, and the eight vectors, turned and added
//! up, are one vector of integer sums, to be multiplied by eight scales at once. Codes that are not larger than four or five bits are read unsigned, with a
//! bias, and the sum is mended by the bias times the sum of the activations, which a tile has times -128; codes of eight bits would overflow 16 bits with a bias, so
//! their sign moves to the activations.
//!
//! With AVX-VNNI ([`super::step`]) codes of eight bits get a bias too, and `vpdpbusd` takes the place of `maddubs` and `madd`.
//!
//! Q4_0, instructions a block on the vector ports: 2 to unpack, `maddubs`, `madd`, 3 for the sum, 2 for the scale and floats: 9, on three ports 3 cycles.

use std::arch::x86_64::*;

use super::few256::{PANELS, PASSES, halves_at, sums8};
use super::many::{self, Fill32};
use super::{Step, load, pairs};
use crate::activation::{HEADER, STARTS, TILE_BYTES};
use crate::dot::places::{prefetch, strips};
use crate::dot::{APART, Job};

/// Blocks of a group.
const GROUP: usize = 8;

/// Bytes of the longest block (Q8_0).
const LONGEST: usize = 34;

/// A format's part. The functions are unsafe because the CPU must have AVX2 and F16C.
pub trait Few32: Fill32 {
    /// Bytes of a block.
    const BYTES: usize;
    /// What the codes are too large by; none: they are signed, unless there is an offset.
    const BIAS: i32;
    /// The codes of a block.
    unsafe fn codes(block: &[u8]) -> __m256i;
    /// d and m of eight blocks: halves that are the first words of each, unless the format says otherwise. Without an offset m counts for nothing.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(blocks: &[u8]) -> [__m256; 2] {
        let m = if Self::OFFSET { halves_at(blocks, Self::BYTES, 2) } else { _mm256_setzero_ps() };
        [halves_at(blocks, Self::BYTES, 0), m]
    }
}

/// The driver.
///
/// # Safety
/// The CPU has AVX2, F16C and what the step needs; the lengths of the job are checked.
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn few32<S: Step, F: Few32>(job: &Job<'_>, out: &mut [f32]) {
    if job.tokens >= PANELS {
        // SAFETY: as this function.
        return unsafe { many::blocks32::<S, F>(job, out) };
    }
    if job.tokens > PASSES {
        return super::blocks32(job, out);
    }
    // SAFETY: as this function.
    unsafe { if job.in_one_place() { pass::<S, F, 1>(job, out) } else { pass::<S, F, APART>(job, out) } }
}

/// All tokens, R rows side by side.
///
/// # Safety
/// As the driver.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn pass<S: Step, F: Few32, const R: usize>(job: &Job<'_>, out: &mut [f32]) {
    // Activations have starts or, for an offset, scaled sums.
    const { assert!(!F::OFFSET || F::BIAS == 0) };
    // Codes of eight bits become unsigned too where the step takes them.
    let flip = S::ANY && F::BIAS == 0 && !F::OFFSET;
    let too_large = if flip { 128 } else { F::BIAS };
    let tiles = job.act_bytes / TILE_BYTES;
    let tile = |t: usize, g: usize| &job.acts[t * job.act_bytes + g * TILE_BYTES..][..TILE_BYTES];
    // The end of a row, filled up with blocks of zeros.
    let mut end = [0u8; GROUP * LONGEST];
    strips(job, 0..job.rows(), 1, |rows: [usize; R], w| {
        for t in 0..job.tokens {
            let mut lanes = [[_mm256_setzero_ps(); 2]; R];
            for g in 0..tiles {
                let tile = tile(t, g);
                // Here and not where it is used, among the products, whose registers would be put into memory.
                let mended = if too_large != 0 { mended(tile, too_large) } else { _mm256_setzero_si256() };
                for (lanes, w) in lanes.iter_mut().zip(w) {
                    let blocks = &w[g * GROUP * F::BYTES..];
                    let blocks = if blocks.len() < GROUP * F::BYTES {
                        end[..blocks.len()].copy_from_slice(blocks);
                        &end[..GROUP * F::BYTES]
                    } else {
                        prefetch::<R>(&blocks[..GROUP * F::BYTES], F::BYTES);
                        &blocks[..GROUP * F::BYTES]
                    };
                    let mut sums = [_mm256_setzero_si256(); GROUP];
                    for (b, (sum, block)) in sums.iter_mut().zip(blocks.chunks_exact(F::BYTES)).enumerate() {
                        // SAFETY: this function's instructions are those that the format's functions need.
                        let codes = unsafe { F::codes(block) };
                        let (codes, act) =
                            (if flip { _mm256_xor_si256(codes, _mm256_set1_epi8(-128)) } else { codes }, load(tile, HEADER + 32 * b));
                        *sum = if F::OFFSET || too_large != 0 {
                            // SAFETY: the caller promises what the step needs.
                            unsafe { S::add_bytes(*sum, codes, act) }
                        } else {
                            _mm256_madd_epi16(pairs(false, codes, act), _mm256_set1_epi16(1))
                        };
                    }
                    let mut isum = sums8(&sums);
                    if too_large != 0 {
                        isum = _mm256_add_epi32(isum, mended);
                    }
                    // SAFETY: as above.
                    let [d, m] = unsafe { F::scales(blocks) };
                    let da = _mm256_castsi256_ps(load(tile, 0));
                    let mut product = _mm256_mul_ps(_mm256_mul_ps(d, da), _mm256_cvtepi32_ps(isum));
                    if F::OFFSET {
                        product = _mm256_add_ps(product, _mm256_mul_ps(m, _mm256_castsi256_ps(load(tile, 32))));
                    }
                    // Blocks past the end of the row are zero, and a lane to which zeros are added never is -0.
                    lanes[g % 2] = _mm256_add_ps(lanes[g % 2], product);
                }
            }
            for (row, lanes) in rows.into_iter().zip(lanes) {
                out[t * job.rows() + row] = super::reduce(lanes);
            }
        }
    });
}

/// Lane b: minus the bias times the sum of the activations of block b.
#[inline]
#[target_feature(enable = "avx2")]
fn mended(tile: &[u8], bias: i32) -> __m256i {
    // -128 times the sum.
    let starts = load(tile, STARTS);
    match bias {
        128 => starts,
        16 => _mm256_srai_epi32::<3>(starts),
        8 => _mm256_srai_epi32::<4>(starts),
        _ => _mm256_srai_epi32::<7>(_mm256_mullo_epi32(starts, _mm256_set1_epi32(bias))),
    }
}

/// Sixteen bytes at an offset: nibbles to the codes of a block, below 16.
#[inline]
#[target_feature(enable = "avx2")]
pub fn nibbles(block: &[u8], at: usize) -> __m256i {
    // A load that spreads sixteen bytes and no shuffle: the low nibbles are the first sixteen codes, the high ones the next.
    let bytes = _mm256_broadcastsi128_si256(crate::format::load16(block, at));
    let shifted = _mm256_srlv_epi32(bytes, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    _mm256_and_si256(shifted, _mm256_set1_epi8(15))
}
