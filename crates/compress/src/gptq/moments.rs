//! Second moments of a layer's inputs: H = X^T X, the form in which a rounding error e of a row costs e H e^T in the layer's output.

use nibble_engine::pool::Pool;
use nibble_kernels::feedback::{COLUMNS, ROWS, outer};

/// Tokens that are added at a time. Sixteen columns of them lie in a first-level cache, and the sums, which for thousands of columns lie in memory, are read and written
/// no more often than the arithmetic allows.
const TOKENS: usize = 256;

/// The sum of x^T x over rows x, [cols, cols], and how many rows.
pub struct Moments {
    cols: usize,
    /// Only the lower half (and some past the diagonal) is kept until [`Moments::finish`].
    h: Vec<f32>,
    tokens: u64,
    /// Rows at work: [cols / ROWS][tokens][ROWS].
    panels: Vec<f32>,
}

impl Moments {
    /// No rows yet. `cols` is a multiple of [`ROWS`].
    ///
    /// # Panics
    /// When it is not.
    pub fn new(cols: usize) -> Moments {
        assert!(cols.is_multiple_of(ROWS), "{cols} columns");
        Moments { cols, h: vec![0.0; cols * cols], tokens: 0, panels: Vec::new() }
    }

    /// Adds rows, [tokens, cols]. Each element of the sum has one order, whatever the threads.
    ///
    /// The rows are cut into panels of sixteen columns first: read as they come, columns that lie a power of two apart would push each other out of every cache.
    pub fn add(&mut self, pool: &Pool, x: &[f32]) {
        let cols = self.cols;
        self.tokens += (x.len() / cols) as u64;
        for x in x.chunks(TOKENS * cols) {
            let tokens = x.len() / cols;
            self.panels.resize(x.len(), 0.0);
            pool.chunks(&mut self.panels, tokens * ROWS, |p, panel| {
                for (row, out) in x.chunks_exact(cols).zip(panel.chunks_exact_mut(ROWS)) {
                    out.copy_from_slice(&row[p * ROWS..][..ROWS]);
                }
            });
            let panel = |p: usize| &self.panels[p * tokens * ROWS..][..tokens * ROWS];
            pool.chunks(&mut self.h, ROWS * cols, |i, h| {
                for j in 0..=i {
                    for (c, h) in h.chunks_exact_mut(COLUMNS * cols).enumerate() {
                        let mut sums = [[0.0; ROWS]; COLUMNS];
                        outer(&panel(i)[c * COLUMNS..], ROWS, panel(j), ROWS, tokens, &mut sums);
                        for (h, sums) in h.chunks_exact_mut(cols).zip(&sums) {
                            h[j * ROWS..][..ROWS].iter_mut().zip(sums).for_each(|(h, s)| *h += s);
                        }
                    }
                }
            });
        }
    }

    /// The lower triangle of the sum, row by row: row i has i + 1 elements.
    pub fn triangle(&self) -> impl Iterator<Item = &[f32]> {
        self.h.chunks_exact(self.cols).enumerate().map(|(i, row)| &row[..=i])
    }

    /// Takes row i of a lower triangle that was summed before; then [`Moments::set_tokens`].
    pub fn set_row(&mut self, i: usize, row: &[f32]) {
        self.h[i * self.cols..][..=i].copy_from_slice(row);
    }

    /// How many rows the sum is of.
    pub fn set_tokens(&mut self, tokens: u64) {
        self.tokens = tokens;
    }

    /// The mean over the rows, symmetric, [cols, cols].
    pub fn finish(mut self) -> Vec<f32> {
        let n = self.cols;
        let scale = 1.0 / (self.tokens.max(1)) as f32;
        // Sixteen rows by sixteen columns at a time, so that what is written across the rows fills whole lines of a cache.
        for (first, left) in (0..n).step_by(ROWS).flat_map(|first| (0..=first).step_by(ROWS).map(move |left| (first, left))) {
            let mut part = [[0.0; ROWS]; ROWS];
            for (i, row) in part.iter_mut().enumerate() {
                row.iter_mut().zip(&self.h[(first + i) * n + left..]).for_each(|(x, h)| *x = h * scale);
            }
            for (i, row) in part.iter().enumerate() {
                let count = if left == first { i + 1 } else { ROWS };
                self.h[(first + i) * n + left..][..count].copy_from_slice(&row[..count]);
            }
            for j in 0..ROWS {
                let from = if left == first { j } else { 0 };
                let above = &mut self.h[(left + j) * n + first..][..ROWS];
                above.iter_mut().zip(&part).skip(from).for_each(|(h, row)| *h = row[j]);
            }
        }
        self.h
    }
}
