//! Second moments of a layer's inputs: H = X^T X, the form in which a rounding error e of a row costs e H e^T in the layer's output.

use nibble_engine::pool::Pool;
use nibble_kernels::feedback::{COLUMNS, ROWS, outer};

/// Tokens that are added at a time: with 8,192 columns they fill a second-level cache.
const TOKENS: usize = 64;

/// The sum of x^T x over rows x, [cols, cols], and how many rows.
pub struct Moments {
    cols: usize,
    /// Only the lower half (and some past the diagonal) is kept until [`Moments::finish`].
    h: Vec<f32>,
    tokens: u64,
}

impl Moments {
    /// No rows yet. `cols` is a multiple of [`ROWS`].
    ///
    /// # Panics
    /// When it is not.
    pub fn new(cols: usize) -> Moments {
        assert!(cols.is_multiple_of(ROWS), "{cols} columns");
        Moments { cols, h: vec![0.0; cols * cols], tokens: 0 }
    }

    /// Adds rows, [tokens, cols]. Each element of the sum has one order, whatever the threads.
    pub fn add(&mut self, pool: &Pool, x: &[f32]) {
        let cols = self.cols;
        self.tokens += (x.len() / cols) as u64;
        for x in x.chunks(TOKENS * cols) {
            let tokens = x.len() / cols;
            pool.chunks(&mut self.h, COLUMNS * cols, |i, h| {
                let row = i * COLUMNS;
                for col in (0..row + COLUMNS).step_by(ROWS) {
                    let mut sums = [[0.0; ROWS]; COLUMNS];
                    outer(&x[row..], cols, &x[col..], cols, tokens, &mut sums);
                    for (h, sums) in h.chunks_exact_mut(cols).zip(&sums) {
                        h[col..col + ROWS].iter_mut().zip(sums).for_each(|(h, s)| *h += s);
                    }
                }
            });
        }
    }

    /// The mean over the rows, symmetric, [cols, cols].
    pub fn finish(mut self) -> Vec<f32> {
        let n = self.cols;
        let scale = 1.0 / (self.tokens.max(1)) as f32;
        for i in 0..n {
            for j in 0..=i {
                self.h[i * n + j] *= scale;
                self.h[j * n + i] = self.h[i * n + j];
            }
        }
        self.h
    }
}
