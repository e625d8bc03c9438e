//! The walk of the integer products for many tokens.
//!
//! ```text
//! for each step of `panels::walk`, 32 rows and some of the sixteen lanes (often all of them):
//!     fill a panel: the blocks of those lanes, lane after lane in the order of the tree
//!     for each 3 or 4 tokens:
//!         for each lane: sum = 0; for each of its blocks: sum += contribution             (a row a lane of a register)
//!                        push the sum onto the tree
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

use super::panel::{LANES, REGISTERS, ROWS, Rows};
use crate::Line;
use crate::dot::panels::{Ahead, LEVELS, Memory, Part, Step, evenly, lane, walk};
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
    let memory = const {
        let memory = Memory { capacity: S::CAPACITY, unit: size_of::<S::Unit>(), levels: true };
        assert!(memory.fits() && align_of::<S::Unit>() <= Line::BYTES);
        memory
    };
    let rows = job.rows();
    let done = walk(job, memory, |step| {
        let mut registers: [Rows; REGISTERS] = [[std::ptr::null(); LANES]; REGISTERS];
        for (r, to) in registers.iter_mut().flatten().enumerate() {
            *to = job.w[(step.row + r).min(rows - 1) * job.row_bytes..].as_ptr();
        }
        let Step { tokens, part, .. } = &step;
        let panel: *mut S::Unit = step.panel.cast();
        // SAFETY: the rows have the blocks, the panel has room for this part, the levels for `TOKENS` tokens.
        unsafe {
            fill::<S>(job, &registers, *part, panel);
            let mut ahead = step.ahead(job, tokens.len().div_ceil(GROUP) * part.lanes);
            evenly(tokens.clone(), GROUP, |group_tokens| {
                let at = group_tokens.start;
                let acts = job.acts[at * job.act_bytes..].as_ptr();
                match group_tokens.len() {
                    3 => group::<S, 3>(panel, acts, job.act_bytes, &step, &mut ahead, at - tokens.start),
                    GROUP => group::<S, GROUP>(panel, acts, job.act_bytes, &step, &mut ahead, at - tokens.start),
                    _ => unreachable!("six tokens and more are cut into groups of three and four"),
                }
            });
            if step.last {
                write(step.levels[LEVELS - 1].cast(), tokens.len(), &mut out[tokens.start * rows..], step.row, rows);
            }
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
/// As [`Shape::product`]; the panel is filled with the step's part, and its levels have room for T tokens from `first` on.
#[target_feature(enable = "avx2,f16c")]
unsafe fn group<S: Shape, const T: usize>(
    panel: *const S::Unit,
    acts: *const u8,
    act_bytes: usize,
    step: &Step,
    ahead: &mut Ahead,
    first: usize,
) {
    let part = step.part;
    let zero = [[_mm256_setzero_ps(); REGISTERS]; T];
    let mut tokens = [acts; T];
    for (t, act) in tokens.iter_mut().enumerate() {
        // SAFETY: the activations have T rows.
        *act = unsafe { acts.add(t * act_bytes) };
    }
    // Not set to zero: that alone would take a fiftieth of the time.
    let mut levels = MaybeUninit::<[[Sums; T]; LEVELS]>::uninit();
    let levels: *mut [Sums; T] = levels.as_mut_ptr().cast();
    let mut unit = panel;
    for i in 0..part.lanes {
        ahead.next();
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
        // SAFETY: there are as many levels; those that are read have been written.
        unsafe {
            for earlier in 0..level {
                for (to, earlier) in sums.iter_mut().zip(&*levels.add(earlier)) {
                    add(to, earlier);
                }
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
            add(sums, unsafe { &*place(earlier) });
        }
        // SAFETY: as above.
        unsafe { *place(level) = *sums };
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(to: &mut Sums, earlier: &Sums) {
    for (to, earlier) in to.iter_mut().zip(earlier) {
        *to = _mm256_add_ps(*earlier, *to);
    }
}

/// Sums [tokens, 32 rows] to their place in `out` [tokens, rows], from its first token on: `rows` of a panel that begins at row `first`.
///
/// # Safety
/// `sums` has `count` tokens.
#[target_feature(enable = "avx2,f16c")]
unsafe fn write(sums: *const Sums, count: usize, out: &mut [f32], first: usize, rows: usize) {
    for (t, out) in out.chunks_exact_mut(rows).enumerate().take(count) {
        let out = &mut out[first..rows.min(first + ROWS)];
        // SAFETY: the token is there, and has 32 floats.
        out.copy_from_slice(unsafe { &(&*sums.add(t).cast::<[f32; ROWS]>())[..out.len()] });
    }
}
