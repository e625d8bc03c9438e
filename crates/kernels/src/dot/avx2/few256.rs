//! Blocks of 256 times Q8_K activations, one token or a few, with AVX2: no tile in memory.
//!
//! A block is unpacked and multiplied 32 codes at a time and its integer sum left as eight dwords. Eight blocks' sums, turned and added up ([`sums8`]), are one
//! vector: lane b is the sum of block b. So the floats of eight blocks are worked on at once, and the eight go to eight of the sixteen lanes (see `dot`), the
//! next eight to the others. The offsets' part is done for eight blocks at once too: offsets and sums of activations are both turned, and each `madd` multiplies
//! sixteen pairs. Codes with a bias are read unsigned, and the bias is mended in the same way, with the scales in the place of the offsets.
//!
//! Q4_K, instructions a block on the vector ports: 12 to unpack, 8 `maddubs`, 8 `madd` with scales, 8 additions, 8 shuffles for scales, 3 for [`sums8`],
//! 3 for heads and floats: 50, on three ports 17 cycles. The tile took twice as many, and a store and a load for each 32 codes.
//!
//! With AVX-VNNI ([`super::step`]) `vpdpwssd` takes the place of each `madd` and its addition: 42.
//!
//! Adding up the sums of four blocks while they are in registers, which pays with AVX-512, was tried here and does not: the sums are few beside the products.
//!
//! Sixteen registers do not hold a block for several tokens: each token unpacks it again. Above [`PASSES`] tokens a tile is cheaper, from
//! [`PANELS`] on a panel.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::many::{self, Fill256};
use super::{Step, load, pairs};
use crate::activation::{HEADER, TILE_BYTES};
use crate::dot::places::{prefetch, strips};
use crate::dot::{APART, Job};
use crate::tile::TILE;

/// Most tokens that go one by one.
pub(super) const PASSES: usize = 3;

/// From so many tokens on a panel costs less than a tile for each row, in every format.
pub(super) const PANELS: usize = 6;

/// Blocks of a group.
const GROUP: usize = 8;

/// Groups whose turned activations are kept for all rows, over all tokens. Those of longer rows are turned again for each row.
const KEPT: usize = 48;

/// What is read of eight blocks at once. Lane b is of block b.
#[derive(Clone, Copy)]
pub struct Heads {
    /// d.
    pub d: __m256,
    /// dmin; zero for a format without.
    pub m: __m256,
    /// What sums of activations are multiplied by, pairs of 16 bits, as [`Few256::WORDS`] says: offsets, or scales times the bias of the codes.
    pub words: [__m256i; 8],
    /// Scales, if they are not unpacked with the block: as the format likes.
    pub scales: [__m256i; 4],
}

impl Heads {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> Self {
        Heads { d: _mm256_setzero_ps(), m: _mm256_setzero_ps(), words: [_mm256_setzero_si256(); 8], scales: [_mm256_setzero_si256(); 4] }
    }
}

/// A format's part. The functions are unsafe because the CPU must have AVX2 and F16C.
pub trait Few256: Fill256 {
    /// Bytes of a block.
    const BYTES: usize;
    /// Of [`Heads::words`]: 8 hold the words of sub-blocks of 16 number 2i and 2i + 1, 4 those of sub-blocks of 32. None: signed codes.
    const WORDS: usize;
    /// At most eight blocks' heads.
    unsafe fn heads(blocks: &[u8]) -> Heads;
    /// Eight dwords whose sum is the sum of scale * code * activation of block b of the group; `codes` are the 256 of the token.
    unsafe fn product<S: Step>(block: &[u8], heads: &Heads, b: usize, codes: &[u8]) -> __m256i;
}

/// The activations of a token for eight blocks, turned.
#[derive(Clone, Copy)]
struct Turned {
    d: __m256,
    sums: [__m256i; 8],
}

/// The driver.
///
/// # Safety
/// The CPU has AVX2, F16C and what the step needs; the lengths of the job are checked.
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn few256<S: Step, F: Few256>(job: &Job<'_>, out: &mut [f32]) {
    if job.tokens >= PANELS {
        // SAFETY: as this function.
        return unsafe { many::blocks256::<S, F>(job, out) };
    }
    if job.tokens > PASSES {
        return super::blocks256(job, out);
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
unsafe fn pass<S: Step, F: Few256, const R: usize>(job: &Job<'_>, out: &mut [f32]) {
    let groups = (job.act_bytes / TILE_BYTES).div_ceil(GROUP);
    let tiles = |t: usize, g: usize| {
        let act = &job.acts[t * job.act_bytes..][..job.act_bytes];
        &act[g * GROUP * TILE_BYTES..job.act_bytes.min((g + 1) * GROUP * TILE_BYTES)]
    };
    // Not zeroed: for a few rows that would take as long as a row.
    let mut room = [const { MaybeUninit::<Turned>::uninit() }; KEPT];
    let room = &mut room[..KEPT.min(job.tokens * groups)];
    for (i, kept) in room.iter_mut().enumerate() {
        kept.write(turned(tiles(i / groups, i % groups), F::WORDS));
    }
    // SAFETY: every one of these has been written.
    let kept = unsafe { room.assume_init_ref() };
    strips(job, 0..job.rows(), 1, |rows: [usize; R], w| {
        for t in 0..job.tokens {
            let mut lanes = [[_mm256_setzero_ps(); 2]; R];
            for g in 0..groups {
                // Loops and no `map` or `from_fn`: those are the library's, without the instruction set, and what they call is not inlined.
                let (from, to) = (g * GROUP * F::BYTES, ((g + 1) * GROUP * F::BYTES).min(job.row_bytes));
                let mut heads = [Heads::zero(); R];
                for (heads, w) in heads.iter_mut().zip(w) {
                    // SAFETY: this function's instructions are those that the format's functions need.
                    *heads = unsafe { F::heads(&w[from..to]) };
                }
                let tiles = tiles(t, g);
                let mut sums = [[_mm256_setzero_si256(); GROUP]; R];
                for (b, tile) in tiles.chunks_exact(TILE_BYTES).enumerate().take(GROUP) {
                    // A range: four iterators side by side would be kept in memory.
                    #[allow(clippy::needless_range_loop)]
                    for r in 0..R {
                        let block = &w[r][from + b * F::BYTES..][..F::BYTES];
                        prefetch::<R>(block, F::BYTES);
                        // SAFETY: as above.
                        sums[r][b] = unsafe { F::product::<S>(block, &heads[r], b, &tile[HEADER..HEADER + TILE]) };
                    }
                }
                let fresh;
                let turned = match kept.get(t * groups + g) {
                    Some(kept) => kept,
                    None => {
                        fresh = turned(tiles, F::WORDS);
                        &fresh
                    }
                };
                for ((lanes, heads), sums) in lanes.iter_mut().zip(&heads).zip(&sums) {
                    // Blocks past the end of the row are zero, and a lane to which zeros are added never is -0.
                    // SAFETY: as above.
                    lanes[g % 2] = _mm256_add_ps(lanes[g % 2], unsafe { contribution::<S, F>(heads, sums, turned) });
                }
            }
            for (row, lanes) in rows.into_iter().zip(lanes) {
                out[t * job.rows() + row] = super::reduce(lanes);
            }
        }
    });
}

/// What eight blocks add to eight lanes.
///
/// # Safety
/// The CPU has what the step needs.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn contribution<S: Step, F: Few256>(heads: &Heads, sums: &[__m256i; GROUP], turned: &Turned) -> __m256 {
    let mut isum = sums8(sums);
    let mut msum = _mm256_setzero_si256();
    for i in 0..F::WORDS {
        // SAFETY: the caller promises what the step needs.
        msum = unsafe { S::add_words(msum, heads.words[i], turned.sums[i]) };
    }
    if !F::OFFSET {
        isum = _mm256_sub_epi32(isum, msum);
    }
    let product = _mm256_mul_ps(_mm256_mul_ps(heads.d, turned.d), _mm256_cvtepi32_ps(isum));
    if F::OFFSET {
        return _mm256_sub_ps(product, _mm256_mul_ps(_mm256_mul_ps(heads.m, turned.d), _mm256_cvtepi32_ps(msum)));
    }
    product
}

/// `tiles`: at most eight. Never inlined: it is for once a call, and rows longer than what is kept are rare.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn turned(tiles: &[u8], words: usize) -> Turned {
    let [d, ..] = columns::<TILE_BYTES, 0>(tiles);
    let (low, high) = (columns::<TILE_BYTES, 32>(tiles), columns::<TILE_BYTES, 48>(tiles));
    let mut sums = [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]];
    if words == 4 {
        for i in 0..4 {
            let pair = |x| _mm256_madd_epi16(x, _mm256_set1_epi16(1));
            // At most 32 * 127: two fit in a dword.
            sums[i] = _mm256_blend_epi16::<0xaa>(pair(sums[2 * i]), _mm256_slli_epi32::<16>(pair(sums[2 * i + 1])));
        }
    }
    Turned { d: _mm256_castsi256_ps(d), sums }
}

/// The sums of four vectors' dwords within each 128 bits: dword i is of vector i.
#[inline]
#[target_feature(enable = "avx2")]
fn sums4(v: &[__m256i; 8], i: usize) -> __m256i {
    let pairs = |a, b| _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (ab, cd) = (pairs(v[i], v[i + 1]), pairs(v[i + 2], v[i + 3]));
    _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd))
}

/// Eight vectors to one: lane i is the sum of the dwords of vector i.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sums8(v: &[__m256i; 8]) -> __m256i {
    let (a, b) = (sums4(v, 0), sums4(v, 4));
    _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b))
}

/// 16 bytes at AT of each of at most eight blocks of STRIDE bytes, turned: dword i of block b is lane b of vector i. Blocks past the last count as zero.
#[inline]
#[target_feature(enable = "avx2")]
pub fn columns<const STRIDE: usize, const AT: usize>(blocks: &[u8]) -> [__m256i; 4] {
    let part = |b: usize| if b * STRIDE < blocks.len() { crate::format::load16(blocks, b * STRIDE + AT) } else { _mm_setzero_si128() };
    // Vector k holds blocks k and k + 4: so the turned lanes are in order.
    let two = |k: usize| _mm256_set_m128i(part(k + 4), part(k));
    turn(two(0), two(1), two(2), two(3))
}

/// Turns the 4 by 4 dwords of each 128 bits. Twice gives back what was.
#[inline]
#[target_feature(enable = "avx2")]
pub fn turn(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [__m256i; 4] {
    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (upper_ab, upper_cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(upper_ab, upper_cd),
        _mm256_unpackhi_epi64(upper_ab, upper_cd),
    ]
}

/// The sixteen bytes of block b from where [`turn`] left them.
#[inline]
#[target_feature(enable = "avx2")]
pub fn sixteen_of(turned: &[__m256i; 4], b: usize) -> __m128i {
    assert!(b < GROUP, "block {b}");
    // SAFETY: the four vectors are eight times sixteen bytes.
    unsafe { *turned.as_ptr().cast::<__m128i>().add(b % 4 * 2 + b / 4) }
}

/// Lane b. From memory: a broadcast of it costs no arithmetic.
#[inline]
#[target_feature(enable = "avx2")]
pub fn dword(x: &__m256i, b: usize) -> i32 {
    assert!(b < GROUP, "lane {b}");
    // SAFETY: a vector is eight dwords.
    unsafe { *std::ptr::from_ref(x).cast::<i32>().add(b) }
}

/// Bytes A and B of each dword as words, unsigned.
#[inline]
#[target_feature(enable = "avx2")]
pub fn words<const A: i32, const B: i32>(bytes: __m256i) -> __m256i {
    let place = |i: i32| 0x8000_8000_u32 as i32 | (i + B) << 16 | (i + A);
    _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(_mm_setr_epi32(place(0), place(4), place(8), place(12))))
}

/// The same of signed bytes, times `2^(8 - DOWN)`.
#[inline]
#[target_feature(enable = "avx2")]
pub fn signed_words<const A: i32, const B: i32, const DOWN: i32>(bytes: __m256i) -> __m256i {
    _mm256_srai_epi16::<DOWN>(_mm256_slli_epi16::<8>(words::<A, B>(bytes)))
}

/// The half in the low 16 bits of each dword.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub fn low_halves(x: __m256i) -> __m256 {
    let x = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));
    let x = _mm256_permute4x64_epi64::<0b10_00>(_mm256_packus_epi32(x, x));
    _mm256_cvtph_ps(_mm256_castsi256_si128(x))
}

/// The half at `at` of each of at most eight blocks of `stride` bytes; zero past the last.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub fn halves_at(blocks: &[u8], stride: usize, at: usize) -> __m256 {
    let mut bits = [0u16; GROUP];
    for (bits, block) in bits.iter_mut().zip(blocks.chunks_exact(stride)) {
        *bits = u16::from_le_bytes([block[at], block[at + 1]]);
    }
    // SAFETY: the array holds 16 bytes; the load has no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bits.as_ptr().cast()) })
}

/// The sum so far and the products of 32 unsigned codes with the activations at `at`, with 16-bit scales.
///
/// # Safety
/// The CPU has what the step needs.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn add_products<S: Step>(sum: __m256i, unsigned: __m256i, codes: &[u8], at: usize, scales: __m256i) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { S::add_words(sum, _mm256_maddubs_epi16(unsigned, load(codes, at)), scales) }
}

/// The same of signed codes: their signs move to the activations.
///
/// # Safety
/// The CPU has what the step needs.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn add_signed_products<S: Step>(sum: __m256i, signed: __m256i, codes: &[u8], at: usize, scales: __m256i) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { S::add_words(sum, pairs(false, signed, load(codes, at)), scales) }
}

/// Sixteen scales of sixteen codes each, from signed bytes.
pub struct Sixteens([__m256i; 2]);

impl Sixteens {
    /// Eight scales in both halves of a register.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn new(bytes: __m128i) -> Self {
        let words = _mm256_cvtepi8_epi16(bytes);
        Sixteens([_mm256_permute2x128_si256::<0x00>(words, words), _mm256_permute2x128_si256::<0x11>(words, words)])
    }

    /// Of codes 32i to 32i + 31: scale 2i in the lower half, 2i + 1 in the upper one.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn of(&self, i: usize) -> __m256i {
        let word = |word: i16| _mm_set1_epi16((2 * word + 1) << 8 | (2 * word));
        let i4 = i as i16 % 4;
        _mm256_shuffle_epi8(self.0[i / 4], _mm256_set_m128i(word(2 * i4 + 1), word(2 * i4)))
    }
}
