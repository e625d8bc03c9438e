//! What the matrices of a layer are fed when the texts go through it.

use super::Judge;
use crate::Error;
use crate::gptq::counted;
use crate::gptq::moments::Moments;
use crate::run::stopped;
use nibble_engine::walk::{Layer, Site, Walk};
use nibble_kernels::feedback::ROWS;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

/// Tokens that are kept for [`Judge::Outputs`].
const KEPT: usize = 512;

/// Of one site's inputs.
pub struct Inputs {
    /// Columns.
    pub cols: usize,
    tokens: u64,
    magnitudes: Vec<f64>,
    squares: Vec<f64>,
    /// The largest magnitude of each column.
    pub most: Vec<f32>,
    /// The second moments, symmetric, [cols, cols], where they were asked for.
    pub moments: Vec<f32>,
    /// Some tokens' inputs, [tokens, cols], where they were asked for.
    pub kept: Vec<f32>,
    /// What the square of an error counts at each of them.
    pub counts: Vec<f32>,
}

impl Inputs {
    fn new(cols: usize) -> Inputs {
        Inputs {
            cols,
            tokens: 0,
            magnitudes: vec![0.0; cols],
            squares: vec![0.0; cols],
            most: vec![0.0; cols],
            moments: Vec::new(),
            kept: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Whether no token's input was infinite or no number.
    pub fn finite(&self) -> bool {
        self.squares.iter().all(|s| s.is_finite())
    }

    /// The mean magnitude of each column.
    pub fn means(&self) -> Vec<f32> {
        self.magnitudes.iter().map(|m| (m / self.tokens.max(1) as f64) as f32).collect()
    }

    /// The mean square of each column, tokens counted as errors at them count; `scales`: that of inputs divided by them.
    pub fn mean_squares(&self, scales: Option<&[f32]>) -> Vec<f32> {
        let mut squares: Vec<f32> = self.squares.iter().map(|s| (s / self.tokens.max(1) as f64) as f32).collect();
        if let Some(scales) = scales {
            squares.iter_mut().zip(scales).for_each(|(square, s)| *square /= s * s);
        }
        squares
    }

    /// `rows`: as they are; `counted`: divided by the size of the residual stream where errors count in proportion to it.
    fn add(&mut self, rows: &[f32], counted: &[f32], every: usize, keep: bool) {
        for (row, counted) in rows.chunks_exact(self.cols).zip(counted.chunks_exact(self.cols)) {
            for (j, (x, c)) in row.iter().zip(counted).enumerate() {
                self.magnitudes[j] += f64::from(x.abs());
                self.squares[j] += f64::from(*c) * f64::from(*c);
                self.most[j] = self.most[j].max(x.abs());
            }
            if keep && self.tokens.is_multiple_of(every as u64) {
                self.kept.extend(row);
                // The ratio of the two is the same for all columns.
                let (c, x) = counted.iter().zip(row).fold((0.0, 0.0), |sum, (c, x)| (sum.0 + c * c, sum.1 + x * x));
                self.counts.push(if x > 0.0 { c / x } else { 0.0 });
            }
            self.tokens += 1;
        }
    }
}

/// Takes all texts through a layer and gives what each site is fed. `advance`: the hidden states become those after the layer.
pub(crate) fn gather(
    walk: &mut Walk<'_>,
    layer: &Layer,
    hidden: &mut [Vec<f32>],
    judge: Judge,
    advance: bool,
    cancel: &AtomicBool,
) -> Result<HashMap<Site, Inputs>, Error> {
    let (mut all, mut moments): (HashMap<Site, Inputs>, HashMap<Site, Moments>) = Default::default();
    let dim = walk.dim();
    let every = (hidden.iter().map(Vec::len).sum::<usize>() / dim).div_ceil(KEPT).max(1);
    let mut x = Vec::new();
    for text in hidden {
        stopped(cancel)?;
        x.clone_from(text);
        let mut fed: Vec<(Site, Vec<f32>)> = Vec::new();
        let mut watch = |site: Site, rows: &[f32], x: &[f32]| {
            let counted = counted(site, rows, x, dim);
            let cols = rows.len() / (x.len() / dim);
            all.entry(site).or_insert_with(|| Inputs::new(cols)).add(rows, &counted, every, judge == Judge::Outputs);
            if judge == Judge::Moments && cols.is_multiple_of(ROWS) {
                fed.push((site, counted));
            }
            advance || site != Site::Down
        };
        walk.forward(layer, &mut x, Some(&mut watch));
        for (site, rows) in &fed {
            moments.entry(*site).or_insert_with(|| Moments::new(rows.len() / (x.len() / dim))).add(walk.pool(), rows);
        }
        if advance {
            text.copy_from_slice(&x);
        }
    }
    for (site, moments) in moments {
        if let Some(inputs) = all.get_mut(&site) {
            inputs.moments = moments.finish();
        }
    }
    Ok(all)
}
