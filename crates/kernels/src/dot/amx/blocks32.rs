//! Blocks of 32 columns times many tokens with AMX.
//!
//! A block's integer sum is one `tdpbssd` of eight rows of a tile: sixteen tokens and rows, 16 cycles. Then it has to become floats, four instructions for each token and block of
//! sixteen rows (convert, dw * da, times, add): 32 cycles by themselves, 48 beside tiles, where only one of the two ports multiplies and converts (and both add): the second one's multiplier
//! is the matrix unit's. While a tile is stored, 16 cycles, no other instruction begins at all. So a block takes nearly as long as its tiles and its floats together, and fewer
//! conversions (sums that begin as 1.5 * 2^23 are floats) gained nothing here. Both are done with what lies in the first-level cache:
//!
//! ```text
//! for each 32 rows:
//!     fill a panel, as the drivers of the vector unit do, but with signed codes        (second-level cache)
//!     for each CHUNK groups of tokens, for each lane in the order of the tree, for each AT_ONCE of its blocks, for each sixteen rows:
//!         the blocks' weights to tiles 4 to 7
//!         for each sixteen tokens:
//!             the matrix unit: the sums of these blocks, to memory                     (tiles 0 and 1)
//!             the vector unit: the sums of the tokens before as floats, added up in registers over the blocks
//!             then onto what the tree has so far
//! ```
//! A chunk's activations of those blocks are still near for the second sixteen rows, its sums of all levels are 20 KiB, and they pass once in four blocks. With chunks of four groups
//! it is 190 GMAC/s in the place of 233 (Q8_0, 2048 columns, before activations were in groups), of one 190 too, as then there is nothing before that could be finished meanwhile. Unlike
//! `panels::walk`, this fills a panel once for all tokens, be the rows ever so long: rows of 8192 columns 176 -> 207; two panels at a time, so that activations pass half as often, Q8_0 237 -> 249. Asking for a panel's own weights or for activations before they are needed
//! costs more than it gains, 2 to 15 %; the next panel's bytes and the lines that sums go to are asked for, a few with each step. Activations come in groups ([`crate::activation::groups`]).

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{GROUP, Place, Slots, Sums, Tiles};
use crate::Line;
use crate::activation::groups::q8_0 as groups;
use crate::dot::avx512::many::driver::write;
use crate::dot::avx512::many::panel::{Fill32, LANES, ROWS, Unit32, rows_of};
use crate::dot::panels::{Ahead, LEVELS, Part, evenly, lane};
use crate::dot::places::ask;
use crate::dot::{Job, MANY, avx512, stack};
use crate::tile::TILE;

/// Columns of a block.
const COLUMNS: usize = 32;

/// Blocks of a lane whose weights are in tiles at the same time.
const AT_ONCE: usize = 4;

/// Groups of a chunk.
const CHUNK: usize = 2;

/// Blocks of all panels at most: rows of 16,384 columns.
const CAPACITY: usize = 512;

/// Panels that are filled at a time, at most, where activations have more bytes than [`NEAR`]: then they come from further away than the second-level cache, but a chunk's only once for all
/// of these panels.
const TOGETHER: usize = 2;
const NEAR: usize = 1 << 20;

// Kernels for few tokens know no groups.
const _: () = assert!(GROUP >= MANY);

/// Whether products of so many tokens and columns are faster with activations in groups.
///
/// One group is slower than the vector unit, as nothing is there that could be finished meanwhile, and a group costs the same with fewer tokens (Emerald Rapids, 2048 columns, Q8_0, beside the
/// vector unit: 16 tokens 0.96 of its speed, 24 0.93, 32 1.19, 40 1.03, 48 1.18).
pub fn wants_groups(cols: usize, tokens: usize) -> bool {
    let filled = 5 * tokens >= 4 * tokens.next_multiple_of(GROUP);
    tokens > GROUP && filled && cols <= CAPACITY * COLUMNS
}

/// Blocks of 32 without an offset times Q8_0 activations, many tokens. In rows they are left to the vector unit.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub fn blocks32<F: Fill32>(job: &Job<'_>, out: &mut [f32]) {
    const { assert!(F::BIAS == 128) };
    let blocks = job.row_bytes / job.format.block_bytes;
    if !job.grouped {
        return avx512::many::blocks32::<F, false>(job, out);
    }
    const { assert!(CAPACITY * size_of::<Unit32>() <= stack::MOST * Line::BYTES) };
    let most = if job.acts.len() > NEAR { (CAPACITY / blocks).clamp(1, TOGETHER) } else { 1 };
    stack::with((most * blocks * size_of::<Unit32>()).div_ceil(Line::BYTES), &mut |room| {
        // SAFETY: the caller promises the instructions, and there is room for the panels' blocks.
        unsafe { panels::<F>(job, blocks, most, room.cast(), out) }
    });
}

/// All panels of a job, at most so many at a time.
///
/// # Safety
/// The CPU has AMX and AVX-512 with VNNI; there is room for `most` times `blocks` units.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn panels<F: Fill32>(job: &Job<'_>, blocks: usize, most: usize, room: *mut Unit32, out: &mut [f32]) {
    let rows = job.rows();
    let mut levels = MaybeUninit::<[[Sums; CHUNK * GROUP]; LEVELS]>::uninit();
    let levels: *mut [Sums; CHUNK * GROUP] = levels.as_mut_ptr().cast();
    let slots: Slots = std::array::from_fn(|level| levels.wrapping_add(level).cast());
    // SAFETY: the caller promises the instructions.
    let _tiles = unsafe { Tiles::configure(COLUMNS, 2, 2) };
    let panel = |k: usize| room.wrapping_add(k * blocks);
    let halves = |first: usize| if first + LANES < rows { 2 } else { 1 };
    for start in (0..rows).step_by(most * ROWS) {
        let firsts = || (start..rows.min(start + most * ROWS)).step_by(ROWS);
        for (k, first) in firsts().enumerate() {
            let all = rows_of(job, first);
            // SAFETY: the rows have the blocks, and the panel has room for them.
            unsafe {
                Part::of(0, 1, blocks).tiles(TILE / COLUMNS, panel(k), |block, units| {
                    for (p, rows) in all[..halves(first)].iter().enumerate() {
                        F::fill::<true>(job, &rows.map(|row| row.add(block * job.format.block_bytes)), units, p);
                    }
                });
            }
        }
        let all = job.tokens.div_ceil(GROUP);
        let steps: usize = (0..16.min(blocks)).map(|lane| (blocks - lane).div_ceil(16).div_ceil(AT_ONCE)).sum();
        let pieces = all.div_ceil(CHUNK) * steps * firsts().map(halves).sum::<usize>();
        let mut weights = Ahead::new(job, start + most * ROWS, most, pieces);
        evenly(0..all, CHUNK, |chunk| {
            for (k, first) in firsts().enumerate() {
                // Where the sums go.
                let mut to = chunk.start * GROUP..job.tokens.min(chunk.end * GROUP);
                let mut acts = job.acts.as_ptr().wrapping_add(chunk.start * job.act_bytes);
                let mut units = panel(k).cast_const();
                for i in 0..16 {
                    for token in to.by_ref().take(CHUNK * GROUP / 16) {
                        let to = out.as_ptr().wrapping_add(token * rows + first);
                        ask::<_MM_HINT_ET0>(to.cast());
                        ask::<_MM_HINT_ET0>(to.wrapping_add(LANES).cast());
                    }
                    let mut block = lane(i);
                    while block < blocks {
                        let count = (blocks - block).div_ceil(16).min(AT_ONCE);
                        let place = Place { first: block < 16, ..Place::of(block + 16 * (count - 1), i, blocks) };
                        let run = match count {
                            1 => products::<1>,
                            2 => products::<2>,
                            3 => products::<3>,
                            _ => products::<AT_ONCE>,
                        };
                        for p in 0..halves(first) {
                            weights.next();
                            // SAFETY: the panel holds the blocks in this order, every group has their activations, and the slots have room for the chunk.
                            unsafe { run(units, p, acts, job.act_bytes, chunk.len(), place, &slots) };
                        }
                        units = units.wrapping_add(count);
                        acts = acts.wrapping_add(count * groups::BLOCK);
                        block += 16 * count;
                    }
                }
                for (i, token) in chunk.clone().map(|group| group * GROUP).enumerate() {
                    let count = GROUP.min(job.tokens - token);
                    // SAFETY: the last block of the tree has left the sums of every slot there.
                    unsafe { write(slots[Place::ROOT].add(i * GROUP), count, &mut out[token * rows..], first, rows) };
                }
            }
        });
    }
}

/// N blocks of a lane of sixteen rows (p) times `count` groups of tokens, onto what the tree has.
///
/// # Safety
/// `units` are the blocks, filled, with signed codes; `acts` is the first one of the first group, and groups are `group_bytes` apart; the tiles are configured for groups of
/// sixteen; the slots have room and what `place` adds.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn products<const N: usize>(
    units: *const Unit32,
    p: usize,
    acts: *const u8,
    group_bytes: usize,
    count: usize,
    place: Place,
    slots: &Slots,
) {
    let mut sums = MaybeUninit::<[[[__m512i; GROUP]; N]; 2]>::uninit();
    let sums: *mut [[__m512i; GROUP]; N] = sums.as_mut_ptr().cast();
    // SAFETY: promised by the caller.
    unsafe {
        macro_rules! weights {
            ($k:literal, $tile:literal) => {
                if N > $k {
                    asm!(
                        concat!("tileloadd ", $tile, ", [{from} + {row}]"),
                        from = in(reg) (&raw const (*units.add($k)).q).cast::<u8>().add(64 * p), row = in(reg) 128usize,
                        options(readonly, nostack, preserves_flags)
                    );
                }
            };
        }
        weights!(0, "tmm4");
        weights!(1, "tmm5");
        weights!(2, "tmm6");
        weights!(3, "tmm7");
        let mut d = [_mm512_setzero_ps(); N];
        for (k, d) in d.iter_mut().enumerate() {
            *d = (*units.add(k)).d[p];
        }
        macro_rules! acts {
            ($codes:expr, $acts:literal) => {
                asm!(
                    concat!("tileloadd ", $acts, ", [{codes} + {token}]"),
                    codes = in(reg) $codes, token = in(reg) COLUMNS, options(readonly, nostack, preserves_flags)
                )
            };
        }
        acts!(acts, "tmm2");
        for group in 0..=count {
            let (now, before) = (group < count, group > 0);
            let acts_of = |group: usize| acts.wrapping_add(group.min(count - 1) * group_bytes);
            let (codes, after) = (acts_of(group), acts_of(group + 1));
            let last = group.max(1) - 1;
            let scales = acts_of(last).wrapping_add(groups::SCALES);
            let slot = last * GROUP;
            let (to, from) = (sums.add(group % 2), sums.add((group + 1) % 2));
            let mut lanes = [_mm512_setzero_ps(); GROUP];
            if before && !place.first {
                for (t, lane) in lanes.iter_mut().enumerate() {
                    *lane = (*slots[Place::ROOT].add(slot + t))[p];
                }
            }
            macro_rules! store {
                ($to:ident, $k:expr, $sums:literal) => {
                    asm!(
                        concat!("tilestored [{to} + {row}], ", $sums),
                        to = in(reg) (&raw mut (*$to)[$k]), row = in(reg) 64usize, options(nostack, preserves_flags)
                    )
                };
            }
            // Block k of this group on the matrix unit and of the one before on the other. Sums are in tiles 0 and 1 in turn, activations in 2 and 3, so that what the next product needs is on its
            // way and what the last one gave is there: a tile is stored a block after its product, the last of a group with the next group.
            macro_rules! block {
                ($k:literal, $weights:literal, $sums:literal, $other:literal, $acts:literal, $next:literal) => {
                    if N > $k {
                        if now {
                            if $k > 0 {
                                store!(to, $k - 1, $other);
                            }
                            if $k + 1 < N {
                                acts!(codes.wrapping_add(($k + 1) * groups::BLOCK), $next);
                            } else if N % 2 == 0 {
                                acts!(after, "tmm2");
                            }
                            asm!(
                                concat!("tilezero ", $sums),
                                concat!("tdpbssd ", $sums, ", ", $acts, ", ", $weights),
                                options(nomem, nostack, preserves_flags)
                            );
                            if $k + 1 == N && N % 2 == 1 {
                                acts!(after, "tmm2");
                            }
                        }
                        if before {
                            for (t, lane) in lanes.iter_mut().enumerate() {
                                let scale = scales.add(4 * t + $k * groups::BLOCK);
                                let da = _mm512_set1_ps(scale.cast::<f32>().read_unaligned());
                                let product = _mm512_mul_ps(_mm512_mul_ps(d[$k], da), _mm512_cvtepi32_ps((*from)[$k][t]));
                                *lane = _mm512_add_ps(*lane, product);
                            }
                            // Here, and not after the next block's tiles have been begun: the compiler would, and then lack registers.
                            for lane in &mut lanes {
                                asm!("/* {} */", inout(zmm_reg) * lane, options(nomem, nostack, preserves_flags));
                            }
                        }
                    }
                };
            }
            if before {
                if N % 2 == 1 {
                    store!(from, N - 1, "tmm0");
                } else {
                    store!(from, N - 1, "tmm1");
                }
            }
            block!(0, "tmm4", "tmm0", "tmm1", "tmm2", "tmm3");
            block!(1, "tmm5", "tmm1", "tmm0", "tmm3", "tmm2");
            block!(2, "tmm6", "tmm0", "tmm1", "tmm2", "tmm3");
            block!(3, "tmm7", "tmm1", "tmm0", "tmm3", "tmm2");
            if before {
                let mut levels = place.levels;
                while levels != 0 {
                    let level = slots[levels.trailing_zeros() as usize].add(slot);
                    for (t, lane) in lanes.iter_mut().enumerate() {
                        *lane = _mm512_add_ps((*level.add(t))[p], *lane);
                    }
                    levels &= levels - 1;
                }
                for (t, lane) in lanes.into_iter().enumerate() {
                    (*slots[place.to].add(slot + t))[p] = lane;
                }
            }
        }
    }
}
