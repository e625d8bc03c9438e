//! What adapters add to products and to the look-up of embeddings.
//!
//! Both factors are multiplied by the kernels of their own types, so that every number depends on its row and its token alone, like the model's. Only B
//! times many tokens has a loop of its own: a row of B is short, and a dot of it is mostly the adding up of a register's lanes. There a register is sixteen
//! tokens, and the lanes are rows of memory; the order of the sums, and so each bit, is the kernels'.
//!
//! Two barriers more for a run of matrices of which one is adapted: A's rows, then all B's, each tile of which is added where the model's product stands.

use super::Delta;
use crate::layer::{self, Input};
use crate::pool::Pool;
use crate::weights::Matrix;
use nibble_kernels::{Line, ops};
use std::cell::RefCell;
use std::ops::Range;

/// Adds to `wide` what the adapters of its matrices make of the input: `wide` has the matrices' outputs one after the other, each [rows, tokens].
pub(crate) fn add(pool: &Pool, matrices: &[&Matrix], input: &Input, acts: &mut Vec<Line>, tokens: usize, wide: &mut [f32]) {
    let deltas: Vec<&Delta> = matrices.iter().flat_map(|m| &m.deltas).collect();
    let factors: Vec<&Matrix> = deltas.iter().map(|delta| &delta.a).collect();
    let mut low = Vec::new();
    // A has few rows, and long ones.
    layer::products(pool, &factors, input, acts, tokens, &mut low, 4);
    let lows = lows(&deltas, &low, tokens, acts);

    let (mut tiles, mut ends, mut end) = (Vec::new(), Vec::new(), 0);
    let mut first_delta = 0;
    for m in matrices {
        let own = first_delta..first_delta + m.deltas.len();
        first_delta = own.end;
        // A matrix without an adapter is one tile with nothing to do.
        let tile = if own.is_empty() { m.rows } else { m.rows.div_ceil(8 * pool.threads()).next_multiple_of(32) };
        for first in (0..m.rows).step_by(tile) {
            let rows = first..(first + tile).min(m.rows);
            end += rows.len() * tokens;
            tiles.push((own.clone(), rows));
            ends.push(end);
        }
    }
    let acts = Line::bytes(acts);
    pool.parts(&mut wide[..end], &ends, |i, out| {
        let (own, rows) = &tiles[i];
        for n in own.clone() {
            let (low, place) = &lows[n];
            deltas[n].add_rows(rows.clone(), low, &acts[place.clone()], out);
        }
    });
}

/// A x of each delta, [rank, tokens], and where in `acts` it is in the form that B's kernel wants, if it does. Few numbers, so the calling thread makes them.
fn lows<'l>(deltas: &[&Delta], low: &'l [f32], tokens: usize, acts: &mut Vec<Line>) -> Vec<(&'l [f32], Range<usize>)> {
    let (mut rest, mut end) = (low, 0);
    let mut found = Vec::with_capacity(deltas.len());
    for delta in deltas {
        let (own, later) = rest.split_at(delta.rank() * tokens);
        rest = later;
        let start = end;
        if !delta.by_lanes(tokens) {
            let len = delta.b.chosen.activation_bytes(delta.rank()) * tokens;
            end = (start + len).next_multiple_of(Line::BYTES);
            acts.resize((end / Line::BYTES).max(acts.len()), Line::ZERO);
            delta.quantize(own, tokens, &mut Line::bytes_mut(acts)[start..start + len]);
            found.push((own, start..start + len));
        } else {
            found.push((own, start..start));
        }
    }
    found
}

/// From so many tokens on a register of tokens is worth it.
const MANY: usize = 8;

impl Delta {
    /// Whether rows of B are multiplied with all tokens at once.
    fn by_lanes(&self, tokens: usize) -> bool {
        tokens >= MANY && self.b.chosen.format().block_len == 1
    }

    /// Brings A x, [rank, tokens], into the form that B's kernel wants.
    fn quantize(&self, low: &[f32], tokens: usize, out: &mut [u8]) {
        let mut row = vec![0.0; self.rank()];
        for (t, out) in out.chunks_exact_mut(self.b.chosen.activation_bytes(row.len())).enumerate() {
            row.iter_mut().zip(low[t..].iter().step_by(tokens)).for_each(|(x, low)| *x = *low);
            self.b.chosen.quantize(&row, out);
        }
    }

    /// Adds scale * B (A x) of some rows to `out`, [rows, tokens]. `low` and `acts`: A x, as floats and for the kernel.
    fn add_rows(&self, rows: Range<usize>, low: &[f32], acts: &[u8], out: &mut [f32]) {
        let (rank, tokens) = (self.rank(), out.len() / rows.len());
        SCRATCH.with_borrow_mut(|scratch| {
            if !self.by_lanes(tokens) {
                let product = layer::sized(scratch, out.len());
                let bytes = &self.b.bytes()[rows.start * self.b.row_bytes..rows.end * self.b.row_bytes];
                self.b.chosen.matmul(bytes, rank, acts, tokens, product);
                return ops::axpy(self.scale, product, out);
            }
            let (b, lanes) = layer::sized(scratch, rows.len() * rank + 16 * tokens).split_at_mut(rows.len() * rank);
            self.b.rows(rows, b);
            for (b, out) in b.chunks_exact(rank).zip(out.chunks_exact_mut(tokens)) {
                dots(b, low, lanes);
                ops::axpy(self.scale, &lanes[..tokens], out);
            }
        });
    }

    /// Adds to the embedding of token `id` what the adapter makes of it.
    pub fn look_up(&self, id: usize, out: &mut [f32]) {
        let mut low = vec![0.0; self.rank()];
        self.a.row(id, &mut low);
        let mut acts = vec![0; self.b.chosen.activation_bytes(low.len())];
        self.quantize(&low, 1, &mut acts);
        self.add_rows(0..out.len(), &low, &acts, out);
    }
}

/// One row of B times A x of all tokens into the first of the sixteen `lanes`, [16, tokens]. As in the kernels, element k goes to lane k mod 16, and lanes 8 apart are
/// added, then 4, 2, 1.
fn dots(b: &[f32], low: &[f32], lanes: &mut [f32]) {
    let tokens = lanes.len() / 16;
    lanes.fill(0.0);
    for (k, (&b, low)) in b.iter().zip(low.chunks_exact(tokens)).enumerate() {
        ops::axpy(b, low, &mut lanes[k % 16 * tokens..][..tokens]);
    }
    for apart in [8, 4, 2, 1] {
        let (to, from) = lanes[..2 * apart * tokens].split_at_mut(apart * tokens);
        // Times one is exact.
        ops::axpy(1.0, from, to);
    }
}

thread_local! {
    /// What a tile of B gives before it is scaled, or its rows as floats and one row's lanes.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Place;
    use nibble_kernels::format;

    /// Numbers that look random, of either sign.
    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        let one = |i: usize| ((i * 7 + seed) as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
        (0..n).map(|i| (one(i) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    /// With every rank, around one register of lanes and around two, whichever number of tokens comes together.
    #[test]
    fn many_tokens_have_the_bits_of_the_kernels() {
        for (kind, rank) in
            [(&format::F32, 1), (&format::F16, 5), (&format::BF16, 16), (&format::F32, 17), (&format::F16, 33), (&format::F32, 64)]
        {
            let (rows, tokens) = (37, MANY + 3);
            let mut bytes = vec![0; rows * kind.row_bytes(rank).unwrap()];
            (kind.encode)(&numbers(rows * rank, 3), None, &mut bytes);
            let matrix = |rows: usize, cols: usize, bytes| Matrix::new(kind, None, rows, cols, Place::Own(bytes)).unwrap();
            let delta = Delta { tensor: "t".into(), a: matrix(0, 8, vec![]), b: matrix(rows, rank, bytes), scale: 0.3 };
            let low = numbers(rank * tokens, 11);
            let mut together = numbers(rows * tokens, 5);
            let expected = together.clone();
            delta.add_rows(0..rows, &low, &[], &mut together);
            for t in 0..tokens {
                let own: Vec<f32> = low[t..].iter().step_by(tokens).copied().collect();
                let mut acts = vec![0; delta.b.chosen.activation_bytes(rank)];
                delta.quantize(&own, 1, &mut acts);
                let mut alone: Vec<f32> = expected[t..].iter().step_by(tokens).copied().collect();
                delta.add_rows(0..rows, &own, &acts, &mut alone);
                for (r, x) in alone.iter().enumerate() {
                    assert_eq!(x.to_bits(), together[r * tokens + t].to_bits(), "{} of rank {rank}, row {r}, token {t}", kind.name);
                }
            }
        }
    }
}
