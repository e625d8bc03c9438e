//! Blocks of 256 times one token, a group of sixteen of a row after the other: in one row, or in R that stand apart ([`crate::dot::places`]). Read [`super::blocks256`] first.
//!
//! # The end of a group
//!
//! What is done at a group's end, from its sums to the floats of the rows that end in it, is thirty instructions that wait for each other: about a hundred cycles. A processor
//! goes on with what comes after them, but only as far as it can look ahead (on Zen 5 448 instructions, half a group), and then stands still. So a group's end is left undone ([`Ended`])
//! until four blocks of the next group have been multiplied: by then its sums are there, and three quarters of a group follow for the processor to go on with. The operations and their order stay what they are.
//!
//! From the second-level cache of a Zen 5, rows of 2048, GB/s, before and with it: Q4_K 44.5 and 52, Q5_K 47 and 53, Q6_K 55.5 and 65.5, Q3_K 27.5 and 33, Q2_K 27 and 32, IQ4_XS 29 and 34. A
//! token of Q4_K_M (1B) takes 3 to 5 % less time with one thread; with two 5 % less where each has a way to memory of its own, and the same where they share one that is full. Half a group later
//! (after eight blocks) is as good. For blocks of 32 the same, a row's end left undone until the next group, is 10 % from the cache for Q4_0 and nothing from memory, and nothing for Q8_0: they are as they were.
//!
//! # Rows that stand apart
//!
//! They were worked on four blocks of each in turn, the heads of all four before and the floats of all four after. From the second-level cache that was faster than now (Q4_K, an Emerald Rapids core, 32.7 GB/s; now 28.5),
//! but memory had nothing to do meanwhile: no line was asked for in four rows' heads, two thousand bytes were touched at once, and Q4_K got 88 to 91 % of what plain reading gets, Q6_K 78 to 87. Now a
//! group of one row is done after that of another, and while it is, lines of *all* rows are asked for in turns of about a block ([`ask`]): memory sees R places, evenly, whatever is worked on. 96 to 99 % and 92 to 97.
//!
//! Tried there: turns of four blocks (4 % less), no end left undone (7 % less from the cache), the ends of all rows at once (9 % less from the cache), two rows' groups at once, which share their
//! activations (5 % more from the cache for Q4_K, nothing else, and not from memory), lines asked for in the second-level cache (6 to 10 % less).

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::blocks256::{Block, Blocks256, KEPT, Turned, bundle, end_of_row, lane_numbers, turned};
use super::{FOUR, GROUP, add_words, reduce, sums4, sums16};
use crate::activation::{HEADER, TILE_BYTES};
use crate::dot::Job;
use crate::dot::places::{ahead, lines, strips};
use crate::tile::TILE;

/// A group whose end is still to be done: `contribution` of [`super::blocks256`] in two halves, before and after the wait. One type for both files' formula is 3 to 4 % slower here (Q5_K, Q6_K,
/// from the cache), and an `Option` of this in the place of no blocks 15 %: it is kept in memory then.
struct Ended {
    /// The sums of its blocks ([`sums4`]).
    sums: [__m512i; FOUR],
    /// d * da of its blocks.
    d: __m512,
    /// The part of the words ([`super::blocks256::Heads`]): taken off the integer sum if they are no offsets.
    msum: __m512i,
    /// The part of the offsets, taken off the product.
    m: __m512,
    /// Its blocks; none where there is no such group.
    present: usize,
    /// The first row of its bundle.
    row: usize,
}

/// Where a bundle's rows are added up.
struct Rows {
    /// Blocks of a row, and rows of a bundle.
    blocks: usize,
    size: usize,
    /// The row that is being added up, and how many of its blocks have been.
    row: usize,
    done: usize,
    lanes: __m512,
}

impl Rows {
    /// Adds up a group, and writes the sums of the rows that end in it.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn finish<F: Blocks256>(&mut self, ended: &Ended, out: &mut [f32]) {
        let mut isum = sums16(&ended.sums);
        if F::WORDS > 0 && !F::OFFSET {
            isum = _mm512_sub_epi32(isum, ended.msum);
        }
        let mut added = _mm512_mul_ps(ended.d, _mm512_cvtepi32_ps(isum));
        if F::OFFSET {
            added = _mm512_sub_ps(added, ended.m);
        }
        let mut lane = 0;
        while lane < ended.present {
            let n = (ended.present - lane).min(self.blocks - self.done);
            let mask = (((1u32 << n) - 1) << lane) as __mmask16;
            self.lanes = _mm512_mask_add_ps(self.lanes, mask, self.lanes, added);
            (lane, self.done) = (lane + n, self.done + n);
            if self.done == self.blocks {
                // The lane where the row began comes first. Only the lowest four bits count.
                let order = _mm512_add_epi32(lane_numbers(), _mm512_set1_epi32((self.row * self.blocks) as i32));
                out[ended.row + self.row] = reduce(_mm512_permutexvar_ps(order, self.lanes));
                self.lanes = _mm512_setzero_ps();
                (self.row, self.done) = (if self.row + 1 == self.size { 0 } else { self.row + 1 }, 0);
            }
        }
    }
}

/// Asks for the lines of part b of four of what comes while four blocks are multiplied, the `q`th of a group.
#[inline(always)]
fn ask<F: Blocks256, const R: usize>(asked: &[*const u8; R], q: usize, b: usize) {
    if R == 1 {
        let count = (FOUR * F::BYTES).div_ceil(64);
        lines::<R>(asked[0].wrapping_add(q * FOUR * F::BYTES), count * b / FOUR..count * (b + 1) / FOUR);
    } else {
        lines::<R>(asked[b % R].wrapping_add(q * F::BYTES), 0..F::BYTES.div_ceil(64));
    }
}

/// The driver: the whole job, of one token. A function of its own, so that what a pass of several tokens keeps does not take its registers.
#[inline(never)]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub fn one256<F: Blocks256, const R: usize>(job: &Job<'_>, out: &mut [f32]) {
    // What `ask` asks for comes out even with these.
    const { assert!(R == 1 || R == FOUR) };
    let act = &job.acts[..job.act_bytes];
    let blocks = job.row_bytes / F::BYTES;
    let all = job.rows();
    let bundled = all / bundle(blocks, 1) * bundle(blocks, 1);
    let mut room = [const { MaybeUninit::<Turned>::uninit() }; KEPT];
    // Bundles, then the rows that are left, each a bundle of its own. A loop, so that the body is compiled once.
    for (from, rows, size) in [(0, bundled, bundle(blocks, 1)), (bundled, all - bundled, 1)] {
        if rows == 0 {
            continue;
        }
        let total = size * blocks;
        let groups = total.div_ceil(GROUP);
        let present = |g: usize| GROUP.min(total - g * GROUP);
        // Not zeroed: for a few rows that would take as long as a row.
        let room = &mut room[..KEPT.min(groups)];
        for (g, kept) in room.iter_mut().enumerate() {
            kept.write(turned(act, g * GROUP, present(g), F::WORDS));
        }
        // SAFETY: every one of these has been written.
        let kept = unsafe { room.assume_init_ref() };
        let zero = _mm512_setzero_si512();
        let mut sums: [Rows; R] = std::array::from_fn(|_| Rows { blocks, size, row: 0, done: 0, lanes: _mm512_setzero_ps() });
        let mut ended = Ended { sums: [zero; FOUR], d: _mm512_setzero_ps(), msum: zero, m: _mm512_setzero_ps(), present: 0, row: 0 };
        let mut ended_of = 0;
        strips(job, from..from + rows, size, |numbers: [usize; R], w| {
            let mut group_tile = 0;
            for g in 0..groups {
                let present = present(g);
                let at = g * GROUP * F::BYTES;
                let mut tile = group_tile;
                for r in 0..R {
                    tile = group_tile;
                    let own = &w[r][at..][..present * F::BYTES];
                    // SAFETY: this function's instructions are those that the format's functions need.
                    let heads = unsafe { F::heads(own) };
                    let scales = heads.scales;
                    // What comes in all rows is asked for in turns of about a block, whichever row is worked on: a quarter of a group in each while one of four is.
                    let mut asked = [std::ptr::null(); R];
                    for (asked, w) in asked.iter_mut().zip(w) {
                        *asked = w.as_ptr().wrapping_add(at + r * present.div_ceil(FOUR) * F::BYTES + ahead(R, F::BYTES));
                    }
                    let mut parts = [zero; FOUR];
                    // The sums of the four blocks from `first` on, times the activations from tile `tile` on.
                    macro_rules! four {
                        ($w:ident, $q:expr, $tile:expr) => {{
                            let (q, first) = ($q, FOUR * $q);
                            let tiles = &act[$tile * TILE_BYTES..][..FOUR * TILE_BYTES];
                            let four = &$w[first * F::BYTES..][..FOUR * F::BYTES];
                            macro_rules! product {
                                ($b:literal) => {{
                                    ask::<F, R>(&asked, q, $b);
                                    // SAFETY: as above.
                                    unsafe {
                                        F::block(&four[$b * F::BYTES..($b + 1) * F::BYTES], &scales, first + $b)
                                            .product(&tiles[$b * TILE_BYTES + HEADER..][..TILE])
                                    }
                                }};
                            }
                            let [a, b] = [product!(0), product!(1)];
                            let [c, d] = [product!(2), product!(3)];
                            sums4(a, b, c, d)
                        }};
                    }
                    // Most groups: without looking, for each four blocks, whether they are there and of one row, Q4_K is 7 % faster from the cache. One row by itself is as it was measured.
                    if R > 1 && present == GROUP && blocks.is_multiple_of(FOUR) {
                        let whole = &own[..GROUP * F::BYTES];
                        let after = |tile: usize| if tile + FOUR == blocks { 0 } else { tile + FOUR };
                        parts[0] = four!(whole, 0, tile);
                        if ended.present > 0 {
                            sums[ended_of].finish::<F>(&ended, out);
                        }
                        tile = after(tile);
                        parts[1] = four!(whole, 1, tile);
                        tile = after(tile);
                        parts[2] = four!(whole, 2, tile);
                        tile = after(tile);
                        parts[3] = four!(whole, 3, tile);
                        tile = after(tile);
                    } else {
                        for (q, four_sums) in parts.iter_mut().enumerate().take(present.div_ceil(FOUR)) {
                            let (first, n) = (FOUR * q, FOUR.min(present - FOUR * q));
                            *four_sums = if n == FOUR && tile + FOUR <= blocks {
                                four!(own, q, tile)
                            } else {
                                for b in 0..FOUR {
                                    ask::<F, R>(&asked, q, b);
                                }
                                end_of_row::<F>(&own[first * F::BYTES..][..n * F::BYTES], &scales, first, act, tile)
                            };
                            tile += n;
                            while tile >= blocks {
                                tile -= blocks;
                            }
                            if q == 0 && ended.present > 0 {
                                sums[ended_of].finish::<F>(&ended, out);
                            }
                        }
                    }
                    let fresh;
                    let turned = match kept.get(g) {
                        Some(kept) => kept,
                        None => {
                            fresh = turned(act, g * GROUP, present, F::WORDS);
                            &fresh
                        }
                    };
                    let mut msum = zero;
                    for i in 0..F::WORDS {
                        msum = add_words(msum, heads.words[i], turned.sums[i]);
                    }
                    let mut m = _mm512_setzero_ps();
                    if F::OFFSET {
                        m = _mm512_mul_ps(_mm512_mul_ps(heads.m, turned.d), _mm512_cvtepi32_ps(msum));
                    }
                    ended = Ended { sums: parts, d: _mm512_mul_ps(heads.d, turned.d), msum, m, present, row: numbers[r] };
                    ended_of = r;
                }
                group_tile = tile;
            }
        });
        if ended.present > 0 {
            sums[ended_of].finish::<F>(&ended, out);
        }
    }
}
