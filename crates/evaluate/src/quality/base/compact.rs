//! The compact base: of each position the likeliest tokens, how much all the others have together, and some of those drawn at random.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `nibbleKB` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | tokens of a chunk, n |
//! | 16 | 4 | tokens of the vocabulary, V |
//! | 20 | 4 | chunks, C |
//! | 24 | 4 | entries of a row at most |
//! | 28 | 4 | f32: no more tokens are kept once the rest has no more than this, and none of it is drawn |
//! | 32 | 4 n C | the text's tokens |
//! | | | for each chunk: u64 bytes of its rows; n - 1 - n / 2 rows, those after tokens n / 2 .. n - 2 |
//!
//! A row: f32 step, f32 lowest, f32 the rest's probability, f32 log p of the token that comes next, u16 tokens kept k, u16 tokens drawn s, u16 bytes of all
//! ids; k codes of 16 bits, log p = step * code + lowest; s codes, log p = -code / 2048; the ids of the kept, ascending, each as its distance from the one before (the
//! first from -1), less one; those of the drawn, ascending, each as its distance from the one before (the first from 0). Distances are in 7-bit groups, the lowest first.
//!
//! # What this does to a divergence
//!
//! Let T be the tokens that are not kept and P what the reference gives them together. The divergence is
//!
//! KL = sum over the kept of p log(p / q) + P times the mean of log(p / q) over T, each token of T by its p / P.
//!
//! The first part is exact but for rounding. The tokens drawn are drawn from T by p / P, at even distances of its running sum from a random beginning, so the mean of log(p / q) over them has
//! the second mean as its expectation: the divergence is neither too large nor too small on average, whatever the model. The values' own variance v gives the standard error,
//! P sqrt(v / s) for one position (even distances make it smaller, never larger than that by much), and sqrt(sum of their squares) / n for the mean of n positions, which is
//! reported beside it; twice that bounds the error in 19 cases of 20. With 25,000 positions it is some hundred times smaller than the mean itself. The same tokens are drawn for every model, so
//! that two models compared beside one base share most of it.
//!
//! There is no useful bound that holds for certain: what is kept says nothing of how the rest of p lies to the rest of q. Below, though, there is one: counting all of T as one token
//! gives never more than KL (the log sum inequality), and that is what is used where the rest is too little to draw from.
//!
//! The codes of the kept round log p by half a step, half of (largest kept - smallest kept) / 65535, about 1e-4; those of the drawn by 1 / 4096. P is taken as one minus the sum of the
//! rounded, so that it is the divergence of a true distribution.
//! The tests hold all this against the whole divergence.

use std::ops::Range;

use nibble_engine::logits::{Row, ln};
use nibble_kernels::ops::exp;

use super::{BaseFault, Codec, Head, Versus, counts, float, half_word, number, tokens};
use crate::quality::rng::Rng;

pub static CODEC: Codec = Codec { name: "compact", magic: b"nibbleKB", head, parse, rows, encode, versus, framed: true, drawn: true };

const VERSION: u32 = 1;
const HEAD: usize = 32;
const ROW: usize = 22;
/// Drawn tokens at most: a quarter of the entries, and no more than this.
const DRAWN: usize = 64;
/// Codes of a drawn token's log-probability in one nat.
const FINE: f32 = 2048.0;
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

/// Tokens kept, tokens drawn, and bytes of ids.
fn sizes(row: &[u8]) -> (usize, usize, usize) {
    let [kept, drawn, ids] = [16, 18, 20].map(|at| usize::from(half_word(row, at)));
    (kept, drawn, ids)
}

/// The bytes of a row that begins at the beginning of these.
fn row_len(bytes: &[u8]) -> Option<usize> {
    let (kept, drawn, ids) = sizes(bytes.get(..ROW)?);
    let len = ROW + 2 * (kept + drawn) + ids;
    (len <= bytes.len()).then_some(len)
}

fn rows<'a>(head: &Head, mut bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, BaseFault> {
    let mut rows = vec![];
    for row in 0..head.scored() {
        let fault = |what| BaseFault::Row { row, what };
        let len = row_len(bytes).ok_or_else(|| fault("it is longer than what is left of the chunk"))?;
        let (one, rest) = bytes.split_at(len);
        let [step, lowest, left, next] = [0, 4, 8, 12].map(|at| float(one, at));
        if !(step >= 0.0 && step.is_finite() && lowest.is_finite() && lowest <= 1e-3 && next <= 1e-3 && (0.0..=1.0).contains(&left)) {
            return Err(fault("a number in its head cannot be"));
        }
        let (kept, drawn, _) = sizes(one);
        let mut ids = Ids::new(&one[ROW + 2 * (kept + drawn)..]);
        let good = |ids: &mut Ids, count: usize| (0..count).all(|_| ids.next().is_some_and(|id| (id as usize) < head.vocab));
        if kept == 0 || !good(&mut ids, kept) || !good(ids.drawn(), drawn) {
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
    /// What a distance is counted from.
    from: u64,
    /// No id stands twice, and a distance is one less.
    apart: u64,
}

impl<'a> Ids<'a> {
    fn new(bytes: &'a [u8]) -> Ids<'a> {
        Ids { bytes, from: 0, apart: 1 }
    }

    /// The ids of the drawn follow.
    fn drawn(&mut self) -> &mut Ids<'a> {
        (self.from, self.apart) = (0, 0);
        self
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
        self.from = u64::from(id) + self.apart;
        Some(id)
    }
}

/// A distance in groups of 7 bits.
fn put(mut gap: u32, out: &mut Vec<u8>) {
    while gap >= 0x80 {
        out.push(gap as u8 | 0x80);
        gap >>= 7;
    }
    out.push(gap as u8);
}

fn encode(head: &Head, logits: &[f32], row: &Row, next: u32, out: &mut Vec<u8>) {
    let mut kept: Vec<(f32, u32)> = logits.iter().zip(0..).filter(|(x, _)| x.is_finite()).map(|(&x, id)| (x, id)).collect();
    let possible = kept.len();
    // Equal logits by their ids, so that the choice is the same everywhere.
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let draws = (head.most / 4).clamp(1, DRAWN);
    let most = (head.most - draws).clamp(1, possible);
    if most < possible {
        kept.select_nth_unstable_by(most, order);
        kept.truncate(most);
    }
    kept.sort_unstable_by(order);
    let mut left = row.sum;
    let enough = kept.iter().position(|&(x, _)| {
        left -= f64::from(exp(x - row.max));
        left <= f64::from(head.rest) * row.sum
    });
    kept.truncate(enough.map_or(most, |last| last + 1));
    let (highest, lowest) = (row.log_prob(row.max) as f32, row.log_prob(kept[kept.len() - 1].0) as f32);
    let step = (highest - lowest) / 65535.0;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    kept.sort_unstable_by_key(|&(_, id)| id);
    let codes: Vec<u16> = kept.iter().map(|&(x, _)| (inverse * (row.log_prob(x) as f32 - lowest)).round_ties_even() as u16).collect();
    let rounded: f64 = codes.iter().map(|&code| f64::from(exp(step * f32::from(code) + lowest))).sum();
    let rest = if kept.len() == possible { 0.0 } else { (1.0 - rounded).clamp(0.0, 1.0) as f32 };
    let drawn = if enough.is_some() { vec![] } else { draw(logits, row, &kept, draws, next) };
    let fine = |id: u32| (-FINE * row.log_prob(logits[id as usize]) as f32).round_ties_even() as u16;
    let mut ids = vec![];
    let mut from = 0;
    for &(_, id) in &kept {
        put(id - from, &mut ids);
        from = id + 1;
    }
    from = 0;
    for &id in &drawn {
        put(id - from, &mut ids);
        from = id;
    }
    for x in [step, lowest, rest, row.log_prob(logits[next as usize]) as f32] {
        out.extend(x.to_le_bytes());
    }
    for n in [codes.len(), drawn.len(), ids.len()] {
        out.extend((n as u16).to_le_bytes());
    }
    out.extend(codes.into_iter().chain(drawn.into_iter().map(fine)).flat_map(u16::to_le_bytes));
    out.extend(ids);
}

/// Draws from the tokens that are not kept (`kept` ascends by id), each by its probability: ascending ids, a likely one several times.
fn draw(logits: &[f32], row: &Row, kept: &[(f32, u32)], draws: usize, next: u32) -> Vec<u32> {
    let mut rest = vec![];
    let mut kept = kept.iter().map(|&(_, id)| id).peekable();
    let mut sum = 0.0;
    for (id, &x) in (0..).zip(logits) {
        if kept.next_if_eq(&id).is_none() {
            sum += f64::from(exp(x - row.max));
            rest.push((sum, id));
        }
    }
    // The beginning follows from the row, so that a base has the same bytes wherever it is made.
    let begin = (Rng::new(row.sum.to_bits() ^ u64::from(next)).next() >> 11) as f64 / (1u64 << 53) as f64;
    let mut rest = rest.into_iter().peekable();
    let place = |j: usize| (j as f64 + begin) * sum / draws as f64;
    let drawn = (0..draws).map_while(|j| {
        while rest.next_if(|&(up_to, _)| up_to <= place(j)).is_some() {}
        rest.peek().map(|&(_, id)| id)
    });
    if sum > 0.0 { drawn.collect() } else { vec![] }
}

fn versus(bytes: &[u8], logits: &[f32], row: &Row, _next: u32) -> Versus {
    let (step, lowest, rest, next) = (float(bytes, 0), float(bytes, 4), f64::from(float(bytes, 8)), float(bytes, 12));
    let (count, draws, _) = sizes(bytes);
    let (codes, ids) = bytes[ROW..].split_at(2 * (count + draws));
    let (kept, drawn) = codes.split_at(2 * count);
    let mut ids = Ids::new(ids);
    let (mut kl, mut q_kept, mut most, mut top) = (0.0, 0.0, 0, 0);
    for (i, (code, id)) in kept.as_chunks().0.iter().zip(&mut ids).enumerate() {
        let (code, id) = (u16::from_le_bytes(*code), id as usize);
        if i == 0 || code > most {
            (most, top) = (code, id);
        }
        let log_p = step * f32::from(code) + lowest;
        kl += f64::from(exp(log_p)) * (f64::from(log_p) - row.log_prob(logits[id]));
        q_kept += f64::from(exp(logits[id] - row.max));
    }
    let (mut sum, mut squares) = (0.0, 0.0);
    for (code, id) in drawn.as_chunks().0.iter().zip(ids.drawn()) {
        let log_p = f64::from(u16::from_le_bytes(*code)) / -f64::from(FINE);
        let x = log_p - row.log_prob(logits[id as usize]);
        (sum, squares) = (sum + x, squares + x * x);
    }
    let mut error = 0.0;
    if draws > 0 {
        let (mean, n) = (sum / draws as f64, draws as f64);
        kl += rest * mean;
        // One alone says nothing of the others: a nat, more than models differ by in one token.
        let variance = if draws > 1 { ((squares - n * mean * mean) / (n - 1.0)).max(0.0) } else { 1.0 };
        error = rest * (variance / n).sqrt();
    } else if rest > 0.0 {
        // The difference of two sums may have rounded to nothing.
        let q_rest = (row.sum - q_kept).max(row.sum * f64::EPSILON);
        kl += rest * (ln(rest) - (ln(q_rest) - row.log_sum));
    }
    Versus { nll_base: -f64::from(next), kl, error, same_top: top == row.top }
}
