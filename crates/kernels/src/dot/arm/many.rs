//! Many tokens: eight rows of a tile are unpacked and interleaved once, then multiplied with four tokens at a time.
//!
//! ```text
//! for each TOKENS tokens, for each 8 rows:
//!     lanes[16][token][row] = 0
//!     for each 256 columns:
//!         unpack 8 rows, interleaved                          (Rows8: 2 KiB of codes, in L1)
//!         for each 4 tokens:
//!             for each sub-block: sums[8][4 lanes] = products; isum += scale * sums
//!             lanes[block mod 16] += the block's contribution, four rows a vector
//!     out = reduce(lanes), four rows a vector
//! ```
//! The register tile is 8 rows by 4 tokens: eight sums of a sub-block, eight of the block, four vectors of activations, two of weights. A sub-block of
//! 32 columns is 64 `sdot` for 24 loads and 8 multiplications by a scale; or 32 `smmla` for the same loads, 8 `zip` and 8 scales.
//!
//! Scales: the sums run on from sub-block to sub-block and are never set to zero again. With S(s) the sum up to and with sub-block s,
//! sum of scale(s) * (S(s) - S(s-1)) = sum of (scale(s) - scale(s+1)) * S(s): unpacking stores these differences, and eight instructions a sub-block are
//! saved, of about eighty. Exact: the result fits in 32 bits as before, and what wraps on the way comes back.
//!
//! Sixteen lanes cost two loads, additions and stores a block and token, where one sum would stay in a register: the price of the same bits everywhere.
//!
//! Fewer rows than eight at the end are filled up with the last one, fewer tokens than four too: what they give is not used. NEON has no masks to
//! leave them out, and no number here traps.

use std::array::from_fn;

use std::arch::aarch64::*;

use super::{Blocks32, Blocks256, Codes, add_to, load, load_s8, to_f32, widen};
use crate::activation::{TILE_BYTES, f32_at};
use crate::dot::{Job, TOKENS};
use crate::tile::TILE;

/// Eight vectors of four sums: rows by tokens, in the order of the instruction set; or `[2t + h]`: rows 4h.. of token t.
pub type Sums = [int32x4_t; 8];

/// `[lane][token][row]`.
pub type Lanes = [[[f32; 8]; TOKENS]; 16];

/// Eight rows of a tile, unpacked and interleaved.
#[repr(C, align(64))]
pub struct Rows8 {
    /// `[columns / 16][vector]`: eight vectors hold sixteen columns of eight rows, in the order of [`Multiply::place`].
    q: [[[u8; 16]; 8]; TILE / 16],
    /// `[sub-block][row]`: the scale less that of the next sub-block; with [`Multiply::TWICE`] each row two times.
    fall: [[i32; 16]; 16],
    /// `[sub-block of 32][row]`.
    min: [[i16; 8]; 8],
    /// `[block of 32][row]`, or `[0][row]` for a block of 256.
    d: [[f32; 8]; 8],
    /// dmin of the rows.
    m: [f32; 8],
}

/// Which blocks of 32 a tile holds, and where their sums go.
#[derive(Clone, Copy)]
pub struct Block {
    /// Blocks of the tile that exist: 8, fewer at the end of a row.
    count: usize,
    /// The lane of the first one.
    lane: usize,
    /// The first of four tokens.
    token: usize,
}

/// What an instruction set does with [`Rows8`]. Unsafe: the CPU must have it.
pub trait Multiply: Sized {
    /// Whether [`Rows8::fall`] holds each row two times.
    const TWICE: bool;

    /// Sixteen bytes of four rows to four vectors of all four. Plain NEON.
    unsafe fn interleave(rows: [uint8x16_t; 4]) -> [uint8x16_t; 4];

    /// Where in [`Rows8::q`] vector v of rows 4h.. belongs.
    fn place(h: usize, v: usize) -> usize;

    /// Adds the sums over `STEPS` times sixteen columns from column 16 `from` on, in the instruction set's order. Only to be inlined into functions
    /// that have the instruction set.
    unsafe fn add_steps<const STEPS: usize>(sums: Sums, rows: &Rows8, from: usize, acts: [&[u8; TILE_BYTES]; 4]) -> Sums;

    /// Which vector of a [`Rows8::fall`] is sum `sum` multiplied by.
    fn scale(sum: usize) -> usize;

    /// From the instruction set's order to `[2t + h]`. Plain NEON.
    unsafe fn by_token(sums: Sums) -> Sums;

    /// [`isums256`], compiled for the instruction set.
    unsafe fn isums256<const STEPS: usize>(rows: &Rows8, acts: [&[u8; TILE_BYTES]; 4]) -> Sums;

    /// [`products32`], compiled for the instruction set.
    unsafe fn blocks32<F: Blocks32<RAW>, const RAW: usize>(rows: &Rows8, blocks: Block, acts: [&[u8; TILE_BYTES]; 4], lanes: &mut Lanes);
}

impl Rows8 {
    const ZERO: Rows8 = Rows8 { q: [[[0; 16]; 8]; TILE / 16], fall: [[0; 16]; 16], min: [[0; 8]; 8], d: [[0.0; 8]; 8], m: [0.0; 8] };

    /// A vector of codes.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn code(&self, step: usize, vector: usize) -> int8x16_t {
        load_s8(&self.q[step][vector], 0)
    }

    /// Unpacks piece `PIECE` of the blocks of rows 4H.. to the columns from 16 `step` on.
    #[inline]
    #[target_feature(enable = "neon")]
    fn unpack<M: Multiply, F: Codes<RAW, OUT>, const RAW: usize, const OUT: usize, const H: usize, const PIECE: usize>(
        &mut self,
        blocks: [&[u8]; 4],
        step: usize,
    ) {
        let blocks = blocks.map(|block| &block[..F::BYTES]);
        // SAFETY: NEON, which this function has.
        let raw = F::raw(PIECE).map(|at| unsafe { M::interleave(blocks.map(|block| load(block, at))) });
        let to: &mut [[[u8; 16]; 8]; OUT] = (&mut self.q[step..step + OUT]).try_into().expect("the columns of a piece");
        macro_rules! vectors {
            ($($v:literal)*) => {$(
                // SAFETY: as above.
                let codes = unsafe { F::codes(PIECE, raw.map(|raw| raw[$v])) };
                for o in 0..OUT {
                    let code = if F::BIAS == 0 { codes[o] } else { vsubq_s8(codes[o], vdupq_n_s8(F::BIAS)) };
                    // SAFETY: the array holds 16 bytes.
                    unsafe { vst1q_u8(to[o][M::place(H, $v)].as_mut_ptr(), vreinterpretq_u8_s8(code)) }
                }
            )*};
        }
        vectors!(0 1 2 3);
    }

    /// The scales of rows 4h.. to where the products want them.
    #[inline]
    #[target_feature(enable = "neon")]
    fn scales<M: Multiply>(&mut self, vectors: [[int32x4_t; 4]; 4], h: usize, count: usize) {
        for j in 0..count {
            let fall = vectors.map(|scales| {
                let next = if j + 1 < count { scales[j + 1] } else { vdupq_n_s32(0) };
                vreinterpretq_u32_s32(vsubq_s32(scales[j], vextq_s32::<1>(scales[j], next)))
            });
            for (to, rows) in self.fall[4 * j..4 * j + 4].iter_mut().zip(transposed(fall)) {
                let rows = vreinterpretq_s32_u32(rows);
                // SAFETY: four integers go to places that hold sixteen.
                unsafe {
                    if M::TWICE {
                        vst1q_s32(to[8 * h..8 * h + 4].as_mut_ptr(), vzip1q_s32(rows, rows));
                        vst1q_s32(to[8 * h + 4..8 * h + 8].as_mut_ptr(), vzip2q_s32(rows, rows));
                    } else {
                        vst1q_s32(to[4 * h..4 * h + 4].as_mut_ptr(), rows);
                    }
                }
            }
        }
    }

    /// The mins of rows 4h...
    #[inline]
    #[target_feature(enable = "neon")]
    fn mins(&mut self, mins: [int16x8_t; 4], h: usize) {
        // Words of two sub-blocks each: sub-blocks 0, 1 of four rows; 2, 3; 4, 5; 6, 7.
        let pairs = transposed(mins.map(|mins| vreinterpretq_u32_s16(mins)));
        for (to, pair) in self.min.chunks_exact_mut(2).zip(pairs) {
            let pair = vreinterpretq_s16_u32(pair);
            let apart = [vuzp1q_s16(pair, pair), vuzp2q_s16(pair, pair)];
            for (to, rows) in to.iter_mut().zip(apart) {
                // SAFETY: four integers go to places that hold eight.
                unsafe { vst1_s16(to[4 * h..4 * h + 4].as_mut_ptr(), vget_low_s16(rows)) }
            }
        }
    }
}

/// Rows 0..4 and rows 4..8.
#[inline(always)]
fn halved<T: Copy>(rows: [T; 8]) -> ([T; 4], [T; 4]) {
    let [a, b, c, d, e, f, g, h] = rows;
    ([a, b, c, d], [e, f, g, h])
}

/// Four rows of four words: word r of result v is word v of row r.
#[inline]
#[target_feature(enable = "neon")]
pub fn transposed(rows: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
    let [a, b, c, d] = rows;
    let long = |x: uint32x4_t| vreinterpretq_u64_u32(x);
    let (even0, odd0) = (long(vtrn1q_u32(a, b)), long(vtrn2q_u32(a, b)));
    let (even1, odd1) = (long(vtrn1q_u32(c, d)), long(vtrn2q_u32(c, d)));
    [vtrn1q_u64(even0, even1), vtrn1q_u64(odd0, odd1), vtrn2q_u64(even0, even1), vtrn2q_u64(odd0, odd1)].map(|x| vreinterpretq_u32_u64(x))
}

/// Blocks of 256 times Q8_K activations.
#[target_feature(enable = "neon")]
pub fn many256<M: Multiply, F: Blocks256<RAW>, const RAW: usize>(job: &Job<'_>, out: &mut [f32]) {
    groups(job, out, F::BYTES, |rows, blocks, tile, acts, lanes| {
        let (low, high) = halved(blocks);
        rows.unpack::<M, F, RAW, 8, 0, 0>(low, 0);
        rows.unpack::<M, F, RAW, 8, 0, 1>(low, 8);
        rows.unpack::<M, F, RAW, 8, 1, 0>(high, 0);
        rows.unpack::<M, F, RAW, 8, 1, 1>(high, 8);
        for (h, blocks) in [low, high].into_iter().enumerate() {
            // SAFETY: NEON, which this function has.
            let scales = blocks.map(|block| unsafe { F::scales(block) });
            rows.scales::<M>(scales.map(|(scales, _)| scales), h, if F::WIDE { 2 } else { 4 });
            if F::MINS {
                rows.mins(scales.map(|(_, mins)| mins), h);
            }
        }
        let halves = blocks.map(F::halves);
        let narrow = |h: usize, shift: u32| {
            let bits = (0..4).fold(0, |bits, r| bits | u64::from((halves[4 * h + r] >> shift) as u16) << (16 * r));
            widen(vcreate_u16(bits))
        };
        let d: [_; 2] = from_fn(|h| narrow(h, 0));
        let m: [_; 2] = from_fn(|h| narrow(h, 16));
        for token in (0..acts.count).step_by(4) {
            let acts = acts.four(token);
            // SAFETY: the caller of the driver promises the instructions of this kernel.
            let isums = unsafe { if F::WIDE { M::isums256::<2>(rows, acts) } else { M::isums256::<1>(rows, acts) } };
            let msums = if F::MINS { msums(rows, acts) } else { isums };
            for (t, act) in acts.into_iter().enumerate() {
                for h in 0..2 {
                    let da = f32_at(act, 0);
                    let mut product = vmulq_f32(vmulq_n_f32(d[h], da), vcvtq_f32_s32(isums[2 * t + h]));
                    if F::MINS {
                        product = vsubq_f32(product, vmulq_f32(vmulq_n_f32(m[h], da), vcvtq_f32_s32(msums[2 * t + h])));
                    }
                    add_to(&mut lanes[tile % 16][token + t], 4 * h, product);
                }
            }
        }
    });
}

/// The integer sums of a block of 256: sub-blocks of `STEPS` times sixteen columns, each times its scale. `[2t + h]`.
///
/// # Safety
/// Only inlined into functions that have what `M` needs.
#[inline(always)]
pub unsafe fn isums256<M: Multiply, const STEPS: usize>(rows: &Rows8, acts: [&[u8; TILE_BYTES]; 4]) -> Sums {
    // SAFETY: the caller promises the instructions.
    unsafe {
        let (mut sums, mut isums) = ([vdupq_n_s32(0); 8], [vdupq_n_s32(0); 8]);
        macro_rules! sub_blocks {
            ($($s:expr)*) => {$(
                sums = M::add_steps::<STEPS>(sums, rows, STEPS * $s, acts);
                for j in 0..8 {
                    isums[j] = vmlaq_s32(isums[j], sums[j], vld1q_s32(rows.fall[$s][4 * M::scale(j)..][..4].as_ptr()));
                }
            )*};
        }
        if STEPS == 1 {
            // Written out: with constant offsets two loads are one instruction, and no address is computed; a tenth less.
            sub_blocks!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        } else {
            // Here that makes the compiler load more ahead than registers can hold; a tenth more.
            for s in 0..16 / STEPS {
                sub_blocks!(s);
            }
        }
        M::by_token(isums)
    }
}

/// The sums of the mins of eight rows times the activations' sums. `[2t + h]`.
#[inline]
#[target_feature(enable = "neon")]
fn msums(rows: &Rows8, acts: [&[u8; TILE_BYTES]; 4]) -> Sums {
    // The sums of sixteen columns to sums of 32, which still are 16 bits.
    let sums = acts.map(|act| vpaddq_s16(vreinterpretq_s16_u8(load(act, 32)), vreinterpretq_s16_u8(load(act, 48))));
    let mut msums = [vdupq_n_s32(0); 8];
    macro_rules! sub_block {
        ($($s:literal)*) => {$(
            // SAFETY: the array holds eight integers.
            let min = unsafe { vld1q_s16(rows.min[$s].as_ptr()) };
            for t in 0..4 {
                msums[2 * t] = vmlal_laneq_s16::<$s>(msums[2 * t], vget_low_s16(min), sums[t]);
                msums[2 * t + 1] = vmlal_high_laneq_s16::<$s>(msums[2 * t + 1], min, sums[t]);
            }
        )*};
    }
    sub_block!(0 1 2 3 4 5 6 7);
    msums
}

/// Blocks of 32 times Q8_0 activations.
#[target_feature(enable = "neon")]
pub fn many32<M: Multiply, F: Blocks32<RAW>, const RAW: usize>(job: &Job<'_>, out: &mut [f32]) {
    groups(job, out, 8 * F::BYTES, |rows, blocks, tile, acts, lanes| {
        let count = blocks[0].len() / F::BYTES;
        for b in 0..count {
            let blocks = blocks.map(|row| &row[b * F::BYTES..][..F::BYTES]);
            let (low, high) = halved(blocks);
            rows.unpack::<M, F, RAW, 2, 0, 0>(low, 2 * b);
            rows.unpack::<M, F, RAW, 2, 1, 0>(high, 2 * b);
            for (h, blocks) in [low, high].into_iter().enumerate() {
                let bits = (0..4).fold(0, |bits, r| bits | u64::from(u16::from_le_bytes([blocks[r][0], blocks[r][1]])) << (16 * r));
                // SAFETY: the slice holds four floats.
                unsafe { vst1q_f32(rows.d[b][4 * h..4 * h + 4].as_mut_ptr(), widen(vcreate_u16(bits))) }
            }
        }
        for token in (0..acts.count).step_by(4) {
            // SAFETY: the caller of the driver promises the instructions of this kernel.
            unsafe { M::blocks32::<F, RAW>(rows, Block { count, lane: tile % 2 * 8, token }, acts.four(token), lanes) }
        }
    });
}

/// The contributions of a tile of blocks of 32 times four tokens.
///
/// # Safety
/// Only inlined into functions that have what `M` needs.
#[inline(always)]
pub unsafe fn products32<M: Multiply, F: Blocks32<RAW>, const RAW: usize>(
    rows: &Rows8,
    blocks: Block,
    acts: [&[u8; TILE_BYTES]; 4],
    lanes: &mut Lanes,
) {
    // Not written out, unlike [`isums256`]: a twentieth fewer instructions, but in an order that costs cores without reordering a fifth more cycles.
    for b in 0..blocks.count {
        let lanes = &mut lanes[(blocks.lane + b) % 16][blocks.token..][..4];
        // SAFETY: the caller promises the instructions; four floats are read from eight.
        unsafe {
            let isums = M::by_token(M::add_steps::<2>([vdupq_n_s32(0); 8], rows, 2 * b, acts));
            let d = [0, 4].map(|r| vld1q_f32(rows.d[b][r..r + 4].as_ptr()));
            for t in 0..4 {
                for h in 0..2 {
                    let scale = vmulq_n_f32(d[h], f32_at(acts[t], b));
                    add_to(&mut lanes[t], 4 * h, vmulq_f32(scale, to_f32::<F, RAW>(isums[2 * t + h])));
                }
            }
        }
    }
}

/// The tiles of up to `TOKENS` tokens in one place of the row.
#[derive(Clone, Copy)]
struct Acts<'a> {
    /// All rows of activations of these tokens.
    bytes: &'a [u8],
    /// Bytes of one.
    stride: usize,
    /// Where the tile begins in a row.
    from: usize,
    /// Tokens.
    count: usize,
}

impl<'a> Acts<'a> {
    /// Four tokens' tiles, the last one again where there are fewer.
    #[inline(always)]
    fn four(&self, token: usize) -> [&'a [u8; TILE_BYTES]; 4] {
        from_fn(|t| {
            let at = (token + t).min(self.count - 1) * self.stride + self.from;
            self.bytes[at..at + TILE_BYTES].try_into().expect("a tile of activations")
        })
    }
}

/// The walk over groups of tokens, of eight rows, and tiles of `tile_bytes`: `tile(rows, blocks of a tile of eight rows, index of the tile,
/// activations, lanes)` adds the contributions of a tile.
#[inline(always)]
fn groups(job: &Job<'_>, out: &mut [f32], tile_bytes: usize, tile: impl Fn(&mut Rows8, [&[u8]; 8], usize, Acts<'_>, &mut Lanes)) {
    let mut rows = Rows8::ZERO;
    for first in (0..job.tokens).step_by(TOKENS) {
        let count = TOKENS.min(job.tokens - first);
        let bytes = &job.acts[first * job.act_bytes..(first + count) * job.act_bytes];
        for (row, w) in (0..).step_by(8).zip(job.w.chunks(8 * job.row_bytes)) {
            let last = w.len() / job.row_bytes - 1;
            let starts: [usize; 8] = from_fn(|r| r.min(last) * job.row_bytes);
            let mut lanes: Lanes = [[[0f32; 8]; TOKENS]; 16];
            for (i, at) in (0..job.row_bytes).step_by(tile_bytes).enumerate() {
                let len = tile_bytes.min(job.row_bytes - at);
                let acts = Acts { bytes, stride: job.act_bytes, from: i * TILE_BYTES, count };
                tile(&mut rows, starts.map(|start| &w[start + at..][..len]), i, acts, &mut lanes);
            }
            for token in 0..count {
                let sums = reduce8(&lanes, token);
                out[(first + token) * job.rows() + row..][..=last].copy_from_slice(&sums[..=last]);
            }
        }
    }
}

/// [`reduce`](crate::dot::reduce) of eight rows at once: the same tree.
#[inline(always)]
fn reduce8(lanes: &Lanes, token: usize) -> [f32; 8] {
    let mut l: [[f32; 8]; 16] = from_fn(|i| lanes[i][token]);
    for step in [8, 4, 2, 1] {
        for i in 0..step {
            for r in 0..8 {
                l[i][r] += l[i + step][r];
            }
        }
    }
    l[0]
}
