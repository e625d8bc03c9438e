//! Blocks of 32 times Q8_0 activations (with an offset: Q8_1), few tokens. Read `super` first.
//!
//! A block has one scale, and its sum of products is an integer, so a group of sixteen blocks (512 codes, eight registers of two blocks each) needs no
//! multiplication but `vpdpbusd` until it is one vector:
//!
//! ```text
//! for each of the row's groups of sixteen blocks:
//!     c0..c7 = codes of two blocks each, unsigned
//!     p0..p7 = products of 64 codes each: dwords 0 to 7 of one block, 8 to 15 of the next       8 vpdpbusd
//!     isum   = the sums of eight dwords each                                                   22, or 16 for codes of five bits or less
//!     isum  -= bias * (sum of the activations), which a tile has times -128                     4
//!     lanes += (d * da) * isum (+ m * s)
//! ```
//! Blocks have an odd length (18 bytes, 34), and their scales stand before their codes. Sixteen scales would be sixteen insertions, and those alone would
//! fill a port for as long as the products take. Instead one shuffle of 16-bit words per 64 bytes ([`words`]) moves what scales are in them to their lanes:
//! five for Q4_0.
//!
//! Q4_0, instructions a group on the vector ports: 8 * 3 to unpack, 8, 16, 3, 10 for scales (a shuffle and a blend for each load) and 5 for floats: 66, on
//! two ports 33 cycles. Memory gives a group of 288 bytes in 40.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::{GROUP, Pass, load16, load64, one32, passes, places, reduce, reload, small_sums4, sums4};
use crate::activation::{HEADER, STARTS, TILE_BYTES};
use crate::dot::Job;
use crate::dot::places::{prefetch, prefetch_part, strips};

/// Bytes of the longest block (Q8_0).
const LONGEST: usize = 34;

/// How a format's blocks unpack. The functions are unsafe because the CPU must have AVX-512 with VNNI.
pub trait Blocks32 {
    /// Bytes of a block.
    const BYTES: usize;
    /// What the codes are too large by.
    const BIAS: i32;
    /// Whether a weight is d * q + m.
    const OFFSET: bool;
    /// Whether the codes (as read, with the bias) are below 32: eight products then fit in 16 bits.
    const SMALL: bool;
    /// Whether a block is its scale and sixteen bytes, whose low nibbles are its first codes and the high ones the others: [`one32`].
    const NIBBLES: bool = false;
    /// Whether it is for CPUs with GFNI.
    const GFNI: bool = false;
    /// The codes of two blocks.
    unsafe fn codes(two: &[u8]) -> __m512i;
    /// d and m of sixteen blocks: halves that are the first words of each, unless the format says otherwise. Without an offset m counts for nothing.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    unsafe fn scales(blocks: &[u8]) -> [__m512; 2] {
        let x = gathered(blocks, const { &words(Self::BYTES, Self::OFFSET, false) });
        [_mm512_cvtph_ps(_mm512_castsi512_si256(x)), _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(x))]
    }
    /// d of sixteen blocks, block 4j + q in lane 4q + j.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    unsafe fn scales_of_quarters(blocks: &[u8]) -> __m512 {
        _mm512_cvtph_ps(_mm512_castsi512_si256(gathered(blocks, const { &words(Self::BYTES, false, true) })))
    }
}

/// Which shuffles take the first word of each of sixteen blocks to words 0 to 15, and the second to words 16 to 31.
struct Words {
    /// Loads of 64 bytes.
    loads: usize,
    /// Where each begins.
    from: [usize; 9],
    /// The word of the load that word i of the result is.
    place: [[u16; 32]; 9],
    /// Which words of the result are in this load.
    take: [u32; 9],
}

/// What a table takes from sixteen blocks.
#[inline]
#[target_feature(enable = "avx512bw")]
fn gathered(blocks: &[u8], Words { loads, from, place, take }: &Words) -> __m512i {
    let mut x = _mm512_setzero_si512();
    for i in 0..*loads {
        // SAFETY: 32 words are 64 bytes; the load has no alignment.
        let place = unsafe { _mm512_loadu_si512(place[i].as_ptr().cast()) };
        x = _mm512_mask_permutexvar_epi16(x, take[i], place, load64(blocks, from[i]));
    }
    x
}

/// The table for blocks of that many bytes; with `quarters` block 4j + q goes to word 4q + j.
const fn words(bytes: usize, second: bool, quarters: bool) -> Words {
    let total = GROUP * bytes;
    let mut out = Words { loads: total.div_ceil(64), from: [0; 9], place: [[0; 32]; 9], take: [0; 9] };
    let mut i = 0;
    while i < out.loads {
        // The last load ends where the blocks end, so it begins earlier than the others would have it.
        out.from[i] = if 64 * i + 64 <= total { 64 * i } else { total - 64 };
        let mut word = 0;
        while word < if second { 32 } else { 16 } {
            let block = if quarters { word % 4 * 4 + word % 16 / 4 } else { word % 16 };
            let at = block * bytes + word / 16 * 2;
            if at / 64 == i {
                out.place[i][word] = ((at - out.from[i]) / 2) as u16;
                out.take[i] |= 1 << word;
            }
            word += 1;
        }
        i += 1;
    }
    out
}

/// Sixteen bytes each of two blocks, `at` and `at + stride`: nibbles to the codes of both.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq")]
pub fn nibbles(two: &[u8], stride: usize, at: usize) -> __m512i {
    // Two loads that spread sixteen bytes and no shuffle: the low nibbles are the first sixteen codes, the high ones the next.
    let bytes = _mm512_broadcast_i32x4(load16(two, at));
    let bytes = _mm512_mask_broadcast_i64x2(bytes, 0xf0, load16(two, at + stride));
    let shift = _mm512_set_epi64(FOURS, FOURS, 0, 0, FOURS, FOURS, 0, 0);
    _mm512_and_si512(_mm512_srlv_epi16(bytes, shift), _mm512_set1_epi8(15))
}

/// Four 16-bit fours.
const FOURS: i64 = 0x0004_0004_0004_0004;

/// Four bytes each of two blocks, `at` and `at + stride`: a bit a code.
#[inline(always)]
pub fn bits(two: &[u8], stride: usize, at: usize) -> __mmask64 {
    let word = |at: usize| u64::from(u32::from_le_bytes([two[at], two[at + 1], two[at + 2], two[at + 3]]));
    word(at) | word(at + stride) << 32
}

/// Eight vectors of two blocks each to one: lane b is the sum of the dwords of block b.
#[inline]
#[target_feature(enable = "avx512bw")]
fn sums8<const SMALL: bool>(p: [__m512i; 8]) -> __m512i {
    let four = |i: usize| if SMALL { small_sums4(p[i], p[i + 1], p[i + 2], p[i + 3]) } else { sums4(p[i], p[i + 1], p[i + 2], p[i + 3]) };
    let (a, b) = (four(0), four(4));
    let sums = _mm512_add_epi32(_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b));
    // Now the even blocks 0 to 6, the odd ones 1 to 7, the even ones 8 to 14, the odd ones.
    _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15), sums)
}

/// A token's activations for a group: two tiles.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a>(pub(super) [&'a [u8]; 2]);

impl<'a> Tiles<'a> {
    /// Group g of a token's row. Where the row ends with the first tile, the second is zero.
    #[inline(always)]
    pub(super) fn of(act: &'a [u8], g: usize) -> Self {
        static ZERO: [u8; TILE_BYTES] = [0; TILE_BYTES];
        let act = &act[2 * g * TILE_BYTES..];
        Tiles([&act[..TILE_BYTES], if act.len() < 2 * TILE_BYTES { &ZERO } else { &act[TILE_BYTES..2 * TILE_BYTES] }])
    }

    /// Codes of blocks 2i and 2i + 1.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn codes(self, i: usize) -> __m512i {
        load64(self.0[i / 4], HEADER + i % 4 * 64)
    }

    /// Sixteen dwords, of eight each in both headers.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq")]
    fn dwords(self, at: usize) -> __m512i {
        let [low, high] = [super::load32(self.0[0], at), super::load32(self.0[1], at)];
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }

    /// Sixteen floats, in the same way.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq")]
    pub(super) fn floats(self, at: usize) -> __m512 {
        _mm512_castsi512_ps(self.dwords(at))
    }

    /// Lane b: minus the bias times the sum of the activations of block b.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq")]
    pub(super) fn mended<F: Blocks32>(self) -> __m512i {
        // -128 times the sum.
        let starts = self.dwords(STARTS);
        match F::BIAS {
            128 => starts,
            16 => _mm512_srai_epi32::<3>(starts),
            8 => _mm512_srai_epi32::<4>(starts),
            bias => _mm512_srai_epi32::<7>(_mm512_mullo_epi32(starts, _mm512_set1_epi32(bias))),
        }
    }
}

/// The driver.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub fn blocks32<F: Blocks32>(job: &Job<'_>, out: &mut [f32]) {
    passes::<Few<F>>(job, out);
}

/// Passes over blocks of a format.
struct Few<F>(PhantomData<F>);

impl<F: Blocks32> Pass for Few<F> {
    const AHEAD: usize = places::ahead(1, F::BYTES);

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn pass<const R: usize, const T: usize>(job: &Job<'_>, first: usize, count: usize, out: &mut [f32]) {
        if F::NIBBLES && R > 1 && T == 1 && one32::fits(job, F::BYTES) {
            return one32::one32::<F, R>(job, out);
        }
        pass::<F, R, T>(job, first, count, out);
    }
}

/// `count` tokens from `first` on, at most T.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pass<F: Blocks32, const R: usize, const T: usize>(job: &Job<'_>, first: usize, count: usize, out: &mut [f32]) {
    // Activations have starts or, for an offset, scaled sums.
    const { assert!(!F::OFFSET || F::BIAS == 0) };
    let count = if T == 1 { 1 } else { count };
    let acts = &job.acts[first * job.act_bytes..][..count * job.act_bytes];
    let groups = (job.act_bytes / TILE_BYTES).div_ceil(2);
    let tiles = |t: usize, g: usize| Tiles::of(&acts[t * job.act_bytes..][..job.act_bytes], g);
    // Of one row of long blocks (Q8_0) lines are asked for with each two, which reads 3 % faster; shorter ones have no time for it.
    let spread = R == 1 && F::BYTES > 32;
    // The end of a row, filled up with blocks of zeros.
    let mut end = [0u8; GROUP * LONGEST];
    strips(job, 0..job.rows(), 1, |rows: [usize; R], w| {
        let count = if T == 1 { 1 } else { count };
        let mut lanes = [[_mm512_setzero_ps(); T]; R];
        for g in 0..groups {
            for (lanes, w) in lanes.iter_mut().zip(w) {
                let blocks = &w[g * GROUP * F::BYTES..];
                let present = blocks.len() / F::BYTES;
                let (blocks, present) = if present < GROUP {
                    end[..blocks.len()].copy_from_slice(blocks);
                    (&end[..GROUP * F::BYTES], 0xffff_u16 >> (GROUP - present))
                } else {
                    if !spread {
                        prefetch::<R>(&blocks[..GROUP * F::BYTES], F::BYTES);
                    }
                    (&blocks[..GROUP * F::BYTES], 0xffff)
                };
                // SAFETY: this function's instructions are those that the format's functions need.
                let [d, m] = unsafe { F::scales(blocks) };
                let blocks = reload(blocks);
                let mut codes = [_mm512_setzero_si512(); 8];
                for (i, (codes, two)) in codes.iter_mut().zip(blocks.chunks_exact(2 * F::BYTES)).enumerate() {
                    if spread {
                        prefetch_part::<R>(blocks, F::BYTES, i, GROUP / 2);
                    }
                    // SAFETY: as above.
                    *codes = unsafe { F::codes(two) };
                }
                for (t, lanes) in lanes[..count].iter_mut().enumerate() {
                    let act = tiles(t, g);
                    let p = |i: usize| _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes[i], act.codes(i));
                    let p = [p(0), p(1), p(2), p(3), p(4), p(5), p(6), p(7)];
                    let mut isum = if F::SMALL { sums8::<true>(p) } else { sums8::<false>(p) };
                    if F::BIAS != 0 {
                        isum = _mm512_add_epi32(isum, act.mended::<F>());
                    }
                    let mut product = _mm512_mul_ps(_mm512_mul_ps(d, act.floats(0)), _mm512_cvtepi32_ps(isum));
                    if F::OFFSET {
                        product = _mm512_add_ps(product, _mm512_mul_ps(m, act.floats(32)));
                    }
                    *lanes = _mm512_mask_add_ps(*lanes, present, *lanes, product);
                }
            }
        }
        for (row, lanes) in rows.into_iter().zip(lanes) {
            for (t, &lanes) in lanes[..count].iter().enumerate() {
                out[(first + t) * job.rows() + row] = reduce(lanes);
            }
        }
    });
}
