//! Blocks of 256 times Q8_K activations, few tokens. Read `super` first.
//!
//! A block has 256 codes, and a scale for each 16 or 32 of them. With products = vpdpbusd(codes, activations), four codes a dword:
//!
//! ```text
//! for each of the row's groups of sixteen blocks:
//!     heads: d, dmin, offsets, scales of all sixteen, turned so that block b is lane b
//!     for block b of the group:
//!         p0..p3  = products of 64 codes each                            4 vpdpbusd
//!         w0, w1  = p0 with p1, p2 with p3, packed to 16 bits            2 vpackssdw
//!         sum     = w0 * scales01 + w1 * scales23, pairs added           2 vpdpwssd
//!         sums[b] = sum
//!     isum = sums16(fours(sums))                                         lane b: the integer sum of block b
//!     lanes += (d * da) * isum - (dmin * da) * msum
//! ```
//! Packing is what makes it cheap. A dword is a sum of four products of at most 63 * 127, 32,004: it fits in 16 bits, so two vectors of sums become one
//! that the 16-bit multiplier takes with its scales: half as many multiplications, and half as many vectors of scales to be made.
//!
//! msum, the part of the offsets, is done for sixteen blocks at once: offsets and sums of activations are both turned, and eight `vpdpwssd` multiply 16
//! pairs each: half an instruction a block. A bias of signed codes goes the same way, with the scales in the place of the offsets.
//!
//! A row is seldom a multiple of sixteen blocks: 2048 columns are eight, 3072 twelve. Half-empty groups would cost as much as full ones, so as many
//! neighbouring rows as come out even are read as one: a *bundle*, of two rows of eight blocks or four of twelve. The turned activations of a bundle's groups repeat
//! the row's, and what a group gives is dealt out to the rows under masks. A row that begins in lane 8 is added up with its lanes turned by 8, and turned back
//! before the tree: the same numbers in the same order. It makes rows of 2048 columns of Q4_K 10 to 13 % faster from memory, and a quarter from the cache.
//!
//! With one token four blocks of a row are taken at a time, and their sums become one vector before they leave the registers: [`super::one256`]. Several tokens share an unpacked block, and
//! their sums are more than the registers hold: there the sums wait in memory.
//!
//! Q4_K, instructions a block on the vector ports: 8 to unpack, 4 + 2 + 2 as above, 2 for scales, 3 for `sums16`, 3 for heads and floats: 24, on two
//! ports 12 cycles. Memory gives a block of 144 bytes in 20. Formats with few bits have less time: a block of Q2_K (84 bytes) takes as long to multiply.
//! IQ4_XS has codes of eight bits, which do not fit the packing: magnitudes and signs, and 20 cycles for its 136 bytes ([`Signed`]).

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::{FOUR, GROUP, Pass, add_words, fours, load16, load64, one256::one256, passes, places, reduce, sums4, sums16, turn};
use crate::activation::{HEADER, TILE_BYTES};
use crate::dot::places::{prefetch, strips};
use crate::dot::{APART, Job};
use crate::tile::TILE;

/// Groups whose turned activations are kept for all rows, over all tokens: one token of 131,072 columns, or seven of 16,384. Those of longer rows are
/// turned again for each row.
pub(super) const KEPT: usize = 32;

/// What is read of sixteen blocks at once. Lane b is of block b.
#[derive(Clone, Copy)]
pub struct Heads {
    /// d.
    pub d: __m512,
    /// dmin; zero for a format without.
    pub m: __m512,
    /// What sums of activations are multiplied by, pairs of 16 bits, as [`Blocks256::WORDS`] says: offsets, or scales times the bias of the codes.
    pub words: [__m512i; 8],
    /// Scales, if they are not unpacked with the block: as the format likes.
    pub scales: Scales,
}

/// Sixteen blocks' scales that a format keeps for unpacking them.
pub type Scales = [__m512i; 4];

/// A block in registers. Its functions are unsafe because the CPU must have AVX-512 with VNNI.
pub trait Block {
    /// Sixteen dwords whose sum is the sum of scale * code * activation; `codes` are the 256 of a token.
    unsafe fn product(&self, codes: &[u8]) -> __m512i;
}

/// Codes below 64.
pub struct Small {
    /// Codes 64i to 64i + 63, unsigned.
    pub codes: [__m512i; 4],
    /// Scales of sums 128i to 128i + 127 as they are packed: four words of the first 64 codes, four of the second, in each 128 bits.
    pub scales: [__m512i; 2],
}

impl Block for Small {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn product(&self, codes: &[u8]) -> __m512i {
        let products = |i: usize| _mm512_dpbusd_epi32(_mm512_setzero_si512(), self.codes[i], load64(codes, 64 * i));
        let low = _mm512_packs_epi32(products(0), products(1));
        let high = _mm512_packs_epi32(products(2), products(3));
        add_words(add_words(_mm512_setzero_si512(), low, self.scales[0]), high, self.scales[1])
    }
}

/// Codes of eight bits: magnitude and sign, since four products of a biased code would not fit in 16 bits. Two of 127 * 127 do.
pub struct Signed {
    /// Magnitudes of codes 64i to 64i + 63.
    pub codes: [__m512i; 4],
    /// Which of them are negative.
    pub negative: [__mmask64; 4],
    /// A scale for each two codes.
    pub scales: [__m512i; 4],
}

impl Block for Signed {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn product(&self, codes: &[u8]) -> __m512i {
        let mut sum = _mm512_setzero_si512();
        for i in 0..4 {
            let a = load64(codes, 64 * i);
            let a = _mm512_mask_sub_epi8(a, self.negative[i], _mm512_setzero_si512(), a);
            sum = add_words(sum, _mm512_maddubs_epi16(self.codes[i], a), self.scales[i]);
        }
        sum
    }
}

/// How a format's blocks unpack. The functions are unsafe because the CPU must have AVX-512 with VNNI.
pub trait Blocks256 {
    /// How a block is held in registers.
    type Block: Block;
    /// Bytes of a block.
    const BYTES: usize;
    /// Of [`Heads::words`]: 8 hold the words of sub-blocks of 16 number 2i and 2i + 1, 4 those of sub-blocks of 32. None: signed codes.
    const WORDS: usize;
    /// Whether the words are offsets: their sum is taken off with a factor of its own, not from the integer sum.
    const OFFSET: bool;
    /// At most sixteen blocks' heads.
    unsafe fn heads(blocks: &[u8]) -> Heads;
    /// Block b of the group. Only the scales of the heads: what a block is picked from lies in memory, and the rest need not.
    unsafe fn block(block: &[u8], scales: &Scales, b: usize) -> Self::Block;
}

/// The eight scales of 32 codes each to the order of [`Small::scales`]: the four bytes in every dword of `bytes` are those of codes 128i on. Zero to 127.
#[inline]
#[target_feature(enable = "avx512bw")]
pub fn by_thirty_two(bytes: __m512i) -> __m512i {
    // In the upper byte of a word: a shuffle puts zero there.
    const ZERO: i64 = 0x8000_8000_8000_8000_u64 as i64;
    let place = |a: i64, b: i64| _mm_set_epi64x((b * 0x0001_0001_0001_0001) | ZERO, (a * 0x0001_0001_0001_0001) | ZERO);
    let low = _mm256_broadcastsi128_si256(place(0, 2));
    let high = _mm256_broadcastsi128_si256(place(1, 3));
    _mm512_shuffle_epi8(bytes, _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high))
}

/// The sixteen scales of 16 codes each, signed bytes, to the order of [`Small::scales`].
#[inline]
#[target_feature(enable = "avx512bw")]
pub fn by_sixteen(bytes: __m128i) -> [__m512i; 2] {
    let words = _mm512_castsi256_si512(_mm256_cvtepi8_epi16(bytes));
    // 128 bits j: four times sub-block j of the first 64 codes, four times sub-block j of the second: 4 further.
    let place = _mm512_set_epi64(
        0x0007_0007_0007_0007,
        0x0003_0003_0003_0003,
        0x0006_0006_0006_0006,
        0x0002_0002_0002_0002,
        0x0005_0005_0005_0005,
        0x0001_0001_0001_0001,
        0x0004_0004_0004_0004,
        0,
    );
    [_mm512_permutexvar_epi16(place, words), _mm512_permutexvar_epi16(_mm512_add_epi16(place, _mm512_set1_epi16(8)), words)]
}

/// Bytes A and B of each dword as words.
#[inline]
#[target_feature(enable = "avx512bw")]
fn words<const A: i32, const B: i32>(bytes: __m512i) -> __m512i {
    let place = |i: i32| 0x8000_8000_u32 as i32 | (i + B) << 16 | (i + A);
    _mm512_shuffle_epi8(bytes, _mm512_broadcast_i32x4(_mm_setr_epi32(place(0), place(4), place(8), place(12))))
}

/// Bytes 0 and 1 (in the first vector) and 2 and 3 (in the second) of each dword, unsigned, as words.
#[inline]
#[target_feature(enable = "avx512bw")]
pub fn unsigned_words(bytes: __m512i) -> [__m512i; 2] {
    [words::<0, 1>(bytes), words::<2, 3>(bytes)]
}

/// The same of signed bytes, times `2^UP`.
#[inline]
#[target_feature(enable = "avx512bw")]
pub fn signed_words<const UP: u32>(bytes: __m512i) -> [__m512i; 2] {
    // To the upper byte of a word: 2^8 times too large.
    let signed = |words| _mm512_srav_epi16(_mm512_slli_epi16::<8>(words), _mm512_set1_epi16(8 - UP as i16));
    [signed(words::<0, 1>(bytes)), signed(words::<2, 3>(bytes))]
}

/// The activations of a token for sixteen blocks, turned.
#[derive(Clone, Copy)]
pub(super) struct Turned {
    pub(super) d: __m512,
    /// Pairs of sums of 16 codes, or of 32, as [`Blocks256::WORDS`] says.
    pub(super) sums: [__m512i; 8],
}

/// Of the tiles of a token's row those that belong to the blocks `first` to `first + present` of a bundle. Never inlined: it is for once a call, and rows
/// that are longer than what is kept are rare.
#[inline(never)]
#[target_feature(enable = "avx512bw,avx512dq")]
pub(super) fn turned(act: &[u8], first: usize, present: usize, words: usize) -> Turned {
    let tiles = act.len() / TILE_BYTES;
    let mut parts = [[_mm_setzero_si128(); GROUP]; 3];
    for b in 0..present {
        let tile = &act[(first + b) % tiles * TILE_BYTES..][..TILE_BYTES];
        // Where `turn` wants block b.
        let place = b % 4 * 4 + b / 4;
        for (part, at) in parts.iter_mut().zip([0, 32, 48]) {
            part[place] = load16(tile, at);
        }
    }
    // SAFETY: sixteen vectors of 16 bytes are four of 64; the loads have no alignment.
    let columns = |part: &[__m128i; GROUP]| unsafe {
        let four = |k: usize| _mm512_loadu_si512(part[4 * k..4 * k + 4].as_ptr().cast());
        turn(four(0), four(1), four(2), four(3))
    };
    let [d, ..] = columns(&parts[0]);
    let (low, high) = (columns(&parts[1]), columns(&parts[2]));
    let mut sums = [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]];
    if words == 4 {
        for i in 0..4 {
            let pair = |x| _mm512_madd_epi16(x, _mm512_set1_epi16(1));
            // At most 32 * 127: two fit in a dword.
            sums[i] = _mm512_mask_blend_epi16(0xaaaa_aaaa, pair(sums[2 * i]), _mm512_slli_epi32::<16>(pair(sums[2 * i + 1])));
        }
    }
    Turned { d: _mm512_castsi512_ps(d), sums }
}

/// The driver.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub fn blocks256<F: Blocks256>(job: &Job<'_>, out: &mut [f32]) {
    passes::<Few<F>>(job, out);
}

/// Passes over blocks of a format.
struct Few<F>(PhantomData<F>);

impl<F: Blocks256> Pass for Few<F> {
    const AHEAD: usize = places::ahead(1, F::BYTES);

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn pass<const R: usize, const T: usize>(job: &Job<'_>, first: usize, count: usize, out: &mut [f32]) {
        match (T, R) {
            (1, 1) => one256::<F, 1>(job, out),
            (1, _) => one256::<F, APART>(job, out),
            _ => pass::<F, R, T>(job, first, count, out),
        }
    }
}

/// How many rows of so many blocks are read as one bundle: the fewest that are whole groups, or one where the turned activations of such a bundle would be
/// too many to keep.
pub(super) fn bundle(blocks: usize, tokens: usize) -> usize {
    // The largest power of two that divides both.
    let common = 1 << blocks.trailing_zeros().min(GROUP.trailing_zeros());
    if blocks / common * tokens <= KEPT { GROUP / common } else { 1 }
}

/// 0 to 15.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn lane_numbers() -> __m512i {
    _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
}

/// `count` tokens from `first` on, at most T.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pass<F: Blocks256, const R: usize, const T: usize>(job: &Job<'_>, first: usize, count: usize, out: &mut [f32]) {
    let acts = &job.acts[first * job.act_bytes..][..count * job.act_bytes];
    let act = |t: usize| &acts[t * job.act_bytes..][..job.act_bytes];
    let blocks = job.row_bytes / F::BYTES;
    let all = job.rows();
    let bundled = all / bundle(blocks, count) * bundle(blocks, count);
    let mut room = [const { MaybeUninit::<Turned>::uninit() }; KEPT];
    let mut sums = [[[_mm512_setzero_si512(); GROUP]; T]; R];
    // Bundles, then the rows that are left, each a bundle of its own. A loop, so that the body is compiled once.
    for (from, rows, size) in [(0, bundled, bundle(blocks, count)), (bundled, all - bundled, 1)] {
        let total = size * blocks;
        let groups = total.div_ceil(GROUP);
        let present = |g: usize| GROUP.min(total - g * GROUP);
        // Not zeroed: for a few rows that would take as long as a row.
        let room = &mut room[..KEPT.min(count * groups)];
        for (i, kept) in room.iter_mut().enumerate() {
            let (t, g) = (i / groups, i % groups);
            kept.write(turned(act(t), g * GROUP, present(g), F::WORDS));
        }
        // SAFETY: every one of these has been written.
        let kept = unsafe { room.assume_init_ref() };
        strips(job, from..from + rows, size, |numbers: [usize; R], w| {
            // The row of the bundle that is being added up, and how many of its blocks have been.
            let (mut row, mut done) = (0, 0);
            let mut lanes = [[_mm512_setzero_ps(); T]; R];
            let mut tile = 0;
            for g in 0..groups {
                let present = present(g);
                let at = g * GROUP * F::BYTES;
                let mut heads = [const { MaybeUninit::<Heads>::uninit() }; R];
                // Loops and no `map` or `from_fn`: those are the library's, without the instruction set, and what they call is not inlined.
                for (heads, w) in heads.iter_mut().zip(w) {
                    // SAFETY: this function's instructions are those that the format's functions need.
                    heads.write(unsafe { F::heads(&w[at..at + present * F::BYTES]) });
                }
                // SAFETY: R have been written.
                let heads = unsafe { heads.assume_init_ref() };
                for b in 0..present {
                    // A range: four iterators side by side would be kept in memory.
                    #[allow(clippy::needless_range_loop)]
                    for r in 0..R {
                        let block = &w[r][at + b * F::BYTES..][..F::BYTES];
                        prefetch::<R>(block, F::BYTES);
                        // SAFETY: as above.
                        let unpacked = unsafe { F::block(block, &heads[r].scales, b) };
                        for t in 0..count {
                            let codes = &act(t)[tile * TILE_BYTES + HEADER..][..TILE];
                            // SAFETY: as above.
                            sums[r][t][b] = unsafe { unpacked.product(codes) };
                        }
                    }
                    tile = if tile + 1 == blocks { 0 } else { tile + 1 };
                }
                let mut added = [[_mm512_setzero_ps(); T]; R];
                for t in 0..count {
                    let fresh;
                    let turned = match kept.get(t * groups + g) {
                        Some(kept) => kept,
                        None => {
                            fresh = turned(act(t), g * GROUP, present, F::WORDS);
                            &fresh
                        }
                    };
                    for r in 0..R {
                        let isum = sums16(&fours(&sums[r][t]));
                        added[r][t] = contribution::<F>(&heads[r], isum, turned);
                    }
                }
                // The group's blocks are of one row, or of the end of one and of others.
                let mut lane = 0;
                while lane < present {
                    let n = (present - lane).min(blocks - done);
                    let mask = (((1u32 << n) - 1) << lane) as __mmask16;
                    for r in 0..R {
                        for t in 0..count {
                            lanes[r][t] = _mm512_mask_add_ps(lanes[r][t], mask, lanes[r][t], added[r][t]);
                        }
                    }
                    (lane, done) = (lane + n, done + n);
                    if done == blocks {
                        // The lane where the row began comes first. Only the lowest four bits count.
                        let order = _mm512_add_epi32(lane_numbers(), _mm512_set1_epi32((row * blocks) as i32));
                        for r in 0..R {
                            for t in 0..count {
                                out[(first + t) * all + numbers[r] + row] = reduce(_mm512_permutexvar_ps(order, lanes[r][t]));
                                lanes[r][t] = _mm512_setzero_ps();
                            }
                        }
                        (row, done) = (row + 1, 0);
                    }
                }
            }
        });
    }
}

/// The sums ([`sums4`]) of four blocks of which the last belong to the next row of the bundle, or of fewer than four, which end the rows: the blocks of a
/// group from `first` on, the first with the activations of tile `tile`.
#[inline(never)]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn end_of_row<F: Blocks256>(w: &[u8], scales: &Scales, first: usize, act: &[u8], tile: usize) -> __m512i {
    let tiles = act.len() / TILE_BYTES;
    let mut parts = [_mm512_setzero_si512(); FOUR];
    for (b, (block, part)) in w.chunks_exact(F::BYTES).zip(&mut parts).enumerate() {
        let codes = &act[(tile + b) % tiles * TILE_BYTES + HEADER..][..TILE];
        // SAFETY: this function's instructions are those that the format's functions need.
        *part = unsafe { F::block(block, scales, first + b).product(codes) };
    }
    sums4(parts[0], parts[1], parts[2], parts[3])
}

/// What sixteen blocks with the integer sums `isum` add to the sixteen lanes.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn contribution<F: Blocks256>(heads: &Heads, mut isum: __m512i, turned: &Turned) -> __m512 {
    let mut msum = _mm512_setzero_si512();
    for i in 0..F::WORDS {
        msum = add_words(msum, heads.words[i], turned.sums[i]);
    }
    if F::WORDS > 0 && !F::OFFSET {
        isum = _mm512_sub_epi32(isum, msum);
    }
    let product = _mm512_mul_ps(_mm512_mul_ps(heads.d, turned.d), _mm512_cvtepi32_ps(isum));
    if F::OFFSET {
        return _mm512_sub_ps(product, _mm512_mul_ps(_mm512_mul_ps(heads.m, turned.d), _mm512_cvtepi32_ps(msum)));
    }
    product
}
