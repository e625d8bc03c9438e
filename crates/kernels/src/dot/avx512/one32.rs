//! Blocks of 32 with nibbles (Q4_0) times one token, rows side by side: where arithmetic is what limits one token. Read [`super::blocks32`] first.
//!
//! There a register of codes has two whole blocks, and eight registers of products become one of sums with sixteen instructions. Here it has the low nibbles of four blocks, or the high ones, a
//! quarter each, and the products of both are added up by `vpdpbusd` itself:
//!
//! ```text
//! for each of the row's groups of sixteen blocks:
//!     for four blocks, four times:
//!         x  = sixteen bytes of each                                                        1 load, 3 under masks
//!         p  = (x & 15) * their first halves + (x >> 4 & 15) * their second halves          3, 2 vpdpbusd
//!     isum = p0..p3 packed to words and paired, twice, from minus the bias's part on        3 vpackssdw, 3 vpmaddwd
//! ```
//! On an Emerald Rapids core, rows of 4096, GB/s before and with it (medians of four pairs): 19.4 and 22.6 from the cache, 15.3 and 17.5 from memory, where a loop that only reads has 19.8. Where rows
//! are read one by one (AMD) memory is what limits, and the plain way stays.
//!
//! 32 and 6 instructions on the vector ports (with GFNI 28 and 6) in the place of 32 and 20. Block 4j + q of a group then is in lane 4q + j, which only turns the scales, the activations (once a call) and, in the
//! end, the lanes before the tree: the numbers and their order are the same. No sum of eight products of 15 * 127 is more than 15,240, and no pair of those more than a word.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::blocks32::{Blocks32, Tiles};
use super::{GROUP, add_words, load16, moved_down, reduce, reload};
use crate::activation::HEADER;
use crate::dot::Job;
use crate::dot::places::{prefetch, strips};

/// Groups of a row at most: 16,384 columns.
const KEPT: usize = 32;

/// A group's activations as they are multiplied.
#[derive(Clone, Copy)]
struct Turned {
    /// Of blocks 4j to 4j + 3 the first sixteen codes of each, and the second.
    codes: [[__m512i; 2]; 4],
    /// Lane 4q + j: of block 4j + q.
    d: __m512,
    /// Minus the bias times the sum of the block's codes, in the same way.
    starts: __m512i,
}

/// Whether [`one32`] can do a job.
#[inline(always)]
pub(super) fn fits(job: &Job<'_>, bytes: usize) -> bool {
    let groups = job.row_bytes / (GROUP * bytes);
    groups <= KEPT && job.row_bytes == groups * GROUP * bytes
}

/// Lane 4q + j: number 4j + q; its own inverse.
#[inline]
#[target_feature(enable = "avx512f")]
fn order() -> __m512i {
    _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
}

/// Sixteen bytes of four places.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq")]
fn quarters(bytes: &[u8], at: usize, stride: usize) -> __m512i {
    let x = _mm512_broadcast_i32x4(load16(bytes, at));
    let x = _mm512_mask_broadcast_i32x4(x, 0x00f0, load16(bytes, at + stride));
    let x = _mm512_mask_broadcast_i32x4(x, 0x0f00, load16(bytes, at + 2 * stride));
    _mm512_mask_broadcast_i32x4(x, 0xf000, load16(bytes, at + 3 * stride))
}

/// Of the two tiles of a group.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq")]
fn turned<F: Blocks32>(tiles: Tiles<'_>) -> Turned {
    let mut codes = [[_mm512_setzero_si512(); 2]; 4];
    for (j, codes) in codes.iter_mut().enumerate() {
        let (tile, at) = (tiles.0[j / 2], HEADER + j % 2 * 128);
        *codes = [quarters(tile, at, 32), quarters(tile, at + 16, 32)];
    }
    Turned { codes, d: _mm512_permutexvar_ps(order(), tiles.floats(0)), starts: _mm512_permutexvar_epi32(order(), tiles.mended::<F>()) }
}

/// The products of a job that [`fits`], with R rows side by side.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn one32<F: Blocks32, const R: usize>(job: &Job<'_>, out: &mut [f32]) {
    assert!(F::NIBBLES && !F::OFFSET && F::BYTES == 18);
    let bytes = GROUP * F::BYTES;
    let mut room = [const { MaybeUninit::<Turned>::uninit() }; KEPT];
    let room = &mut room[..job.row_bytes / bytes];
    for (g, kept) in room.iter_mut().enumerate() {
        kept.write(turned::<F>(Tiles::of(job.acts, g)));
    }
    // SAFETY: every one of these has been written.
    let kept = unsafe { room.assume_init_ref() };
    strips(job, 0..job.rows(), 1, |rows: [usize; R], w| {
        let mut lanes = [_mm512_setzero_ps(); R];
        for (g, act) in kept.iter().enumerate() {
            for (lanes, w) in lanes.iter_mut().zip(w) {
                let blocks = &w[g * bytes..][..bytes];
                prefetch::<R>(blocks, F::BYTES);
                // SAFETY: this function's instructions are those that the format's functions need.
                let d = unsafe { F::scales_of_quarters(blocks) };
                let blocks = reload(blocks);
                let p = |j: usize| {
                    let x = quarters(blocks, 4 * j * F::BYTES + 2, F::BYTES);
                    let low = _mm512_and_si512(x, _mm512_set1_epi8(15));
                    let high = if F::GFNI {
                        // SAFETY: a kernel for GFNI runs on a CPU that has it.
                        unsafe { moved_down::<4, 4, 15>(x) }
                    } else {
                        _mm512_and_si512(_mm512_srli_epi16::<4>(x), _mm512_set1_epi8(15))
                    };
                    let first = _mm512_dpbusd_epi32(_mm512_setzero_si512(), low, act.codes[j][0]);
                    _mm512_dpbusd_epi32(first, high, act.codes[j][1])
                };
                let pairs = |words: __m512i| _mm512_madd_epi16(words, _mm512_set1_epi16(1));
                let [a, b] = [pairs(_mm512_packs_epi32(p(0), p(1))), pairs(_mm512_packs_epi32(p(2), p(3)))];
                let isum = add_words(act.starts, _mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
                let product = _mm512_mul_ps(_mm512_mul_ps(d, act.d), _mm512_cvtepi32_ps(isum));
                *lanes = _mm512_add_ps(*lanes, product);
            }
        }
        for (row, lanes) in rows.into_iter().zip(lanes) {
            out[row] = reduce(_mm512_permutexvar_ps(order(), lanes));
        }
    });
}
