//! Blocks of 256 columns times many tokens with AMX.
//!
//! A block's integer sum is that of scale * code * activation over sub-blocks of 16 or 32 columns. With the scales multiplied into the codes beforehand a block is one sum of
//! 256 products; but scale * code takes 10 to 14 bits, and a tile holds bytes. So the product is cut in two, [`Split`]: low + 2^SHIFT * high, two tiles, two sums.
//! Both are exact, and so is what they make together. Sixteen tokens and rows of a block are eight `tdp`, 128 cycles, for 65,536 products.
//!
//! ```text
//! for each step of `panels::walk`, 32 rows and some of the sixteen lanes:
//!     for each of their blocks in the order of the tree:
//!         fill a unit of the panel, cut its products in two          (16 KiB, first-level cache)
//!         for each sixteen tokens:
//!             the matrix unit: low and high sums of 32 rows          (4 tiles)
//!             meanwhile the vector unit: what the tokens before gave, as floats, onto their sums
//! ```
//! The two units only work at the same time if their instructions stand near each other: a quarter of the tokens before is finished after each 64 columns.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{GROUP, Onto, Place, Slots, TILE, Tiles};
use crate::activation::groups::q8_k::{BLOCK, PAIRS, PAIRS_BYTES, SCALES, STEP, SUMS, SUMS_BYTES};
use crate::dot::avx512::many::add_pair;
use crate::dot::avx512::many::driver::write;
use crate::dot::avx512::many::panel::{Fill256, Unit256, rows_of};
use crate::dot::panels::{LEVELS, Memory, ROWS, walk};
use crate::dot::places::ask;
use crate::dot::{Job, avx512, order};

/// Tiles of a block.
const STEPS: usize = 4;

/// How products of scales and codes are cut into bytes that tiles can hold: scale * code = low + 2^SHIFT * high, low unsigned, high signed.
pub trait Split {
    /// Bits between the two.
    const SHIFT: u32;

    /// What [`Split::split`] multiplies by, from a scale that stands in both words of a dword.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    unsafe fn scales(scale: __m512i) -> [__m512i; 2];

    /// Low and high of 64 codes, from which `bias` is to be taken off.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    unsafe fn split(codes: __m512i, bias: i32, scales: [__m512i; 2]) -> [__m512i; 2];
}

/// Codes up to 15 and scales up to 63, none negative: the scale's low four bits and the high ones, one product each. No product is above 225, so two codes in a word are
/// multiplied at once.
pub struct Nibbles;

impl Split for Nibbles {
    const SHIFT: u32 = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn scales(scale: __m512i) -> [__m512i; 2] {
        [_mm512_and_si512(scale, _mm512_set1_epi16(15)), _mm512_srli_epi16::<4>(scale)]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn split(codes: __m512i, _: i32, scales: [__m512i; 2]) -> [__m512i; 2] {
        [_mm512_mullo_epi16(codes, scales[0]), _mm512_mullo_epi16(codes, scales[1])]
    }
}

/// Any codes and scales with products of 16 bits: the two bytes of the product.
pub struct Words;

impl Split for Words {
    const SHIFT: u32 = 8;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn scales(scale: __m512i) -> [__m512i; 2] {
        [scale, scale]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
    unsafe fn split(codes: __m512i, bias: i32, [scale, _]: [__m512i; 2]) -> [__m512i; 2] {
        let product = |codes| _mm512_mullo_epi16(_mm512_sub_epi16(codes, _mm512_set1_epi16(bias as i16)), scale);
        let even = product(_mm512_and_si512(codes, _mm512_set1_epi16(0xff)));
        let odd = product(_mm512_srli_epi16::<8>(codes));
        const ODD: __mmask64 = 0xaaaa_aaaa_aaaa_aaaa;
        [_mm512_mask_blend_epi8(ODD, even, _mm512_slli_epi16::<8>(odd)), _mm512_mask_blend_epi8(ODD, _mm512_srli_epi16::<8>(even), odd)]
    }
}

/// Products of a block, cut in two: `[p][low, high]`, each four tiles.
#[repr(C, align(64))]
struct Planes([[[__m512i; 64]; 2]; 2]);

/// Low and high sums of 32 rows as the matrix unit leaves them: `[p][low, high][token]`.
#[repr(C, align(64))]
struct Products([[[__m512i; 16]; 2]; 2]);

/// Tokens that fill tiles often enough (Emerald Rapids, 2048 columns, Q4_K, beside the vector unit: 24 tokens 0.88 of its speed, 32 1.12, 48 1.32).
const FEWEST: usize = 28;

/// Whether products of so many tokens are faster with activations in groups, and the matrix unit.
pub fn wants_groups(tokens: usize) -> bool {
    tokens >= FEWEST
}

/// Blocks of 256 times Q8_K activations, many tokens. W and ZEN are for few, as [`avx512::many::blocks256`] says.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
pub fn blocks256<F: Fill256, S: Split, const W: usize, const ZEN: usize, const OFFSET: bool>(job: &Job<'_>, out: &mut [f32]) {
    if !job.grouped {
        return avx512::many::blocks256::<F, W, ZEN, OFFSET>(job, out);
    }
    let blocks = job.row_bytes / job.format.block_bytes;
    let rows = job.rows();
    let mut unit = MaybeUninit::<Unit256>::uninit();
    let mut planes = MaybeUninit::<Planes>::uninit();
    // SAFETY: the caller promises the instructions.
    let _tiles = unsafe { Tiles::configure(STEP, 4, 1) };
    let done = walk(job, Memory { capacity: usize::MAX, unit: 0, levels: true }, |step| {
        let count = step.tokens.len().div_ceil(GROUP);
        let before = order(0..step.part.first, blocks).count();
        let mut acts = job.acts[step.tokens.start / GROUP * job.act_bytes..].as_ptr().wrapping_add(before * BLOCK);
        let halves = rows_of(job, step.row);
        let mut slots = [std::ptr::null_mut(); LEVELS];
        for (slot, level) in slots.iter_mut().zip(step.levels) {
            *slot = level.cast();
        }
        let block_bytes = job.format.block_bytes;
        let mut order = order(step.part.first..step.part.first + step.part.lanes, blocks).peekable();
        let first = order.peek().map_or(0, |&(_, block)| block);
        while let Some((i, block)) = order.next() {
            // Where the next block lies from the beginning of a row on: behind the last one comes the next panel's first.
            let next = order.peek().map_or(ROWS * job.row_bytes + first * block_bytes, |&(_, block)| block * block_bytes);
            // SAFETY: every row has the block, and every group its activations; the slots have room for a chunk of whole groups. What is asked for need not be there.
            unsafe {
                for (p, rows) in halves.iter().enumerate() {
                    for row in rows {
                        (0..block_bytes)
                            .step_by(64)
                            .chain([block_bytes - 1])
                            .for_each(|at| ask::<_MM_HINT_T1>(row.wrapping_add(next + at)));
                    }
                    F::fill(job, &rows.map(|row| row.add(block * block_bytes)), unit.as_mut_ptr(), p);
                }
                split::<F, S>(unit.as_ptr(), planes.as_mut_ptr());
                let place = Place::of(block, i, blocks);
                let run = match place.levels.count_ones() {
                    0 => products::<F, S, OFFSET, 0>,
                    1 => products::<F, S, OFFSET, 1>,
                    2 => products::<F, S, OFFSET, 2>,
                    3 => products::<F, S, OFFSET, 3>,
                    _ => products::<F, S, OFFSET, 4>,
                };
                run(&*unit.as_ptr(), &*planes.as_ptr(), acts, job.act_bytes, count, place, &slots);
            }
            acts = acts.wrapping_add(BLOCK);
        }
        if step.last {
            // SAFETY: the last block of the tree has left the sums of every slot there.
            unsafe { write(slots[Place::ROOT], step.tokens.len(), &mut out[step.tokens.start * rows..], step.row, rows) };
        }
    });
    debug_assert!(done, "no panel is too small for a block");
}

/// Multiplies the codes of a unit by their scales.
///
/// # Safety
/// The unit is filled, `planes` valid for writes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn split<F: Fill256, S: Split>(unit: *const Unit256, planes: *mut Planes) {
    // SAFETY: promised by the caller.
    let (unit, planes) = unsafe { (&*unit, &mut *planes) };
    for p in 0..2 {
        for (g, scale) in unit.scale.iter().enumerate() {
            // SAFETY: the function has the instructions.
            let scales = unsafe { S::scales(_mm512_or_si512(scale[p], _mm512_slli_epi32::<16>(scale[p]))) };
            for k in 4 * g..4 * g + 4 {
                // SAFETY: as above.
                [planes.0[p][0][k], planes.0[p][1][k]] = unsafe { S::split(unit.q[k][p], F::BIAS, scales) };
            }
        }
    }
}

/// A block of 32 rows times the tokens of a chunk, onto their sums.
///
/// # Safety
/// `acts` is the block of the first of `count` groups, which are `group_bytes` apart; the tiles are configured; the slots have room for the tokens of whole groups and hold what `place` adds.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn products<F: Fill256, S: Split, const OFFSET: bool, const N: usize>(
    unit: &Unit256,
    planes: &Planes,
    acts: *const u8,
    group_bytes: usize,
    count: usize,
    place: Place,
    slots: &Slots,
) {
    let mut products = MaybeUninit::<[Products; 2]>::uninit();
    let products: *mut Products = products.as_mut_ptr().cast();
    // SAFETY: promised by the caller.
    unsafe {
        let act = |group: usize| acts.add(group * group_bytes);
        let onto = Onto::<N>::new(place, slots);
        // What the group before gave, tokens `from` .. `to` of it.
        let finish = |group: usize, from: usize, to: usize| {
            let products = products.add(group % 2);
            finish::<F, S, OFFSET, N>(unit, &*products, act(group), from..to, onto, group * GROUP);
        };
        for group in 0..count {
            asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nomem, nostack, preserves_flags));
            for step in 0..STEPS {
                multiply(act(group).add(STEP * GROUP * step), planes, step);
                if group > 0 {
                    finish(group - 1, step * GROUP / STEPS, (step + 1) * GROUP / STEPS);
                }
            }
            let to = products.add(group % 2);
            asm!(
                "tilestored [{to} + {row}], tmm0",
                "tilestored [{to} + {row} + {tile}], tmm1",
                "tilestored [{to} + {row} + 2 * {tile}], tmm2",
                "tilestored [{to} + {row} + 3 * {tile}], tmm3",
                to = in(reg) to, row = in(reg) 64usize, tile = const TILE, options(nostack, preserves_flags)
            );
        }
        finish(count - 1, 0, GROUP);
    }
}

/// Adds 64 columns of a group's tokens to the sums in tiles 0 to 3.
///
/// # Safety
/// Each of the group's tokens has 64 codes there; the tiles are configured.
#[inline(always)]
unsafe fn multiply(codes: *const u8, planes: &Planes, step: usize) {
    // SAFETY: reads the codes and the planes; only tiles change.
    unsafe {
        asm!(
            "tileloadd tmm4, [{codes} + {row}]",
            "tileloadd tmm5, [{planes} + {row}]",
            "tileloadd tmm6, [{planes} + {row} + 4 * {tile}]",
            "tileloadd tmm7, [{planes} + {row} + 8 * {tile}]",
            "tdpbsud tmm0, tmm4, tmm5",
            "tileloadd tmm5, [{planes} + {row} + 12 * {tile}]",
            "tdpbssd tmm1, tmm4, tmm6",
            "tdpbsud tmm2, tmm4, tmm7",
            "tdpbssd tmm3, tmm4, tmm5",
            codes = in(reg) codes,
            planes = in(reg) (&raw const *planes).cast::<u8>().add(step * TILE),
            row = in(reg) 64usize,
            tile = const TILE,
            options(readonly, nostack, preserves_flags)
        );
    }
}

/// The contributions of a block for some tokens of a group.
///
/// # Safety
/// `acts` is the block of the group, whose first token has its sums at `first`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,f16c")]
unsafe fn finish<F: Fill256, S: Split, const OFFSET: bool, const N: usize>(
    unit: &Unit256,
    products: &Products,
    acts: *const u8,
    tokens: std::ops::Range<usize>,
    onto: Onto<N>,
    first: usize,
) {
    for t in tokens {
        // SAFETY: the group has the token; nothing that is read or written has an alignment but sums and products.
        unsafe {
            let da = _mm512_set1_ps(acts.add(SCALES + 4 * t).cast::<f32>().read_unaligned());
            let sums = if F::MINS == 4 { acts.add(PAIRS + PAIRS_BYTES * t) } else { acts.add(SUMS + SUMS_BYTES * t) };
            for p in 0..2 {
                let [low, high] = [products.0[p][0][t], products.0[p][1][t]];
                let isum = _mm512_add_epi32(low, _mm512_sll_epi32(high, _mm_cvtsi32_si128(S::SHIFT as i32)));
                let mut sum = _mm512_mul_ps(_mm512_mul_ps(unit.d[p], da), _mm512_cvtepi32_ps(isum));
                if OFFSET {
                    let mut msum = _mm512_setzero_si512();
                    for (k, min) in unit.min[..F::MINS].iter().enumerate() {
                        add_pair(&mut msum, min[p], sums.add(4 * k));
                    }
                    sum = _mm512_sub_ps(sum, _mm512_mul_ps(_mm512_mul_ps(unit.m[p], da), _mm512_cvtepi32_ps(msum)));
                }
                onto.add(sum, first + t, p);
            }
        }
    }
}
