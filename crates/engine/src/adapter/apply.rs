//! What adapters add to products and to the look-up of embeddings.
//!
//! Both factors are multiplied by the kernels of their own types, so that every number depends on its row and its token alone, like the model's. Two
//! barriers more for a run of matrices of which one is adapted: A's rows, then all B's, each tile of which is added where the model's product stands.

use super::Delta;
use crate::large;
use crate::pool::Pool;
use crate::products::{self, Input, Outputs};
use crate::weights::Matrix;
use nibble_kernels::{Line, ops};
use std::cell::RefCell;
use std::ops::Range;

/// Adds to `wide` what the adapters of its matrices make of the input.
pub(crate) fn add(pool: &Pool, matrices: &[&Matrix], input: &Input, acts: &mut Vec<Line>, tokens: usize, wide: &mut Outputs) {
    let deltas: Vec<&Delta> = matrices.iter().flat_map(|m| &m.deltas).collect();
    let factors: Vec<&Matrix> = deltas.iter().map(|delta| &delta.a).collect();
    let mut low = Outputs::default();
    // A has few rows, and long ones.
    products::products(pool, &factors, input, acts, tokens, &mut low, 4);
    let inputs = inputs(&deltas, &low, tokens, acts);

    let mut end = 0;
    let own: Vec<Range<usize>> = matrices
        .iter()
        .map(|m| {
            end += m.deltas.len();
            end - m.deltas.len()..end
        })
        .collect();
    let (tiles, ends) = wide.tiles(0..matrices.len());
    let acts = Line::bytes(acts);
    pool.parts(wide.floats_mut(), &ends, |i, out| {
        let (m, rows) = &tiles[i];
        PRODUCT.with_borrow_mut(|product| {
            for n in own[*m].clone() {
                let b = &deltas[n].b;
                let product = products::sized(product, out.len());
                let bytes = &b.bytes()[rows.start * b.row_bytes..rows.end * b.row_bytes];
                b.chosen.matmul(bytes, b.cols, &acts[inputs[n].clone()], tokens, product);
                ops::axpy(deltas[n].scale, product, out);
            }
        });
    });
}

/// Brings A x of every delta into the form that its B wants. Gives the bytes of each, which begin at a line. Few numbers, so the calling thread makes them.
fn inputs(deltas: &[&Delta], low: &Outputs, tokens: usize, acts: &mut Vec<Line>) -> Vec<Range<usize>> {
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
    large::grow(acts, end / Line::BYTES, Line::ZERO);
    let bytes = Line::bytes_mut(acts);
    let mut row = Vec::new();
    for (n, (delta, place)) in deltas.iter().zip(&places).enumerate() {
        row.resize(delta.rank(), 0.0);
        let one = place.len() / tokens;
        for (t, out) in bytes[place.clone()].chunks_exact_mut(one).enumerate() {
            low.copy(n, t, 0, &mut row);
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
