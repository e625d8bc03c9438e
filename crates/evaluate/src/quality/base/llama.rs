//! llama-perplexity's base file (`--kl-divergence-base`).
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `_logits_` |
//! | 8 | 4 | tokens of a chunk, n |
//! | 12 | 4 | tokens of the vocabulary, V |
//! | 16 | 4 | chunks, C |
//! | 20 | 4 n C | the text's tokens; the first of each chunk as in the text, although BOS is fed in its place |
//! | | | for each chunk n - 1 - n / 2 rows, those after tokens n / 2 .. n - 2 |
//!
//! A row: f32 step, f32 lowest, V codes of 16 bits, and one more where V is odd. log p = step * code + lowest. Logits more than 16 below the
//! largest have code 0, so `lowest` says too much of them; they add to no divergence, because below log p = -16 nothing is counted.

use std::ops::Range;

use nibble_engine::logits::Row;
use nibble_kernels::ops::exp;

use super::{BaseFault, Codec, Head, Versus, counts, float, half_word, tokens};

pub static CODEC: Codec = Codec { name: "llama", magic: b"_logits_", head, parse, rows, encode, versus, framed: false, drawn: false };

const HEAD: usize = 20;
/// The range of logits that is kept, and the log-probability below which nothing is counted.
const RANGE: f32 = 16.0;

fn row_bytes(vocab: usize) -> usize {
    8 + 2 * vocab.next_multiple_of(2)
}

fn head(head: &Head) -> Vec<u8> {
    let mut out = CODEC.magic.to_vec();
    for n in [head.context, head.vocab, head.chunks()] {
        out.extend((n as u32).to_le_bytes());
    }
    head.tokens.iter().for_each(|id| out.extend(id.to_le_bytes()));
    out
}

fn parse(bytes: &[u8]) -> Result<(Head, Vec<Range<usize>>), BaseFault> {
    let (context, vocab, count) = counts(bytes, [8, 12, 16], HEAD)?;
    let head = Head::new(context, vocab, tokens(bytes, HEAD, context * count, vocab)?);
    let start = HEAD + 4 * context * count;
    // Cannot overflow: each factor is below 2^25, and the file holds as many tokens as there are positions.
    let chunk = head.scored() * row_bytes(vocab);
    let expected = start as u64 + chunk as u64 * count as u64;
    let found = bytes.len() as u64;
    if found < expected {
        let chunks = (bytes.len() - start) / chunk;
        return Err(BaseFault::Truncated { found, expected, chunks, of: count });
    }
    if found > expected {
        return Err(BaseFault::Trailing(found - expected));
    }
    Ok((head, (0..count).map(|i| start + i * chunk..start + (i + 1) * chunk).collect()))
}

fn rows<'a>(head: &Head, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, BaseFault> {
    let rows: Vec<&[u8]> = bytes.chunks_exact(row_bytes(head.vocab)).collect();
    match rows.iter().position(|row| !(float(row, 0).is_finite() && float(row, 0) >= 0.0 && float(row, 4).is_finite())) {
        Some(row) => Err(BaseFault::Row { row, what: "its step or its lowest log-probability is no number" }),
        None => Ok(rows),
    }
}

fn encode(head: &Head, logits: &[f32], row: &Row, _next: u32, out: &mut Vec<u8>) {
    let from = out.len();
    let lowest = logits.iter().fold(f32::INFINITY, |m, &x| if x < m { x } else { m }).max(row.max - RANGE);
    let step = (row.max - lowest) / 65535.0;
    out.extend(step.to_le_bytes());
    out.extend((lowest - row.max - row.log_sum as f32).to_le_bytes());
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let code = |x: f32| if x > lowest { (inverse * (x - lowest)).round_ties_even() as u16 } else { 0 };
    out.extend(logits.iter().flat_map(|&x| code(x).to_le_bytes()));
    out.resize(from + row_bytes(head.vocab), 0);
}

fn versus(bytes: &[u8], logits: &[f32], row: &Row, next: u32) -> Versus {
    let (step, lowest) = (float(bytes, 0), float(bytes, 4));
    let log_p = |code: u16| step * f32::from(code) + lowest;
    let codes = bytes[8..].as_chunks::<2>().0;
    let (mut kl, mut most, mut top) = (0.0, 0, 0);
    for (i, (code, &q)) in codes.iter().zip(logits).enumerate() {
        let code = u16::from_le_bytes(*code);
        if i == 0 || code > most {
            (most, top) = (code, i);
        }
        let log_p = log_p(code);
        if log_p > -RANGE {
            kl += f64::from(exp(log_p)) * (f64::from(log_p) - row.log_prob(q));
        }
    }
    let nll_base = -f64::from(log_p(half_word(bytes, 8 + 2 * next as usize)));
    Versus { nll_base, kl, error: 0.0, same_top: top == row.top }
}
