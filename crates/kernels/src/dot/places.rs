//! In how many places of memory few tokens' products read at once, and how far ahead they ask for what comes.
//!
//! What serves one processor spoils another ([`crate::Core`]). The hardware looks ahead in each page of 4 KiB on its own, and in each not far enough:
//!
//! - A Xeon of 2023 reads, with one thread, 13.6 GB/s in one place, 17.7 in four and 17.8 in eight that take turns of 128 bytes; with turns of 2 KiB 14.8 in two
//!   and 16.2 in four. So rows that stand far apart are read in short turns: they are worked on so, or lines are asked for so. They are asked for 3 KiB ahead.
//! - There each place costs something when it is left: the hardware begins to read ahead anew, and what has been asked for ahead is lost, 1.5 us for four places, as much as 30 KiB take. With calls of
//!   128 KiB that each have their own four products get 80 % of what plain reading gets, with 256 KiB 88 %, with 1 MiB 96 %. So a matrix has four places, all of a thread's calls go on in
//!   them ([`crate::Chosen::matmul_apart`]), and they are not at the same place of a page ([`strip`]). Jumping from call to call by asking for what the next one begins with was worse than long strips.
//! - An EPYC of 2024 (Zen 5) reads 40 GB/s in one place and 24 to 32 in four with turns of 512 bytes. There a row is taken by itself and lines are asked for 8 KiB
//!   ahead: rows of 2048 columns of Q4_K 28.3 -> 37.6 GB/s, of Q6_K 26.0 -> 39.8, of Q4_0 28.7 -> 35.7, of Q8_0 29.6 -> 40.3. With 3 KiB it is 30.6, 30.6, 32.6 and 35.6.
//!   Two tokens, one row and 8 KiB in the place of two and 3: Q4_K 22.9 -> 24.8, Q6_K 22.9 -> 30.3, Q4_0 16.3 -> 17.9, Q8_0 27.2 -> 31.0, IQ4_XS 18.5 -> 17.7; seven: Q6_K
//!   13.6 -> 15.3, others even.
//! - The same EPYC, another day, pages of 2 MiB: blocks of 256 do better with 12 KiB, and with two or three lines asked for with each block in the place of nine to fourteen with each
//!   four: Q4_K 37.6 -> 39.6, Q6_K 34.8 -> 42, Q5_K 38.5 -> 41.4, IQ4_XS 26.3 -> 27.3. Of blocks of 32 Q8_0 gains three per cent where its lines are spread, Q4_0 loses a tenth
//!   there; neither gains with 12 KiB.
//! - There, again later: a weight is read once a token, and lines that are asked for as such (`prefetchnta`) are not kept in the outer caches. Time of a token of 1B with two threads, where
//!   the host lets them read little (45 GB/s): Q4_K_M 3 to 4 per cent less, Q4_0 and Q8_0 2 to 5; where much (78 GB/s): Q4_K_M 0 to 1 more, Q4_0 3 less, Q8_0 1 less; one thread, Q4_K_M: even.
//!   With that Q4_0 does better with 12 KiB than with 8 (fast: 2 to 3 per cent), Q8_0 with 8 than with 6.
//!
//! Floats go side by side everywhere: each addition waits for the one before it, and one row's are too few to keep up with memory.

use std::arch::x86_64::{_MM_HINT_NTA, _MM_HINT_T0, _mm_prefetch};
use std::ops::Range;

use super::{APART, Job};

/// Rows of `bytes` bytes in each of R strips of `count` rows, which lie one after the other. At most R - 1 rows are left over, and of many rows up to 64 for each strip.
///
/// Not always as many as there could be. The hardware reads ahead within a page, and begins anew in the next: where all strips come to a page's end together, memory has nothing to do for a moment.
/// A matrix of 8192 rows of 1152 bytes (an Emerald Rapids core, a part of what plain reading gets) 88 %; with strips that begin 1 KiB further into a page each, 98 %.
#[inline(always)]
pub fn strip<const R: usize>(count: usize, bytes: usize) -> usize {
    let most = count / R;
    // Rows of whole pages have one place in a page, however many there are.
    if R == 1 || bytes.is_multiple_of(PAGE) {
        return most;
    }
    // How far from a part of a page (of four strips a quarter), from its begin or its end, two strips' places in a page are; half a page is better than none.
    let off = |fewer: usize| {
        let place = (most - fewer).wrapping_mul(bytes) % PAGE;
        let place = place.min(PAGE - place);
        if place < PAGE / R { PAGE / R - place } else { (place - PAGE / R) / 2 }
    };
    let fewer = 0..=(most / 8).min(64);
    // The first that will do, of those that kernels like which take several rows as one, or the best.
    let fit = [16, 4, 1].into_iter().find_map(|step| fewer.clone().step_by(step).find(|&fewer| off(fewer) <= PAGE / 32));
    most - fit.or_else(|| fewer.min_by_key(|&fewer| off(fewer))).unwrap_or_default()
}

/// Bytes of a page, for the hardware's reading ahead.
const PAGE: usize = 4096;

/// `size` neighbouring rows at a time of the rows `rows` of a job, R at once, of one strip each: the numbers of their first rows, and the weights. A job of one strip is cut into R; of a
/// job of several, `rows` are each strip's. Where they do not come out even, the last are given more than once: their products are the same each time.
#[inline(always)]
pub fn strips<'a, const R: usize>(job: &Job<'a>, rows: Range<usize>, size: usize, mut turn: impl FnMut([usize; R], [&'a [u8]; R])) {
    assert!(job.strips.is_none() || R == APART && job.tokens == 1, "strips are for drivers that read so many side by side");
    let (count, bytes) = (rows.len() / size, size * job.row_bytes);
    let (strip, left_over) = match job.strips {
        Some(_) => (count, 0),
        None => {
            let strip = strip::<R>(count, bytes);
            (strip, count - R * strip)
        }
    };
    let (mut first, mut starts) = ([0; R], [job.w; R]);
    for s in 0..R {
        (first[s], starts[s]) = match job.strips {
            Some(strips) => (s * job.rows() + rows.start, &strips[s][rows.start * job.row_bytes..]),
            None => {
                let row = rows.start + s * strip * size;
                (row, &job.w[row * job.row_bytes..])
            }
        };
    }
    for i in 0..strip + left_over.div_ceil(R) {
        let (mut numbers, mut w) = ([0; R], [job.w; R]);
        for s in 0..R {
            // Past the strips' ends what is left over, R neighbours a turn.
            let (of, at) = if i < strip { (s, i) } else { (0, (R * i + s).min(count - 1)) };
            numbers[s] = first[of] + at * size;
            w[s] = &starts[of][at * bytes..][..bytes];
        }
        // One call for all cases, so that the body is compiled once and in place.
        turn(numbers, w);
    }
}

/// Asks for the lines that `bytes` are followed by at some distance, where R rows of blocks of so many bytes are read side by side. An address past the end does nothing.
#[inline(always)]
pub fn prefetch<const R: usize>(bytes: &[u8], block: usize) {
    lines::<R>(bytes.as_ptr().wrapping_add(ahead(R, block)), 0..bytes.len().div_ceil(64));
}

/// The same for one part of some: where a row stands by itself, a few lines with each block are asked for faster than many at once.
#[inline(always)]
pub fn prefetch_part<const R: usize>(bytes: &[u8], block: usize, part: usize, parts: usize) {
    let lines = bytes.len().div_ceil(64);
    self::lines::<R>(bytes.as_ptr().wrapping_add(ahead(R, block)), lines * part / parts..lines * (part + 1) / parts);
}

/// Asks for some of the lines from an address on, of one of R rows.
#[inline(always)]
pub fn lines<const R: usize>(from: *const u8, lines: Range<usize>) {
    for line in lines {
        let at = from.wrapping_add(64 * line);
        if R == 1 { ask::<_MM_HINT_NTA>(at) } else { ask::<_MM_HINT_T0>(at) }
    }
}

/// How far ahead is asked for, in bytes, where so many rows of blocks of `block` bytes are read side by side.
#[inline(always)]
pub const fn ahead(rows: usize, block: usize) -> usize {
    match (rows, block) {
        // Of 256 columns; Q8_0; of 32 columns and less, and floats.
        (1, 64..) => 12 << 10,
        (1, 33..) => 8 << 10,
        (1, _) => 12 << 10,
        _ => 3 << 10,
    }
}

/// Asks for what a job begins with, as far as is then asked [`ahead`]. Where the job goes on where the thread's last one ended, it is on its way already.
#[inline(always)]
pub fn begin(job: &Job<'_>, ahead: usize) {
    for line in 0..ahead.min(job.w.len()).div_ceil(64) {
        ask::<_MM_HINT_T0>(job.w.as_ptr().wrapping_add(64 * line));
    }
}

/// Asks for the line at an address, be it what it may: to read it, or with `_MM_HINT_ET0` to write to it.
#[inline(always)]
pub fn ask<const HINT: i32>(at: *const u8) {
    // SAFETY: part of every x86-64; whatever the address, this reads nothing that the program could see, and cannot fault.
    unsafe { _mm_prefetch::<HINT>(at.cast()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_do_not_come_to_a_pages_end_together() {
        // Rows of Q4_K, Q6_K, Q8_0 and Q4_0 of 2048, 3072 and 8192 columns, in matrices of many sizes.
        for bytes in [1152, 1680, 2176, 1728, 2520, 3264, 4608, 6720, 8704] {
            for rows in [2048, 3072, 8192, 16384, 128_256] {
                let strip = strip::<4>(rows, bytes);
                assert!(strip <= rows / 4 && strip >= rows / 4 - 64, "{strip} of {rows} rows");
                let mut places: Vec<_> = (0..4).map(|s| s * strip * bytes % PAGE).collect();
                places.sort_unstable();
                places.push(places[0] + PAGE);
                assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 256), "{rows} rows of {bytes}: {places:?}");
            }
        }
        // Rows of whole pages are where they are; few rows stay together; one place is all there is.
        assert_eq!((strip::<4>(4096, PAGE), strip::<4>(30, 1152), strip::<1>(100, 1152)), (1024, 7, 100));
    }
}
