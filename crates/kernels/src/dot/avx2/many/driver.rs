//! The walk of the integer products for many tokens.
//!
//! ```text
//! for each 32 rows:
//!     for each part of the sixteen lanes that fits (often one part, all lanes):
//!         fill a panel: the blocks of those lanes, lane after lane in the order of the tree
//!         for each 3 or 4 tokens:
//!             for each lane: sum = 0; for each of its blocks: sum += contribution         (a row a lane of a register)
//!                            push the sum onto the tree
//! ```
//! The fixed tree of [`crate::dot::reduce`] adds lanes 8 apart, then 4, 2, 1. A walk over the lanes in the order 0 8 4 12 2 10 6 14 1 9 5
//! 13 3 11 7 15 (the bits of the index reversed) meets every pair of a level right after one another: as a binary counter, with one
//! unfinished sum a level. So no sixteen sums a row and token lie in memory, and the reduction has no shuffles. Lanes without blocks are
//! +0, and adding +0 changes nothing: a sum that began at +0 is never -0.
//!
//! The walk is that of AVX-512 (`dot/avx512/many`) with sixteen registers of eight lanes instead of 32 of sixteen: integer sums of two
//! registers of rows and four tokens are eight registers, what they come to lies in memory, and the 32 rows of a panel are worked on in two
//! halves, so that the activations, made unsigned on their way through a small buffer, serve both.
//!
//! Measured once on a shared core of a Xeon of 2023 (Emerald Rapids) at 512 tokens and 2048 columns (the example `peak`), GMAC/s; the
//! general walk over tiles before it:
//!
//! | | Q4_K | Q5_K | Q6_K | Q4_0 | Q8_0 | IQ4_XS | F16 |
//! |---|---|---|---|---|---|---|---|
//! | tiles, AVX2 | 38 | 41 | 40 | 32 | 34 | 39 | 12 |
//! | panels, AVX2 | 74 | 74 | 80 | 80 | 43 | 50 | 25 |
//! | panels, AVX-VNNI | 90 | 79 | 89 | 103 | 96 | 102 | 25 |
//!
//! A loop of nothing but the loads, products and additions of the inner loop, on the same memory again and again, came to 91 with AVX2 and
//! 112 with AVX-VNNI there.
//!
//! A panel of 2048 columns is about 100 KB: it fits the second-level cache of every CPU that has AVX2 (256 KB).

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::panel::{LANES, REGISTERS, ROWS, Rows, rows16};
use crate::dot::panels::{LEVELS, Part, TOKENS, lane};
use crate::dot::{Driver, Job};

/// Tokens that share a load of weights.
pub const GROUP: usize = 4;

/// Sums of 32 rows.
pub type Sums = [__m256; REGISTERS];

/// What blocks of a length differ in.
pub trait Shape {
    /// A block of a panel.
    type Unit;
    /// Blocks of a tile.
    const PER_TILE: usize;
    /// Blocks that fit into a panel.
    const CAPACITY: usize;
    /// `[Unit; CAPACITY]`.
    type Panel;

    /// Fills the registers `r` of neighbouring blocks, at most a tile of them; a null unit is left out.
    ///
    /// # Safety
    /// Each row has as many blocks, units are null or valid for writes; the CPU has the instructions of the kernel.
    unsafe fn fill(job: &Job<'_>, rows: &Rows, units: &[*mut Self::Unit], r: usize);

    /// Adds the contribution of block `index` of a row to the sums of T tokens.
    ///
    /// # Safety
    /// `acts` are rows of activations that have the block; the CPU has the instructions of the kernel.
    unsafe fn product<const T: usize>(unit: &Self::Unit, acts: &[*const u8; T], index: usize, sums: &mut [Sums; T]);
}

/// The driver. `long` runs where a sixteenth of a row does not fit into a panel: beyond 32,768 columns.
///
/// # Safety
/// The CPU has the instructions of the kernel; lengths are checked.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn drive<S: Shape>(job: &Job<'_>, out: &mut [f32], long: Driver) {
    let blocks = job.row_bytes / job.format.block_bytes;
    let Some(parts) = Part::parts(blocks, S::CAPACITY) else {
        // SAFETY: as this function.
        return unsafe { long(job, out) };
    };
    let mut panel = MaybeUninit::<S::Panel>::uninit();
    let panel: *mut S::Unit = panel.as_mut_ptr().cast();
    let mut state = MaybeUninit::<[[Sums; TOKENS]; LEVELS]>::uninit();
    let state: *mut Sums = state.as_mut_ptr().cast();
    let rows = job.w.len() / job.row_bytes;
    for first in (0..rows).step_by(ROWS) {
        let row = |r: usize| job.w[(first + r).min(rows - 1) * job.row_bytes..].as_ptr();
        let mut registers: [Rows; REGISTERS] = [[std::ptr::null(); LANES]; REGISTERS];
        for (r, to) in registers.iter_mut().flatten().enumerate() {
            *to = row(r);
        }
        let mut tokens = 0..0;
        let mut chunks = job.tokens.div_ceil(TOKENS);
        let mut filled = false;
        while tokens.end < job.tokens {
            // Split evenly: no chunk and no group is much smaller than the others.
            tokens = tokens.end..tokens.end + (job.tokens - tokens.end).div_ceil(chunks);
            chunks -= 1;
            for index in 0..parts {
                let part = Part::of(index, parts, blocks);
                // SAFETY: the rows have the blocks, the panel has room for this part, the state for `TOKENS` tokens.
                unsafe {
                    if !filled {
                        fill::<S>(job, &registers, part, panel);
                    }
                    let mut at = tokens.start;
                    let mut groups = tokens.len().div_ceil(GROUP);
                    while at < tokens.end {
                        let count = (tokens.end - at).div_ceil(groups);
                        groups -= 1;
                        let acts = job.acts[at * job.act_bytes..].as_ptr();
                        let state = state.add(at - tokens.start);
                        match count {
                            3 => group::<S, 3>(panel, part, acts, job.act_bytes, index, state),
                            GROUP => group::<S, GROUP>(panel, part, acts, job.act_bytes, index, state),
                            _ => unreachable!("six tokens and more are cut into groups of three and four"),
                        }
                        at += count;
                    }
                }
            }
            filled = parts == 1;
            let done = parts.trailing_zeros() as usize * TOKENS;
            // SAFETY: the last part has completed the sums of that level.
            unsafe { write(state.add(done), tokens.len(), &mut out[first * job.tokens..], job.tokens, tokens.start, rows - first) };
        }
    }
}

/// Fills a panel with the blocks of some lanes.
///
/// # Safety
/// As [`Shape::fill`], for whole rows; the panel has room.
#[target_feature(enable = "avx2,f16c")]
unsafe fn fill<S: Shape>(job: &Job<'_>, registers: &[Rows], part: Part, panel: *mut S::Unit) {
    part.tiles(S::PER_TILE, panel, |block, units| {
        for (r, rows) in registers.iter().enumerate() {
            // SAFETY: blocks `block` .. of each row are in the row, and the panel has room for the part.
            unsafe { S::fill(job, &rows.map(|row| row.add(block * job.format.block_bytes)), units, r) };
        }
    });
}

/// The products of a panel and T tokens.
///
/// # Safety
/// As [`Shape::product`]; the panel is filled with `part`, and `state` has room for T tokens at each level.
#[target_feature(enable = "avx2,f16c")]
unsafe fn group<S: Shape, const T: usize>(
    panel: *const S::Unit,
    part: Part,
    acts: *const u8,
    act_bytes: usize,
    index: usize,
    state: *mut Sums,
) {
    let zero = [[_mm256_setzero_ps(); REGISTERS]; T];
    let mut tokens = [acts; T];
    for (t, act) in tokens.iter_mut().enumerate() {
        // SAFETY: the activations have T rows.
        *act = unsafe { acts.add(t * act_bytes) };
    }
    let mut levels = [zero; LEVELS];
    let mut unit = panel;
    for i in 0..part.lanes {
        let mut sums = zero;
        for block in (lane(part.first + i)..part.blocks).step_by(16) {
            // SAFETY: the panel holds the blocks in this order.
            unsafe {
                S::product::<T>(&*unit, &tokens, block, &mut sums);
                unit = unit.add(1);
            }
        }
        // A binary counter: the ones at the end of i are the finished halves.
        let level = i.trailing_ones() as usize;
        for earlier in &levels[..level] {
            for (to, earlier) in sums.iter_mut().zip(earlier) {
                add(to, earlier);
            }
        }
        levels[level] = sums;
    }
    let mut sums = levels[part.lanes.trailing_zeros() as usize];
    let level = index.trailing_ones() as usize;
    for (t, sums) in sums.iter_mut().enumerate() {
        for earlier in 0..level {
            // SAFETY: the state has `LEVELS` rows of `TOKENS` tokens; earlier parts have filled these.
            add(sums, unsafe { &*state.add(earlier * TOKENS + t) });
        }
        // SAFETY: as above.
        unsafe { *state.add(level * TOKENS + t) = *sums };
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(to: &mut Sums, earlier: &Sums) {
    for (to, earlier) in to.iter_mut().zip(earlier) {
        *to = _mm256_add_ps(*earlier, *to);
    }
}

/// Sums [tokens, 32 rows] to `out` [rows, tokens]: eight tokens of a row are one store.
///
/// # Safety
/// `sums` has `count` tokens.
#[target_feature(enable = "avx2,f16c")]
unsafe fn write(sums: *const Sums, count: usize, out: &mut [f32], tokens: usize, first: usize, rows: usize) {
    for t in (0..count).step_by(LANES) {
        let some = LANES.min(count - t);
        let mut columns: Rows = [std::ptr::null(); LANES];
        for (i, column) in columns.iter_mut().enumerate() {
            // SAFETY: none is past the last token.
            *column = unsafe { sums.add((t + i).min(count - 1)).cast() };
        }
        for quad in 0..rows.min(ROWS).div_ceil(4) {
            // SAFETY: a token has 32 floats.
            let values = unsafe { rows16(&columns, 16 * quad) };
            for (k, values) in values.into_iter().enumerate().take(rows - 4 * quad) {
                let mut eight = [0f32; LANES];
                // SAFETY: eight floats; the store has no alignment.
                unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), _mm256_castsi256_ps(values)) };
                out[(4 * quad + k) * tokens + first + t..][..some].copy_from_slice(&eight[..some]);
            }
        }
    }
}
