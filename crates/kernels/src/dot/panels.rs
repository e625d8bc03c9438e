//! How panels are laid out, the same for every width of register: the drivers for many tokens of AVX2 and of AVX-512 walk them so.
//!
//! The fixed tree of [`super::reduce`] adds lanes 8 apart, then 4, 2, 1. A walk over the lanes in the order 0 8 4 12 2 10 6 14 1 9 5 13 3 11 7 15 (the bits of
//! the index reversed) meets every pair of a level right after one another. A panel holds the blocks of some lanes, lane after lane in that order. [`walk`] says which
//! panel comes when.

use std::arch::x86_64::_MM_HINT_T0;
use std::ops::Range;

pub(crate) use super::lane;
use super::places::ask;
use super::{Job, stack};
use crate::activation::groups;
use crate::tile::TILE;
use crate::{Core, Line};

/// Rows of a panel.
pub const ROWS: usize = 32;
/// Tokens whose unfinished sums are kept while the parts of long rows pass.
pub const TOKENS: usize = 256;
/// Levels of the tree, the leaves counted.
pub const LEVELS: usize = 5;

/// The lanes of one panel, and the blocks of a row.
#[derive(Clone, Copy)]
pub struct Part {
    /// First lane in the order of the tree.
    pub first: usize,
    /// Lanes.
    pub lanes: usize,
    /// Blocks of a row.
    pub blocks: usize,
}

impl Part {
    /// Part `index` of `parts`.
    #[inline(always)]
    pub fn of(index: usize, parts: usize, blocks: usize) -> Part {
        Part { first: index * (16 / parts), lanes: 16 / parts, blocks }
    }

    /// Calls `fill(block, units)` for every tile of a row that has blocks of this part: its first block, and for each of its blocks, `per_tile` at most, where in
    /// the panel it lies; null for blocks of other parts.
    #[inline(always)]
    pub fn tiles<U>(self, per_tile: usize, panel: *mut U, mut fill: impl FnMut(usize, &[*mut U])) {
        let mut starts = [0usize; 17];
        for i in 0..self.lanes {
            starts[i + 1] = starts[i] + (self.blocks + 15 - lane(self.first + i)) / 16;
        }
        for block in (0..self.blocks).step_by(per_tile) {
            let count = per_tile.min(self.blocks - block);
            let mut units = [std::ptr::null_mut(); 8];
            let mut any = false;
            for (b, unit) in units[..count].iter_mut().enumerate() {
                let place = lane((block + b) % 16);
                if (self.first..self.first + self.lanes).contains(&place) {
                    *unit = panel.wrapping_add(starts[place - self.first] + (block + b) / 16);
                    any = true;
                }
            }
            if any {
                fill(block, &units[..count]);
            }
        }
    }
}

/// Bytes of activations that the tokens of a chunk may have in one part of a row: they stay in a cache, as every panel of rows reads them again. On most cores it is the
/// second-level one: all 2048 columns of 256 tokens. AMD's third-level cache is near: there it is faster to unpack a panel once for all tokens, though they come from further away
/// (rows of 8192 columns, 256 tokens, Zen 5: Q4_0 283 -> 313 GMAC/s, Q8_0 265 -> 300, Q4_K 339 -> 349).
fn room(core: Core) -> usize {
    match core {
        Core::Zen => 8 << 20,
        Core::Other => 700 << 10,
    }
}

/// Tokens of a chunk at least: unpacking a panel is for all of them.
const FEWEST: usize = 48;

/// Sets of unfinished sums that wait at the same time for other parts, 32 KiB each. This is an eighth of the stack that threads have.
const KEPT: usize = 8;

/// Lines of a set: the unfinished sums of a chunk's tokens.
const SET: usize = size_of::<[[f32; ROWS]; TOKENS]>() / Line::BYTES;

/// What a driver has in memory.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Blocks that a panel may have.
    pub capacity: usize,
    /// Bytes of a block of a panel, which begins at a line; zero: the driver has its panels elsewhere.
    pub unit: usize,
    /// Whether sums wait for other lanes in a step's levels, and not only for other parts.
    pub levels: bool,
}

impl Memory {
    /// Sets that do not wait for other parts.
    const fn own(self) -> usize {
        if self.levels { LEVELS } else { 0 }
    }

    /// Whether panels and sums of all lengths of rows fit the stack's room.
    pub const fn fits(self) -> bool {
        (self.capacity * self.unit).div_ceil(Line::BYTES) + (self.own() + KEPT) * SET <= stack::MOST
    }
}

/// Cuts tokens into the fewest runs of at most `most`, as even as can be: none is much smaller than the others.
#[inline(always)]
pub fn evenly(tokens: Range<usize>, most: usize, mut each: impl FnMut(Range<usize>)) {
    let (mut at, mut runs) = (tokens.start, tokens.len().div_ceil(most));
    while at < tokens.end {
        let end = at + (tokens.end - at).div_ceil(runs);
        runs -= 1;
        each(at..end);
        at = end;
    }
}

/// A panel of rows, a part of its lanes, a chunk of tokens.
pub struct Step {
    /// The panel's first row.
    pub row: usize,
    /// The tokens, [`TOKENS`] at most. Of activations in groups they begin with one.
    pub tokens: Range<usize>,
    /// The part.
    pub part: Part,
    /// Which part it is.
    pub index: usize,
    /// Whether it is the last part.
    pub last: bool,
    /// Where the panel lies.
    pub panel: *mut u8,
    /// Where the chunk's sums of each level wait; the last level is the whole row. Each has room for [`TOKENS`] tokens and begins at a line. Null where nothing waits
    /// ([`Memory::levels`]).
    pub levels: [*mut [f32; ROWS]; LEVELS],
    /// Whether the rows of the next panel have not been read before.
    fresh: bool,
}

impl Step {
    /// What comes after this step's panel, to be asked for in so many pieces.
    #[inline(always)]
    pub fn ahead(&self, job: &Job<'_>, pieces: usize) -> Ahead {
        if self.fresh { Ahead::new(job, self.row + ROWS, 1, pieces) } else { Ahead { from: job.w.as_ptr(), lines: 0, piece: 0 } }
    }
}

/// Weights that are needed after those at hand. A prompt reads them once, from memory, in short pieces of many rows, which no hardware sees coming. Asked for while the
/// panel before is being multiplied, they are there: on a Zen 5 with 256 tokens and 2048 columns, together with sums that are not set to zero first, Q4_0 268 -> 295 GMAC/s,
/// Q8_0 266 -> 293, Q4_K 308 -> 338, Q6_K 281 -> 316 (AVX2: 134 -> 143, 78 -> 81, 130 -> 133, 128 -> 140).
/// Drivers ask with every lane of a group of tokens, for a few lines each time: once a group, which with 8 tokens is 290 lines at once, fills what the core has for lines on their way
/// (the same CPU, from memory: 8 tokens, Q4_K 98 -> 164, Q4_0 90 -> 172, Q6_K 63 -> 90; 256, Q8_0 360 -> 371).
pub struct Ahead {
    from: *const u8,
    lines: usize,
    /// Lines of a piece.
    piece: usize,
}

impl Ahead {
    /// So many panels, the first of which begins at a row, in so many pieces.
    #[inline(always)]
    pub fn new(job: &Job<'_>, row: usize, panels: usize, pieces: usize) -> Ahead {
        let lines = (panels * ROWS * job.row_bytes).div_ceil(64);
        Ahead { from: job.w.as_ptr().wrapping_add(row * job.row_bytes), lines, piece: lines.div_ceil(pieces) }
    }

    /// Asks for the next piece. Past the end of the job's rows are most often those of the thread's next one; otherwise this does nothing.
    #[inline(always)]
    pub fn next(&mut self) {
        let lines = self.piece.min(self.lines);
        for _ in 0..lines {
            ask::<_MM_HINT_T0>(self.from);
            self.from = self.from.wrapping_add(64);
        }
        self.lines -= lines;
    }
}

/// Walks over a job so that what is read again and again stays in a cache that is near ([`room`]):
///
/// ```text
/// for each few panels of rows, for each TOKENS tokens:
///     for each part of the sixteen lanes that is short enough:
///         for each of the panels: step
/// ```
/// Otherwise the activations of all columns would pass for every panel, from wherever they are: 2.6 MB for 256 tokens of 8192 columns. With parts, sums wait for other
/// parts: those of the levels between parts for each panel, those of the levels within a part only for as long as the step lasts. Rows of 8192
/// columns on a Xeon of 2023 whose second-level cache has 2 MiB (the example `peak`): 1.22 times as fast as without with Q4_K and AMX, 1.28 and 1.18 with Q4_0 and
/// Q8_0 and AVX-512; 0.92 with Q4_K and AVX-512 and 512 tokens, for which panels are filled twice.
///
/// A part has `memory.capacity` blocks at most. False, and nothing is done, where a sixteenth of a row has more.
#[must_use]
pub fn walk(job: &Job<'_>, memory: Memory, mut step: impl FnMut(Step)) -> bool {
    let blocks = job.row_bytes / job.format.block_bytes;
    // A part of lanes has fewer columns only where a block is a tile: of blocks of 32 every tile has some of each lane, or of half of them. There fewer tokens go by.
    let small = job.format.block_len < TILE;
    let room = room(job.core);
    // Of a group no part is taken.
    let unit = if job.grouped { groups::TOKENS } else { 1 };
    let act_bytes = job.act_bytes / unit;
    let most = if small { (room / act_bytes).clamp(FEWEST, TOKENS) } else { TOKENS };
    let chunk = job.tokens.div_ceil(job.tokens.div_ceil(most));
    let panel = |parts: usize| blocks.div_ceil(16) * (16 / parts);
    let fits = |parts: usize| panel(parts) <= memory.capacity;
    let stays = |parts: usize| small || act_bytes / parts * chunk <= room;
    let Some(parts) = [1, 2, 4, 8, 16].into_iter().find(|&parts| fits(parts) && (stays(parts) || parts == 16)) else { return false };
    // Levels that wait for other parts, below the whole row's.
    let waiting = parts.trailing_zeros() as usize;
    let within = LEVELS - 1 - waiting;
    let panels = KEPT / waiting.max(1);
    let (own, others) = (memory.own(), if parts > 1 { KEPT } else { 0 });
    let lines = (panel(parts) * memory.unit).div_ceil(Line::BYTES);
    stack::with(lines + (own + others) * SET, &mut |at| {
        let set = |i: usize| at.wrapping_add(lines + i * SET).cast::<[f32; ROWS]>();
        for first in (0..job.rows()).step_by(panels * ROWS) {
            let rows = first..job.rows().min(first + panels * ROWS);
            evenly(0..job.tokens.div_ceil(unit), most / unit, |units| {
                let tokens = units.start * unit..job.tokens.min(units.end * unit);
                for index in 0..parts {
                    let part = Part::of(index, parts, blocks);
                    for (panel, row) in rows.clone().step_by(ROWS).enumerate() {
                        let mut levels = [std::ptr::null_mut(); LEVELS];
                        for (level, place) in levels.iter_mut().enumerate() {
                            if (within..LEVELS - 1).contains(&level) {
                                *place = set(own + panel * waiting + level - within);
                            } else if level < own {
                                *place = set(level);
                            }
                        }
                        let (last, end) = (index + 1 == parts, row + ROWS >= rows.end);
                        let fresh = tokens.start == 0 && if end { last } else { index == 0 };
                        step(Step { row, tokens: tokens.clone(), part, index, last, panel: at.cast(), levels, fresh });
                    }
                }
            });
        }
    });
    true
}

/// Makes the compiler forget what it has stored there. Otherwise it takes the four bytes of a broadcast out of the register that it has just stored, with two
/// shuffles on the port that the products need, where a load does it for nothing: half the speed with AVX-512.
#[inline(always)]
pub fn hide<T>(pointer: &mut *mut T) {
    // SAFETY: no instruction; the pointer stays as it is.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) * pointer, options(nostack, preserves_flags)) }
}
