//! The walk of the integer products for many tokens.
//!
//! ```text
//! for each step of `panels::walk`, 32 rows and some of the sixteen lanes (often all of them):
//!     fill a panel: the blocks of those lanes, lane after lane in the order of the tree
//!     for each 4 to 6 tokens:
//!         ask for where the next tokens' sums go
//!         for each lane: ask for a piece of what the next panel is made of; sum = 0; for each of its blocks: sum += contribution             (registers: 2 x tokens, a row a lane)
//!                        push the sum onto the tree
//! ```
//! The fixed tree adds lanes 8 apart, then 4, 2, 1. A walk over the lanes in the order 0 8 4 12 2 10 6 14 1 9 5 13 3 11 7 15 (the bits of the index
//! reversed) meets every pair of a level right after one another: as a binary counter, with one unfinished sum a level. So no sixteen sums a row and token lie
//! in memory (1 KiB each, which 512 tokens would send out of the second-level cache), a sum lives in a register for as long as its lane lasts, and the
//! reduction has no shuffles.
//!
//! Lanes without blocks are +0, and adding +0 changes nothing: a sum that began at +0 is never -0.
//!
//! A panel is read from the second-level cache once in six tokens, in the order in which it lies: some 20 bytes a cycle. On AMD's cores it is as large as 8192 columns need, 320 to 360 KiB: what lies in
//! two parts reads the activations, which do not stay, twice in blocks of 32, and the levels between them cost blocks of 256 a twentieth (Zen 5, 8192 columns, 256 tokens: Q4_0 and Q8_0 8 to 11 %
//! faster in one part, Q4_K and Q6_K 4 to 5).
//!
//! Measured on a shared core of a Xeon of 2023 (Emerald Rapids) at 512 tokens and 2048 columns (the example `peak`), of the 383 GMAC/s of a loop of nothing but
//! `vpdpbusd`: Q4_K 56 to 58 %, Q5_K 52, Q6_K 51, IQ4_XS 53, Q4_0 47, Q8_0 45 (these two before weights were made unsigned in the place of activations). It is not the cache that limits: 512 columns, whose
//! panel fits the first level, are no faster. It is the number of instructions, some 2.5 a cycle in every format.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::panel::{LANES, ROWS, Rows, rows_of};
use crate::Line;
use crate::dot::Job;
use crate::dot::panels::{Ahead, LEVELS, Memory, Part, Step, evenly, lane, walk};
use crate::dot::places::ask;

/// Tokens that share a load of weights: 2 x 6 sums of integers and as many of floats fit the 32 registers.
pub const GROUP: usize = 6;

/// Sums of 32 rows.
pub type Sums = [__m512; 2];

/// What blocks of a length differ in.
pub trait Shape {
    /// A block of a panel.
    type Unit;
    /// Blocks of a tile.
    const PER_TILE: usize;
    /// Blocks that fit into a panel.
    const CAPACITY: usize;

    /// Fills the registers `p` of neighbouring blocks, at most a tile of them; a null unit is left out.
    ///
    /// # Safety
    /// Each row has as many blocks, units are null or valid for writes; the CPU has the instructions of the kernel.
    unsafe fn fill(job: &Job<'_>, rows: &Rows, units: &[*mut Self::Unit], p: usize);

    /// Adds the contribution of block `index` of a row to the sums of T tokens.
    ///
    /// # Safety
    /// `acts` are rows of activations that have the block; the CPU has the instructions of the kernel.
    unsafe fn product<const T: usize>(unit: &Self::Unit, acts: &[*const u8; T], index: usize, sums: &mut [Sums; T]);
}

/// The driver. `long` runs where a sixteenth of a row does not fit into a panel: beyond 65,536 columns, on AMD's cores 131,072.
///
/// # Safety
/// The CPU has AVX-512 with VNNI and what `job.unpack` needs; lengths are checked.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub unsafe fn drive<S: Shape>(job: &Job<'_>, out: &mut [f32], long: crate::dot::Driver) {
    let memory = const {
        let memory = Memory { capacity: S::CAPACITY, unit: size_of::<S::Unit>(), levels: false };
        assert!(memory.fits() && align_of::<S::Unit>() <= Line::BYTES);
        memory
    };
    assert!(!job.grouped, "activations in rows");
    let rows = job.rows();
    let done = walk(job, memory, |step| {
        let halves = rows_of(job, step.row);
        let halves = &halves[..if step.row + LANES < rows { 2 } else { 1 }];
        let Step { tokens, part, .. } = &step;
        let panel: *mut S::Unit = step.panel.cast();
        // SAFETY: the rows have the blocks, the panel has room for this part, the levels for `TOKENS` tokens.
        unsafe {
            fill::<S>(job, halves, *part, panel);
            let mut ahead = step.ahead(job, tokens.len().div_ceil(GROUP) * part.lanes);
            evenly(tokens.clone(), GROUP, |group_tokens| {
                let at = group_tokens.start;
                if step.last {
                    // Where the sums of the next tokens go.
                    for t in group_tokens.clone() {
                        let to = out.as_ptr().wrapping_add((t + GROUP) * rows + step.row);
                        ask::<_MM_HINT_ET0>(to.cast());
                        ask::<_MM_HINT_ET0>(to.wrapping_add(LANES).cast());
                    }
                }
                let acts = job.acts[at * job.act_bytes..].as_ptr();
                let run = match group_tokens.len() {
                    1 => group::<S, 1>,
                    2 => group::<S, 2>,
                    3 => group::<S, 3>,
                    4 => group::<S, 4>,
                    5 => group::<S, 5>,
                    _ => group::<S, GROUP>,
                };
                run(panel, acts, job, &step, &mut ahead, at - tokens.start, &mut out[at * rows..]);
            });
        }
    });
    if !done {
        // SAFETY: as this function.
        unsafe { long(job, out) }
    }
}

/// Fills a panel with the blocks of some lanes.
///
/// # Safety
/// As [`Shape::fill`], for whole rows; the panel has room.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn fill<S: Shape>(job: &Job<'_>, halves: &[Rows], part: Part, panel: *mut S::Unit) {
    part.tiles(S::PER_TILE, panel, |block, units| {
        for (p, rows) in halves.iter().enumerate() {
            // SAFETY: blocks `block` .. of each row are in the row, and the panel has room for the part.
            unsafe { S::fill(job, &rows.map(|row| row.add(block * job.format.block_bytes)), units, p) };
        }
    });
}

/// The products of a panel and T tokens, the step's `first` and following. With the last part they are whole and go to `out` [tokens, rows], which begins at the first of
/// these tokens; all tokens' together at the end would wait for their lines.
///
/// # Safety
/// As [`Shape::product`]; the panel is filled with the step's part, and its levels have room for T tokens from `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn group<S: Shape, const T: usize>(
    panel: *const S::Unit,
    acts: *const u8,
    job: &Job<'_>,
    step: &Step,
    ahead: &mut Ahead,
    first: usize,
    out: &mut [f32],
) {
    let part = step.part;
    let zero = [[_mm512_setzero_ps(); 2]; T];
    let mut tokens = [acts; T];
    for (t, act) in tokens.iter_mut().enumerate() {
        // SAFETY: the activations have T rows.
        *act = unsafe { acts.add(t * job.act_bytes) };
    }
    // Not set to zero: that alone would take a fiftieth of the time.
    let mut levels = MaybeUninit::<[[Sums; T]; LEVELS]>::uninit();
    let levels: *mut [Sums; T] = levels.as_mut_ptr().cast();
    let mut unit = panel;
    for i in 0..part.lanes {
        ahead.next();
        let lane = lane(part.first + i);
        let mut sums = zero;
        for block in (lane..part.blocks).step_by(16) {
            // SAFETY: the panel holds the blocks in this order.
            unsafe {
                S::product::<T>(&*unit, &tokens, block, &mut sums);
                unit = unit.add(1);
            }
        }
        // A binary counter: the ones at the end of i are the finished halves.
        let level = i.trailing_ones() as usize;
        // SAFETY: there are as many levels; those that are read have been written.
        unsafe {
            for earlier in 0..level {
                add(&mut sums, &*levels.add(earlier));
            }
            levels.add(level).write(sums);
        }
    }
    // And so on with the parts.
    let within = part.lanes.trailing_zeros() as usize;
    // SAFETY: the last lane has written the level of all.
    let mut sums = unsafe { *levels.add(within) };
    let level = within + step.index.trailing_ones() as usize;
    for (t, sums) in sums.iter_mut().enumerate() {
        // SAFETY: every level has `TOKENS` tokens; earlier parts have filled these.
        let place = |level: usize| unsafe { step.levels[level].cast::<Sums>().add(first + t) };
        for earlier in within..level {
            // SAFETY: as above.
            let earlier = unsafe { *place(earlier) };
            *sums = [_mm512_add_ps(earlier[0], sums[0]), _mm512_add_ps(earlier[1], sums[1])];
        }
        if !step.last {
            // SAFETY: as above.
            unsafe { *place(level) = *sums };
        }
    }
    if step.last {
        // SAFETY: there are T sums.
        unsafe { write(sums.as_ptr(), T, out, step.row, job.rows()) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
fn add<const T: usize>(to: &mut [Sums; T], earlier: &[Sums; T]) {
    for (to, earlier) in to.iter_mut().zip(earlier) {
        *to = [_mm512_add_ps(earlier[0], to[0]), _mm512_add_ps(earlier[1], to[1])];
    }
}

/// Sums [tokens, 32 rows] to their place in `out` [tokens, rows], from its first token on: `rows` of a panel that begins at row `first`.
///
/// # Safety
/// `sums` has `count` tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub unsafe fn write(sums: *const Sums, count: usize, out: &mut [f32], first: usize, rows: usize) {
    for (t, out) in out.chunks_exact_mut(rows).enumerate().take(count) {
        let out = &mut out[first..rows.min(first + ROWS)];
        // SAFETY: the token is there; the masks have as many lanes as the slice has elements.
        unsafe {
            let [low, high] = *sums.add(t);
            let mask = u32::MAX >> (ROWS - out.len());
            _mm512_mask_storeu_ps(out.as_mut_ptr(), mask as __mmask16, low);
            _mm512_mask_storeu_ps(out.as_mut_ptr().wrapping_add(LANES), (mask >> LANES) as __mmask16, high);
        }
    }
}
