//! The compact base: of each position the likeliest tokens, and how much all the others have together.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `nibbleKB` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | tokens of a chunk, n |
//! | 16 | 4 | tokens of the vocabulary, V |
//! | 20 | 4 | chunks, C |
//! | 24 | 4 | tokens kept of a row at most |
//! | 28 | 4 | f32: no more are kept once the rest has no more than this |
//! | 32 | 4 n C | the text's tokens |
//! | | | for each chunk: u64 bytes of its rows; n - 1 - n / 2 rows, those after tokens n / 2 .. n - 2 |
//!
//! A row: f32 step, f32 lowest, f32 the rest's probability, f32 log p of the token that comes next, u16 number of tokens k, u16 bytes of their ids; k codes of 16 bits, log p =
//! step * code + lowest; k ids, ascending, each as its distance from the one before (the first from -1), less one, in 7-bit groups, the lowest first.
//!
//! # What this does to a divergence
//!
//! Let T be the tokens that are not kept, P and Q what the two models give them together, c the least probability that was kept. The file gives
//!
//! KL' = sum over the kept of p log(p / q) + P log(P / Q),
//!
//! the divergence of the two models when all of T counts as one token. By the log sum inequality KL' <= KL. What is missing is P times the divergence
//! within T. There, no p is above c, and no q below the least q of T, q0, so
//!
//! 0 <= KL - KL' <= P log(c / q0) - P log(P / Q).
//!
//! The model that is evaluated gives all its q, so the bound is computed for each position and its mean is reported beside the mean of KL'. It is a bound
//! for the worst that T could hold; where T is spread in the two models alike, nearly nothing is missing.
//! The tests hold both against the whole divergence.
//!
//! The codes round log p by half a step, which is half of (largest kept - smallest kept) / 65535: about 1e-4. P is then taken as one minus the sum of the rounded, so that
//! it is the divergence of a true distribution, whose logarithms are off by that half step: to first order sum of p d log(p / q) with |d| <= 1e-4.

use std::ops::Range;

use nibble_kernels::ops::exp;

use super::{BaseFault, Codec, Head, Versus, counts, float, half_word, number, tokens};
use crate::quality::softmax::{Row, ln};

pub static CODEC: Codec = Codec { name: "compact", magic: b"nibbleKB", head, parse, rows, encode, versus, framed: true, rest: true };

const VERSION: u32 = 1;
const HEAD: usize = 32;
const ROW: usize = 20;
/// Bytes of a chunk's length.
const FRAME: usize = 8;

fn head(head: &Head) -> Vec<u8> {
    let mut out = CODEC.magic.to_vec();
    for n in [VERSION, head.context as u32, head.vocab as u32, head.chunks() as u32, head.most as u32, head.rest.to_bits()] {
        out.extend(n.to_le_bytes());
    }
    head.tokens.iter().for_each(|id| out.extend(id.to_le_bytes()));
    out
}

fn parse(bytes: &[u8]) -> Result<(Head, Vec<Range<usize>>), BaseFault> {
    let (context, vocab, count) = counts(bytes, [12, 16, 20], HEAD)?;
    let version = number(bytes, 8);
    if version != VERSION {
        return Err(BaseFault::Version { found: version, expected: VERSION });
    }
    let (most, rest) = (number(bytes, 24), float(bytes, 28));
    if most == 0 || most > u32::from(u16::MAX) {
        return Err(BaseFault::Number { what: "the number of tokens kept", found: i64::from(most) });
    }
    let tokens = tokens(bytes, HEAD, context * count, vocab)?;
    let head = Head { context, vocab, tokens, most: most as usize, rest };
    let mut at = HEAD + 4 * context * count;
    let mut chunks = vec![];
    for chunks_before in 0..count {
        let truncated = |expected| BaseFault::Truncated { found: bytes.len() as u64, expected, chunks: chunks_before, of: count };
        let Some(frame) = bytes.get(at..at + FRAME) else { return Err(truncated((at + FRAME) as u64)) };
        let len = u64::from(number(frame, 0)) | u64::from(number(frame, 4)) << 32;
        at += FRAME;
        if len > (bytes.len() - at) as u64 {
            return Err(truncated((at as u64).saturating_add(len)));
        }
        chunks.push(at..at + len as usize);
        at += len as usize;
    }
    match bytes.len() - at {
        0 => Ok((head, chunks)),
        more => Err(BaseFault::Trailing(more as u64)),
    }
}

/// The bytes of a row that begins at the beginning of these.
fn row_len(bytes: &[u8]) -> Option<usize> {
    let len = ROW + 2 * usize::from(half_word(bytes.get(..ROW)?, 16)) + usize::from(half_word(bytes, 18));
    (len <= bytes.len()).then_some(len)
}

fn rows<'a>(head: &Head, mut bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, BaseFault> {
    let mut rows = vec![];
    for row in 0..head.scored() {
        let fault = |what| BaseFault::Row { row, what };
        let len = row_len(bytes).ok_or_else(|| fault("it is longer than what is left of the chunk"))?;
        let (one, rest) = bytes.split_at(len);
        let [step, lowest, left, next] = [0, 4, 8, 12].map(|at| float(one, at));
        if !(step >= 0.0 && step.is_finite() && lowest.is_finite() && lowest <= 0.0 && next <= 1e-3 && (0.0..=1.0).contains(&left)) {
            return Err(fault("a number in its head cannot be"));
        }
        let count = usize::from(half_word(one, 16));
        let mut ids = Ids::new(&one[ROW + 2 * count..]);
        if count == 0 || (0..count).any(|_| ids.next().is_none_or(|id| id as usize >= head.vocab)) {
            return Err(fault("its tokens are not below the vocabulary's size, or they end early"));
        }
        if !ids.bytes.is_empty() {
            return Err(fault("more tokens than log-probabilities"));
        }
        rows.push(one);
        bytes = rest;
    }
    match bytes.is_empty() {
        true => Ok(rows),
        false => Err(BaseFault::Row { row: head.scored(), what: "there are more rows than positions" }),
    }
}

/// Ascending ids from their distances.
struct Ids<'a> {
    bytes: &'a [u8],
    /// One more than the id before.
    from: u64,
}

impl<'a> Ids<'a> {
    fn new(bytes: &'a [u8]) -> Ids<'a> {
        Ids { bytes, from: 0 }
    }
}

impl Iterator for Ids<'_> {
    type Item = u32;
    fn next(&mut self) -> Option<u32> {
        let (mut gap, mut shift) = (0u64, 0);
        loop {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            gap |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
            shift += 7;
            if shift > 28 {
                return None;
            }
        }
        let id = u32::try_from(self.from + gap).ok()?;
        self.from = u64::from(id) + 1;
        Some(id)
    }
}

fn encode(head: &Head, logits: &[f32], row: &Row, next: u32, out: &mut Vec<u8>) {
    let mut kept: Vec<(f32, u32)> = logits.iter().zip(0..).map(|(&x, id)| (x, id)).collect();
    // Equal logits by their ids, so that the choice is the same everywhere.
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let most = head.most.min(kept.len());
    if most < kept.len() {
        kept.select_nth_unstable_by(most, order);
        kept.truncate(most);
    }
    kept.sort_unstable_by(order);
    let mut left = 1.0;
    let enough = kept.iter().position(|&(x, _)| {
        left -= row.log_prob(x).exp();
        left <= f64::from(head.rest)
    });
    kept.truncate(enough.map_or(most, |last| last + 1));
    // A logit of minus infinity has no place on the scale.
    let finite = kept.iter().take_while(|(x, _)| x.is_finite()).count();
    kept.truncate(finite);
    let (highest, lowest) = (row.log_prob(row.max) as f32, row.log_prob(kept[kept.len() - 1].0) as f32);
    let step = (highest - lowest) / 65535.0;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    kept.sort_unstable_by_key(|&(_, id)| id);
    let codes: Vec<u16> = kept.iter().map(|&(x, _)| (inverse * (row.log_prob(x) as f32 - lowest)).round_ties_even() as u16).collect();
    let rounded: f64 = codes.iter().map(|&code| f64::from(exp(step * f32::from(code) + lowest))).sum();
    let all = kept.len() == logits.iter().filter(|x| x.is_finite()).count();
    let rest = if all { 0.0 } else { (1.0 - rounded).clamp(0.0, 1.0) as f32 };
    let mut ids = vec![];
    let mut from = 0;
    for (_, id) in &kept {
        let mut gap = id - from;
        while gap >= 0x80 {
            ids.push(gap as u8 | 0x80);
            gap >>= 7;
        }
        ids.push(gap as u8);
        from = id + 1;
    }
    for x in [step, lowest, rest, row.log_prob(logits[next as usize]) as f32] {
        out.extend(x.to_le_bytes());
    }
    out.extend((codes.len() as u16).to_le_bytes());
    out.extend((ids.len() as u16).to_le_bytes());
    out.extend(codes.iter().flat_map(|code| code.to_le_bytes()));
    out.extend(ids);
}

fn versus(bytes: &[u8], logits: &[f32], row: &Row, _next: u32) -> Versus {
    let (step, lowest, rest, next) = (float(bytes, 0), float(bytes, 4), f64::from(float(bytes, 8)), float(bytes, 12));
    let count = usize::from(half_word(bytes, 16));
    let (codes, ids) = bytes[ROW..].split_at(2 * count);
    let (mut kl, mut q_kept, mut most, mut top, mut least) = (0.0, 0.0, 0, 0, f32::INFINITY);
    let mut from = 0;
    let below = |part: &[f32], least: f32| part.iter().fold(least, |m, &x| if x < m { x } else { m });
    for (i, (code, id)) in codes.as_chunks().0.iter().zip(Ids::new(ids)).enumerate() {
        let (code, id) = (u16::from_le_bytes(*code), id as usize);
        if i == 0 || code > most {
            (most, top) = (code, id);
        }
        let (log_p, log_q) = (step * f32::from(code) + lowest, row.log_prob(logits[id]));
        kl += f64::from(exp(log_p)) * (f64::from(log_p) - log_q);
        q_kept += f64::from(exp(logits[id] - row.max));
        least = below(&logits[from..id], least);
        from = id + 1;
    }
    least = below(&logits[from..], least);
    let mut bound = 0.0;
    if rest > 0.0 && least < f32::INFINITY {
        // What the model gives the rest is at least so much: the difference of two sums may have rounded to nothing.
        let floor = f64::from(exp(least - row.max)).max(f64::MIN_POSITIVE);
        let q_rest = (row.sum - q_kept).max(floor);
        let one = rest * (ln(rest) - (ln(q_rest) - row.log_sum));
        kl += one;
        bound = (rest * (f64::from(lowest) - row.log_prob(least)) - one).max(0.0);
    }
    Versus { nll_base: -f64::from(next), kl, rest: bound, same_top: top == row.top }
}
