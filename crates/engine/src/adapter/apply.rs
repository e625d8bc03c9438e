//! What adapters add to products and to the look-up of embeddings.
//!
//! Both factors are multiplied by the kernels of their own types, so that every number depends on its row and its token alone, like the model's. Two
//! barriers more for a run of matrices of which one is adapted: A's rows, then all B's, each tile of which is added where the model's product stands.

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
    let inputs = inputs(&deltas, &low, tokens, acts);

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
        PRODUCT.with_borrow_mut(|product| {
            for n in own.clone() {
                let b = &deltas[n].b;
                let product = layer::sized(product, out.len());
                let bytes = &b.bytes()[rows.start * b.row_bytes..rows.end * b.row_bytes];
                b.chosen.matmul(bytes, b.cols, &acts[inputs[n].clone()], tokens, product);
                ops::axpy(deltas[n].scale, product, out);
            }
        });
    });
}

/// Brings A x of every delta, [rank, tokens] one after the other, into the form that its B wants. Gives the bytes of each, which begin at a line. Few numbers, so the
/// calling thread makes them.
fn inputs(deltas: &[&Delta], low: &[f32], tokens: usize, acts: &mut Vec<Line>) -> Vec<Range<usize>> {
    let mut end = 0;
    let places: Vec<Range<usize>> = deltas
        .iter()
        .map(|delta| {
            let start = end;
            let len = delta.b.chosen.activation_bytes(delta.rank()) * tokens;
            end = (start + len).next_multiple_of(Line::BYTES);
            start..start + len
        })
        .collect();
    acts.resize((end / Line::BYTES).max(acts.len()), Line::ZERO);
    let bytes = Line::bytes_mut(acts);
    let (mut row, mut rest) = (Vec::new(), low);
    for (delta, place) in deltas.iter().zip(&places) {
        let (own, later) = rest.split_at(delta.rank() * tokens);
        rest = later;
        row.resize(delta.rank(), 0.0);
        let one = place.len() / tokens;
        for (t, out) in bytes[place.clone()].chunks_exact_mut(one).enumerate() {
            row.iter_mut().enumerate().for_each(|(r, x)| *x = own[r * tokens + t]);
            delta.b.chosen.quantize(&row, out);
        }
    }
    places
}

impl Delta {
    /// Adds to the embedding of token `id` what the adapter makes of it.
    pub fn look_up(&self, id: usize, out: &mut [f32]) {
        let mut low = vec![0.0; self.rank()];
        self.a.row(id, &mut low);
        let len = self.b.chosen.activation_bytes(low.len());
        let mut acts = vec![Line::ZERO; len.div_ceil(Line::BYTES)];
        let acts = &mut Line::bytes_mut(&mut acts)[..len];
        self.b.chosen.quantize(&low, acts);
        let mut product = vec![0.0; out.len()];
        self.b.chosen.matmul(self.b.bytes(), low.len(), acts, 1, &mut product);
        ops::axpy(self.scale, &product, out);
    }
}

thread_local! {
    /// What a tile of B gives, before it is scaled.
    static PRODUCT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}
