//! Products of few tokens with AVX-512 and VNNI: weights go from memory to registers and are gone.
//!
//! With one token every weight is read once and used once, so the core should never do anything but wait for memory. A core that reads 20 GB/s at
//! 3 GHz gets 7 bytes a cycle, and a block of 144 bytes (256 weights of Q4_K) every 20 cycles: that is the budget. Unpacking to a tile in memory and
//! multiplying it in a second pass takes twice as much. Here both are one pass, and no code is ever stored:
//!
//! ```text
//! codes    = unpacked by the format: 64 unsigned bytes a register                     (2 to 5 instructions)
//! products = vpdpbusd(codes, activations): 16 sums of four products                   (1)
//! ```
//! Three shapes follow, one file each: [`blocks256`], [`blocks32`], [`floats`]. What they share is that float arithmetic is done for *sixteen blocks at
//! once*. The contribution of block b goes to lane b mod 16 (see [`super`]), so sixteen blocks' integer sums, transposed and added up until lane b holds
//! the sum of block b ([`sums16`]), are exactly one vector of the sixteen lanes: scales are converted and multiplied sixteen at a time, and no lane is
//! ever picked out. The row's end, a group of fewer than sixteen, adds under a mask.
//!
//! `vpdpbusd` wants one operand unsigned. Codes that are signed are read with a bias, `u = q + bias`, and the sum is mended:
//! `sum(q * a) = sum(u * a) - bias * sum(a)`; the sums of activations do not depend on the row: tiles of Q8_0 have them, for Q8_K they are made once a call. Integers are exact in any
//! order, so none of this can be seen in the result.
//!
//! Up to [`FEW`] tokens share an unpacked block while it is in registers: each adds only its own products.
//!
//! Rows are read in several places at once, where that is faster ([`super::places`]).
//!
//! Measured on a Xeon of 2023 (Emerald Rapids, one thread, other programs on all cores; GB/s of weights in rows of 4096, one token; the same memory summed
//! up as F32, which needs no unpacking, gives 20.8):
//!
//! | | Q4_K | Q5_K | Q6_K | Q8_0 | Q4_0 | Q5_0 | F16 | BF16 |
//! |---|---|---|---|---|---|---|---|---|
//! | a tile in memory (AVX2) | 6.1 | 5.6 | 6.2 | 7.7 | 4.8 | 5.3 | 8.8 | 8.7 |
//! | one pass, one place | 9.5 | 9.4 | 10.2 | 11.4 | 10.0 | 10.1 | - | - |
//! | one pass, four places | 17.0 | 16.3 | 17.9 | 18.3 | 17.9 | 16.1 | 19.4 | 18.6 |
//! | weights in the second-level cache | 21.9 | 22.0 | 26.4 | 28.0 | 18.7 | 16.9 | 38.8 | 39.8 |
//!
//! Since then blocks of 256 get 96 to 99 % of plain reading (Q4_K) and 92 to 97 % (Q6_K): [`one256`].
//!
//! What was tried and is not here: the four rows' iterators zipped (kept in memory: a tenth slower), closures given to `map` and `from_fn` (not inlined),
//! `vpdpwssd` as an intrinsic (taken apart into two instructions), loading once for scales and codes (see [`reload`]).

use std::arch::asm;
use std::arch::x86_64::*;

use super::places;
use super::{APART, Job};
use crate::Core;

mod affine;
mod blocks256;
mod blocks32;
mod floats;
pub(crate) mod many;
mod one256;
mod one32;

pub(crate) use affine::moved_down;
pub(crate) use blocks32::{Blocks32, bits, blocks32, nibbles};
pub(crate) use blocks256::{Blocks256, Heads, Scales, Signed, Small, blocks256};
pub(crate) use blocks256::{by_sixteen, by_thirty_two, signed_words, unsigned_words};
pub(crate) use floats::{Floats, floats};

/// Tokens of one pass over the weights.
pub(crate) const FEW: usize = super::MANY;

/// Blocks of a group: as many as there are lanes.
pub(crate) const GROUP: usize = 16;

/// Blocks whose sums are added up at once ([`sums4`]), while they are in registers.
const FOUR: usize = 4;

/// Rows side by side for several tokens, which need more room for sums, where one token has [`APART`].
const ROWS_OF_SEVERAL: usize = 2;

/// What blocks of a length differ in.
trait Pass {
    /// How far ahead a row by itself asks for its bytes ([`places::ahead`]).
    const AHEAD: usize;

    /// The products of `count` tokens from `first` on, at most T, with R rows side by side.
    ///
    /// # Safety
    /// The CPU has AVX-512 with VNNI.
    unsafe fn pass<const R: usize, const T: usize>(job: &Job<'_>, first: usize, count: usize, out: &mut [f32]);
}

/// All tokens of a job, with as many rows side by side as the core likes.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn passes<P: Pass>(job: &Job<'_>, out: &mut [f32]) {
    match job.core {
        Core::Zen => {
            places::begin(job, P::AHEAD);
            passes_of::<P, 1, 1>(job, out)
        }
        Core::Other => passes_of::<P, APART, ROWS_OF_SEVERAL>(job, out),
    }
}

/// ONE rows side by side for one token, SEVERAL for several.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn passes_of<P: Pass, const ONE: usize, const SEVERAL: usize>(job: &Job<'_>, out: &mut [f32]) {
    // SAFETY: this function's instructions are those that a pass needs.
    unsafe {
        if job.tokens == 1 {
            P::pass::<ONE, 1>(job, 0, 1, out);
        } else {
            for first in (0..job.tokens).step_by(FEW) {
                P::pass::<SEVERAL, FEW>(job, first, FEW.min(job.tokens - first), out);
            }
        }
    }
}

/// The same bytes; the compiler no longer knows that they are. What it knows of one load it uses for the next that overlaps: it builds 32 bytes of codes
/// with four shuffles from the 64 that were loaded for the scales in them, where a load is free.
#[inline(always)]
fn reload(bytes: &[u8]) -> &[u8] {
    let mut from = bytes.as_ptr();
    // SAFETY: no instruction at all: the address stays what it is.
    #[allow(clippy::pointers_in_nomem_asm_block)]
    unsafe {
        asm!("/* {0} */", inout(reg) from, options(pure, nomem, nostack, preserves_flags))
    };
    // SAFETY: the address and the length of `bytes`.
    unsafe { std::slice::from_raw_parts(from, bytes.len()) }
}

/// `sum + a * b` in 16 bits, pairs added. As the instruction itself: the compiler takes the intrinsic apart into a product and a sum, which has less latency,
/// but here the ports are what is short.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn add_words(mut sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: registers only, and the function has the instruction's feature.
    unsafe {
        asm!("vpdpwssd {0}, {1}, {2}", inout(zmm_reg) sum, in(zmm_reg) a, in(zmm_reg) b, options(pure, nomem, nostack, preserves_flags))
    };
    sum
}

/// Sixteen bytes at an offset.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) fn load16(bytes: &[u8], at: usize) -> __m128i {
    let from = &bytes[at..at + 16];
    // SAFETY: the slice holds 16 bytes; the load has no alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// 32 bytes at an offset.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) fn load32(bytes: &[u8], at: usize) -> __m256i {
    let from = &bytes[at..at + 32];
    // SAFETY: the slice holds 32 bytes; the load has no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// 64 bytes at an offset.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) fn load64(bytes: &[u8], at: usize) -> __m512i {
    let from = &bytes[at..at + 64];
    // SAFETY: the slice holds 64 bytes; the load has no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// 32 bytes at an offset, in both halves: a load and no arithmetic.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) fn twice32(bytes: &[u8], at: usize) -> __m512i {
    _mm512_broadcast_i64x4(load32(bytes, at))
}

/// `low` in the lower half, `high` in the upper one: of each 16-bit place.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) fn halves(low: i16, high: i16) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_set1_epi16(low), _mm256_set1_epi16(high))
}

/// Codes in nibbles: the low ones of the lower half, the high ones of the upper half. Unsafe because with GFNI the CPU must have it.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) unsafe fn low_then_high<const GFNI: bool>(bytes: __m512i) -> __m512i {
    if GFNI {
        // SAFETY: promised by the caller.
        return unsafe { moved_down::<0, 4, 15>(bytes) };
    }
    // A shift of 16 bits brings four bits over from the neighbour: the mask removes them.
    _mm512_and_si512(_mm512_srlv_epi16(bytes, halves(0, 4)), _mm512_set1_epi8(15))
}

/// `x[l] + x[l + 2 dwords]` of `a` and of `b`, in each 128 bits: a, b, a, b.
#[inline]
#[target_feature(enable = "avx512bw")]
fn add_pairs(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b))
}

/// The sums of four vectors' dwords within each 128 bits: dword i is of vector i.
#[inline]
#[target_feature(enable = "avx512bw")]
fn sums4(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    let (ab, cd) = (add_pairs(a, b), add_pairs(c, d));
    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
}

/// [`sums4`] of dwords of which two fit in 16 bits: six instructions and not nine.
#[inline]
#[target_feature(enable = "avx512bw")]
fn small_sums4(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    let pairs = |a, b| _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
    pairs(pairs(a, b), pairs(c, d))
}

/// [`sums4`] of the vectors 0 to 3, 4 to 7, 8 to 11, 12 to 15.
#[inline]
#[target_feature(enable = "avx512bw")]
fn fours(v: &[__m512i; GROUP]) -> [__m512i; FOUR] {
    let four = |i: usize| sums4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    [four(0), four(4), four(8), four(12)]
}

/// Sixteen vectors to one, lane i the sum of the sixteen dwords of vector i: the first four of `four` are what [`fours`] makes of them. Nine instructions, with theirs
/// 45: less than three a vector.
#[inline]
#[target_feature(enable = "avx512bw")]
fn sums16(four: &[__m512i]) -> __m512i {
    let halves = |a, b| _mm512_add_epi32(_mm512_shuffle_i32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b));
    let (ab, cd) = (halves(four[0], four[1]), halves(four[2], four[3]));
    _mm512_add_epi32(_mm512_shuffle_i32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, cd))
}

/// The fixed tree of [`super::reduce`]: lanes 8 apart, then 4, 2, 1.
#[inline]
#[target_feature(enable = "avx512dq")]
fn reduce(lanes: __m512) -> f32 {
    let x = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps::<1>(lanes));
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
}

/// 16 bytes at AT of each of at most sixteen blocks of STRIDE bytes, turned: dword i of block b is lane b of vector i. Blocks past the last count as zero.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq")]
pub(crate) fn columns<const STRIDE: usize, const AT: usize>(blocks: &[u8]) -> [__m512i; 4] {
    if blocks.len() < GROUP * STRIDE {
        return columns_of_end(blocks, STRIDE, AT);
    }
    let blocks = &blocks[..GROUP * STRIDE];
    let part = |b: usize| load16(blocks, b * STRIDE + AT);
    // Vector k holds blocks k, k + 4, k + 8, k + 12: so the turned lanes are in order. An insertion from memory needs no shuffle.
    let four = |k: usize| {
        let x = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(part(k)), part(k + 4));
        _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(x, part(k + 8)), part(k + 12))
    };
    turn(four(0), four(1), four(2), four(3))
}

/// [`columns`] at the end of a row.
#[inline(never)]
#[target_feature(enable = "avx512bw,avx512dq")]
fn columns_of_end(blocks: &[u8], stride: usize, at: usize) -> [__m512i; 4] {
    let mut parts = [_mm_setzero_si128(); GROUP];
    for (b, block) in blocks.chunks_exact(stride).enumerate() {
        parts[b % 4 * 4 + b / 4] = load16(block, at);
    }
    // SAFETY: four times four vectors of 16 bytes; the loads have no alignment.
    let four = |k: usize| unsafe { _mm512_loadu_si512(parts[4 * k..4 * k + 4].as_ptr().cast()) };
    turn(four(0), four(1), four(2), four(3))
}

/// Turns the 4 by 4 dwords of each 128 bits. Twice gives back what was.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) fn turn(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (upper_ab, upper_cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(upper_ab, upper_cd),
        _mm512_unpackhi_epi64(upper_ab, upper_cd),
    ]
}

/// The half in the low 16 bits of each dword.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) fn low_halves(x: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x))
}

/// The half at `at` of each block of `stride` bytes, at most sixteen; zero past the last.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(crate) fn halves_at(blocks: &[u8], stride: usize, at: usize) -> __m512 {
    let mut bits = [0u16; GROUP];
    for (bits, block) in bits.iter_mut().zip(blocks.chunks_exact(stride)) {
        *bits = u16::from_le_bytes([block[at], block[at + 1]]);
    }
    // SAFETY: the array holds 32 bytes; the load has no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) })
}
