//! Attention over the cache, for a block of tokens at once or, for one token, cut among threads by position.
//!
//! ```text
//! for each query head and token: s = scale * q · keys[first ..= own position];  p = softmax(s);  out = p · values
//! ```
//! The query heads of a group share a key-value head, and the tokens of a batch share its positions. So the unit of work is a key-value head and a block
//! of tokens: each stride of keys (and later of values) is turned into floats once and used for all rows, that is tokens times heads of the group.
//! (Halves that few rows meet, as one token's, stay halves until they are multiplied: [`Head::read`].)
//!
//! A row's scores are kept whole, from the first position to its own, because its softmax is computed as for one token alone: greatest, exponentials,
//! their sum in sixteen lanes, quotients. (One that goes along with the positions would need no scores, and would round otherwise.) They are the
//! only memory that grows with the context: [`SCORES`] floats a thread, or one token's where its heads of the group need more. A block is as
//! many tokens as fit. No row depends on its block, so neither does any bit.

use crate::arch::LayerSpec;
use crate::cache::{Head, Layout, STEP, Side};
use crate::pool::Pool;
use nibble_kernels::ops::{self, Shape};
use std::cell::RefCell;
use std::ops::Range;

/// Positions that are read at once, and as floats take 16 KiB for heads of 128.
const STRIDE: usize = 32;
const _: () = assert!(STEP.is_multiple_of(STRIDE), "a stride lies in one chunk");

/// Rows that share a stride: with more, turning it into floats is a small part of the work already.
const ROWS: usize = 32;

/// Scores that a thread keeps, in floats: 1 MiB, which a second-level cache holds.
const SCORES: usize = 1 << 18;

/// From this many positions on, one token's attention may be cut among threads by position: below, the barriers cost more.
const LONG: usize = 1024;

thread_local! {
    /// A thread's own buffer, kept because a fresh large one costs page faults each time.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Tokens of a block when `end` positions have been filled.
pub(crate) fn block(spec: &LayerSpec, end: usize) -> usize {
    let heads = spec.heads / spec.kv_heads;
    (ROWS / heads).min(SCORES / (heads * positions(spec, end - 1).len())).max(1)
}

/// Floats that attention keeps in all threads together, at most: whatever the context, and for each of its tokens (one row of scores is kept whole).
pub(crate) fn most_floats(spec: &LayerSpec, threads: usize) -> (usize, usize) {
    let heads = spec.heads / spec.kv_heads;
    (threads * (SCORES + (2 * ROWS.max(heads) + STRIDE) * spec.head_dim.next_multiple_of(16)), threads * heads)
}

/// What the token at position `own` sees.
fn positions(spec: &LayerSpec, own: usize) -> Range<usize> {
    spec.window.map_or(0, |w| (own + 1).saturating_sub(w))..own + 1
}

/// The strides of a range of positions: none crosses a chunk.
fn strides(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    (range.start / STRIDE * STRIDE..range.end).step_by(STRIDE).map(move |at| at.max(range.start)..(at + STRIDE).min(range.end))
}

/// What two ranges share; where that is nothing, an empty range within the first.
fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start).min(a.end);
    start..a.end.min(b.end).max(start)
}

/// Runs of tokens, by their rows, that see the same positions, and those. A token has `heads` rows; `seen` says what a row sees.
fn alike(rows: usize, heads: usize, seen: impl Fn(usize) -> Range<usize>) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let mut end = 0;
    std::iter::from_fn(move || {
        let (start, same) = (end, (end < rows).then(|| seen(end))?);
        while end < rows && seen(end) == same {
            end += heads;
        }
        Some((start..end, same))
    })
}

/// Cuts `count` floats off the front of a buffer.
fn take<'a>(buffer: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    let (front, rest) = std::mem::take(buffer).split_at_mut(count);
    *buffer = rest;
    front
}

/// The query rows padded to `width`, and rounded as the cache wants them.
fn queries(layout: &Layout, q: &[f32], hd: usize, out: &mut [f32]) {
    out.fill(0.0);
    let width = hd.next_multiple_of(16);
    q.chunks_exact(hd).zip(out.chunks_exact_mut(width)).for_each(|(q, out)| out[..hd].copy_from_slice(q));
    layout.round(out);
}

/// Attention of a block of tokens, the first at position `pos`, for the query heads that share one key-value head: `q` and `out` are [tokens, heads of
/// the group, head_dim].
pub(crate) fn attend(spec: &LayerSpec, head: &Head, q: &[f32], pos: usize, out: &mut [f32]) {
    let (hd, heads) = (spec.head_dim, spec.heads / spec.kv_heads);
    let (rows, width, loops) = (q.len() / hd, hd.next_multiple_of(16), head.layout.loops);
    let all = positions(spec, pos).start..pos + rows / heads;
    let seen = |row: usize| positions(spec, pos + row / heads);
    let n = all.len();
    let shape = Shape { width, stride: n };
    SCRATCH.with_borrow_mut(|scratch| {
        let len = rows * (n + 2 * width) + STRIDE * width;
        scratch.resize(len.max(scratch.len()), 0.0);
        let mut rest = &mut scratch[..len];
        let scores = take(&mut rest, rows * n);
        let (own, sums, buffer) = (take(&mut rest, rows * width), take(&mut rest, rows * width), rest);
        queries(&head.layout, q, hd, own);
        for stride in strides(all.clone()) {
            let next = if stride.end < all.end { (Side::Keys, stride.end) } else { (Side::Values, all.start) };
            let keys = head.read(Side::Keys, stride.clone(), 0..hd, Some(next), rows, buffer);
            for (some, part) in alike(rows, heads, |row| common(&stride, &seen(row))) {
                let keys = keys.part((part.start - stride.start) * width..(part.end - stride.start) * width);
                let scores = &mut scores[some.start * n + part.start - all.start..];
                loops.dots(&own[some.start * width..some.end * width], keys, shape, spec.scale, scores);
            }
        }
        for (row, scores) in scores.chunks_exact_mut(n).enumerate() {
            let seen = seen(row);
            let scores = &mut scores[seen.start - all.start..][..seen.len()];
            ops::softmax(scores);
            head.layout.round(scores);
        }
        sums.fill(0.0);
        for stride in strides(all.clone()) {
            let next = (stride.end < all.end).then_some((Side::Values, stride.end));
            let values = head.read(Side::Values, stride.clone(), 0..hd, next, rows, buffer);
            for (some, part) in alike(rows, heads, |row| common(&stride, &seen(row))) {
                let values = values.part((part.start - stride.start) * width..(part.end - stride.start) * width);
                let scores = &scores[some.start * n + part.start - all.start..];
                loops.mix(scores, values, shape, &mut sums[some.start * width..some.end * width]);
            }
        }
        out.chunks_exact_mut(hd).zip(sums.chunks_exact(width)).for_each(|(out, sum)| out.copy_from_slice(&sum[..hd]));
    });
}

/// Whether one token's attention is worth cutting further than by key-value head.
pub(crate) fn worth_cutting(spec: &LayerSpec, own: usize, pool: &Pool) -> bool {
    // With four heads a thread or more, the threads end at about the same time.
    pool.threads() > 1 && spec.kv_heads < 4 * pool.threads() && positions(spec, own).len() >= LONG
}

/// Attention of one token, whose key and value are in the cache already, on all threads: scores by ranges of positions, softmax by head, values by ranges of a
/// head's elements. `q` and `out` are [heads, head_dim]. `scores` and `strips` are kept between calls.
pub(crate) fn attend_cut(
    spec: &LayerSpec,
    pool: &Pool,
    layout: Layout,
    q: &[f32],
    own: usize,
    out: &mut [f32],
    (scores, strips): (&mut Vec<f32>, &mut Vec<f32>),
) {
    let (hd, heads) = (spec.head_dim, spec.heads / spec.kv_heads);
    let (width, loops) = (hd.next_multiple_of(16), layout.loops);
    let all = positions(spec, own);
    let n = all.len();
    let (first, range) = (all.start / STEP, STEP);
    let ranges = all.end.div_ceil(range) - first;
    let piece = |i: usize| common(&all, &((first + i) * range..(first + i + 1) * range));

    // [kv_head][range][heads of the group][positions of the range]
    scores.resize(spec.heads * n, 0.0);
    let ends: Vec<usize> = (0..spec.kv_heads * ranges).map(|i| heads * (i / ranges * n + piece(i % ranges).end - all.start)).collect();
    pool.parts(scores, &ends, |i, scores| {
        let (h, piece) = (i / ranges, piece(i % ranges));
        let head = layout.head(h, &[]);
        SCRATCH.with_borrow_mut(|scratch| {
            let len = (heads + STRIDE) * width;
            scratch.resize(len.max(scratch.len()), 0.0);
            let (own, buffer) = scratch[..len].split_at_mut(heads * width);
            queries(&layout, &q[h * heads * hd..][..heads * hd], hd, own);
            for stride in strides(piece.clone()) {
                let keys = head.read(Side::Keys, stride.clone(), 0..hd, Some((Side::Keys, stride.end)), heads, buffer);
                loops.dots(own, keys, Shape { width, stride: piece.len() }, spec.scale, &mut scores[stride.start - piece.start..]);
            }
        });
    });

    // [heads][positions]: each head's pieces brought together, for the softmax runs over them in one order.
    let pieces = &*scores;
    let len = spec.heads * n;
    let strip = if spec.kv_heads * hd.div_ceil(64) >= 2 * pool.threads() { 64 } else { 32 };
    let per_head = hd.div_ceil(strip);
    strips.resize(len + spec.heads * per_head * strip, 0.0);
    let (p, sums) = strips.split_at_mut(len);
    pool.chunks(p, n, |row, p| {
        let (h, r) = (row / heads, row % heads);
        for i in 0..ranges {
            let piece = piece(i);
            let from = heads * (h * n + piece.start - all.start) + r * piece.len();
            p[piece.start - all.start..][..piece.len()].copy_from_slice(&pieces[from..][..piece.len()]);
        }
        ops::softmax(p);
        layout.round(p);
    });

    // [kv_head][strip], and in each [heads of the group][elements of the strip, to a multiple of 16]
    let p = &*p;
    pool.chunks(sums, heads * strip, |i, sums| {
        let (h, cols) = (i / per_head, i % per_head * strip..(i % per_head * strip + strip).min(hd));
        let width = cols.len().next_multiple_of(16);
        let head = layout.head(h, &[]);
        sums.fill(0.0);
        SCRATCH.with_borrow_mut(|buffer| {
            buffer.resize((STRIDE * width).max(buffer.len()), 0.0);
            for stride in strides(all.clone()) {
                let next = Some((Side::Values, stride.end));
                let values = head.read(Side::Values, stride.clone(), cols.clone(), next, heads, buffer);
                let p = &p[h * heads * n + stride.start - all.start..];
                loops.mix(p, values, Shape { width, stride: n }, &mut sums[..heads * width]);
            }
        });
    });
    for (row, out) in out.chunks_exact_mut(hd).enumerate() {
        let (h, r) = (row / heads, row % heads);
        for (s, out) in out.chunks_mut(strip).enumerate() {
            let at = (h * per_head + s) * heads * strip + r * out.len().next_multiple_of(16);
            out.copy_from_slice(&sums[at..at + out.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Activation, Biases};
    use crate::cache::{KvType, LayerCache};
    use nibble_kernels::Isa;
    use nibble_kernels::ops::{Attention, Positions};

    #[test]
    fn strides_cover_a_range_and_stay_in_chunks() {
        for range in [0..1, 5..6, 0..32, 31..33, 250..300, 7..1000] {
            let all: Vec<usize> = strides(range.clone()).flatten().collect();
            assert_eq!(all, range.clone().collect::<Vec<_>>());
            assert!(strides(range).all(|s| s.start / STEP == (s.end - 1) / STEP && s.len() <= STRIDE));
        }
    }

    fn spec(heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>) -> LayerSpec {
        let (biases, activation) = (Biases::default(), Activation::SwiGlu);
        LayerSpec { heads, kv_heads, head_dim, ffn: 0, eps: 0.0, scale: 0.3, rope: None, window, biases, activation }
    }

    /// Numbers that look random, of either sign, a few of them large: softmax must not be even.
    fn number(seed: usize) -> f32 {
        let x = (seed as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
        ((x >> 8) as f32 / (1 << 23) as f32 - 1.0) * if x.is_multiple_of(61) { 9.0 } else { 1.5 }
    }

    fn filled(spec: &LayerSpec, kv: KvType, loops: Attention, positions: usize) -> LayerCache {
        let mut cache = LayerCache::new(kv, loops, spec.kv_heads, spec.head_dim);
        cache.reserve(positions);
        let bytes = cache.head_bytes();
        for p in 0..positions {
            let (layout, chunk) = cache.split_mut(p);
            for (h, own) in chunk.chunks_exact_mut(bytes).enumerate() {
                for part in [Side::Keys, Side::Values] {
                    let row: Vec<f32> = (0..spec.head_dim).map(|d| number(((p * 7 + h) * 2 + part as usize) * 509 + d)).collect();
                    layout.write(own, part, p, &row);
                }
            }
        }
        cache
    }

    /// As the formula says, position by position, with the plain operations.
    fn plain(spec: &LayerSpec, layout: Layout, q: &[f32], own: usize) -> Vec<f32> {
        let (hd, heads) = (spec.head_dim, spec.heads / spec.kv_heads);
        let mut buffer = vec![0.0; hd.next_multiple_of(16)];
        let mut out = vec![0.0; q.len()];
        for (i, (q, out)) in q.chunks(hd).zip(out.chunks_mut(hd)).enumerate() {
            let head = layout.head(i / heads, &[]);
            let mut q = q.to_vec();
            layout.round(&mut q);
            let mut row = |part, p| match head.read(part, p..p + 1, 0..hd, None, usize::MAX, &mut buffer) {
                Positions::Floats(row) => row[..hd].to_vec(),
                Positions::Halves(..) => panic!("for many rows"),
            };
            let mut scores: Vec<f32> = positions(spec, own).map(|p| ops::dot(&q, &row(Side::Keys, p)) * spec.scale).collect();
            ops::softmax(&mut scores);
            layout.round(&mut scores);
            positions(spec, own).zip(&scores).for_each(|(p, &s)| ops::axpy(s, &row(Side::Values, p), out));
        }
        out
    }

    /// Blocks, single tokens and tokens cut among threads: the same bits as the plain formula on every instruction set, whatever the type of the cache.
    #[test]
    fn every_way_gives_the_bits_of_the_plain_formula() {
        let emulated = std::env::var_os("NIBBLE_EMULATED").is_some();
        let shapes =
            [(6, 2, 32, None), (8, 1, 64, Some(300)), (3, 3, 96, None), (4, 2, 128, Some(40)), (4, 2, 32, Some(5)), (5, 1, 20, None)];
        for (heads, kv_heads, hd, window) in shapes {
            let spec = spec(heads, kv_heads, hd, window);
            for kv in KvType::all().filter(|kv| kv.row_bytes(hd).is_some()) {
                for loops in Isa::ALL.iter().filter_map(|&isa| Attention::with(isa)) {
                    let tokens = if emulated { 3 } else { 13 };
                    let (pos, group) = (STEP - 5, heads / kv_heads * hd);
                    let cache = filled(&spec, kv, loops, pos + tokens);
                    let q: Vec<f32> = (0..tokens * heads * hd).map(|i| number(i + 77)).collect();
                    let what = format!("{heads} heads of {hd} on {kv_heads}, {window:?}, {kv:?}, {:?}", loops.isa());
                    for t in 0..tokens {
                        let (q, mut out) = (&q[t * heads * hd..][..heads * hd], vec![f32::NAN; heads * hd]);
                        let expected = plain(&spec, cache.layout(), q, pos + t);
                        let pool = Pool::new(3, &[]);
                        let buffers = (&mut vec![], &mut vec![]);
                        attend_cut(&spec, &pool, cache.layout(), q, pos + t, &mut out, buffers);
                        assert!(out == expected, "cut, token {t}: {what}");
                        for h in 0..kv_heads {
                            let own = h * group..(h + 1) * group;
                            attend(&spec, &cache.layout().head(h, &[]), &q[own.clone()], pos + t, &mut out[own]);
                        }
                        assert!(out == expected, "alone, token {t}: {what}");
                    }
                    for h in 0..kv_heads {
                        let of = |t: usize| (t * heads * hd + h * group)..(t * heads * hd + (h + 1) * group);
                        let rows: Vec<f32> = (0..tokens).flat_map(|t| q[of(t)].iter().copied()).collect();
                        let mut out = vec![f32::NAN; rows.len()];
                        attend(&spec, &cache.layout().head(h, &[]), &rows, pos, &mut out);
                        for (t, out) in out.chunks(group).enumerate() {
                            let expected = plain(&spec, cache.layout(), &q[t * heads * hd..][..heads * hd], pos + t);
                            assert!(*out == expected[h * group..][..group], "block, token {t}: {what}");
                        }
                    }
                }
            }
        }
    }

    /// A block's scores are bounded whatever the context, and one token's row is always taken.
    #[test]
    fn a_block_is_as_many_tokens_as_fit() {
        let of = |heads, kv_heads, end| block(&spec(heads, kv_heads, 64, None), end);
        assert_eq!((of(32, 8, 100), of(32, 8, 4096), of(32, 8, 1 << 17), of(64, 1, 100)), (8, 8, 1, 1));
        for end in [1, 5000, 20_000, 100_000] {
            assert!(of(32, 8, end) == 1 || of(32, 8, end) * 4 * end <= SCORES);
        }
        assert_eq!(block(&spec(32, 8, 64, Some(512)), 1 << 20), 8);
    }
}
