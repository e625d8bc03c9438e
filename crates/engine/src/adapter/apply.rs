//! What adapters add to products and to the look-up of embeddings.
//!
//! A x is a product by the kernel of A's type. Of B (A x) every number is the sum over the rank from its first term on, in floats, whichever way it is
//! computed: a row of B at a time over all tokens where there are many, so that a register is sixteen tokens and nothing is added up across its lanes
//! (a kernel's dot of a short row is mostly that). So each number depends on its row and its token alone, like the model's. Two barriers more for a run of
//! matrices of which one is adapted: A's rows, then all B's, each tile of which is added where the model's product stands.

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
    // Where each delta's A x begins.
    let places: Vec<usize> = deltas.iter().scan(0, |end, delta| Some(std::mem::replace(end, *end + delta.rank() * tokens))).collect();

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
    pool.parts(&mut wide[..end], &ends, |i, out| {
        let (own, rows) = &tiles[i];
        for n in own.clone() {
            deltas[n].add_rows(rows.clone(), &low[places[n]..][..deltas[n].rank() * tokens], out);
        }
    });
}

/// From so many tokens on a row of B is multiplied with all of them at once.
const MANY: usize = 8;

impl Delta {
    /// Adds scale * B (A x) of some rows to `out`, [rows, tokens]. `low`: A x, [rank, tokens].
    fn add_rows(&self, rows: Range<usize>, low: &[f32], out: &mut [f32]) {
        let (rank, tokens) = (self.rank(), out.len() / rows.len());
        SCRATCH.with_borrow_mut(|scratch| {
            let (b, sum) = layer::sized(scratch, rows.len() * rank + tokens).split_at_mut(rows.len() * rank);
            self.b.rows(rows, b);
            for (b, out) in b.chunks_exact(rank).zip(out.chunks_exact_mut(tokens)) {
                if tokens >= MANY {
                    sum.fill(0.0);
                    b.iter().zip(low.chunks_exact(tokens)).for_each(|(&b, low)| ops::axpy(b, low, sum));
                    ops::axpy(self.scale, sum, out);
                } else {
                    for (t, out) in out.iter_mut().enumerate() {
                        let terms = b.iter().zip(low[t..].iter().step_by(tokens));
                        *out += self.scale * terms.fold(0.0, |sum, (b, low)| sum + b * low);
                    }
                }
            }
        });
    }

    /// Adds to the embedding of token `id` what the adapter makes of it.
    pub fn look_up(&self, id: usize, out: &mut [f32]) {
        let mut low = vec![0.0; self.rank()];
        self.a.row(id, &mut low);
        self.add_rows(0..out.len(), &low, out);
    }
}

thread_local! {
    /// Rows of B as floats, and one row's sums.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}
