//! What an error at each token costs: the squared gradient of the loss at a matrix's output (GuidedQuant, Kim et al. 2025, with one group of outputs a site).
//!
//! An error e of a row of W changes output t by e a_t, and the divergence of the model's distribution by about half the square of that times the mean square of the
//! gradient there. So the second moments that a method makes its errors small under are those of w_t a_t a_t^T. The loss is that of tokens drawn from the model's
//! own distribution: the mean of its squared gradients is the curvature of the divergence (Fisher information), which that of the text's own tokens is not.
//!
//! Read in this order: `block` (a layer forward and backward), and here: a model, some texts at a time, so that memory is bounded.
//!
//! Memory: 256 MiB of hidden states, and one layer's weights in floats; for the output matrix all of it in floats. Time: about three forward passes.

mod block;
mod dense;
#[cfg(test)]
mod tests;

use crate::Error;
use crate::run::stopped;
use block::Block;
use dense::{by, by_turned};
use nibble_engine::arch::rope::Angles;
use nibble_engine::pool::Pool;
use nibble_engine::source::Source;
use nibble_engine::walk::Site;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

/// Bytes of hidden states that are kept between the forward and the backward pass, or a text a thread where that is more.
const BYTES: usize = 256 << 20;

/// Tokens whose logits a thread has at a time.
const TOKENS: usize = 64;

/// What the square of an error counts at each token of each text, by layer and site: mean 1 at each.
pub struct Guide {
    /// [layer][site], [text][token] within.
    counts: Vec<HashMap<Site, Vec<Vec<f32>>>>,
}

impl Guide {
    /// Of texts, by one forward and one backward pass through the original model.
    pub fn new(source: &Source, texts: &[Vec<u32>], power: f32, pool: &Pool, cancel: &AtomicBool) -> Result<Guide, Error> {
        let config = source.config();
        let context = texts.iter().map(Vec::len).max().unwrap_or(1);
        let at_once = (BYTES / (4 * context * config.dim * (config.layers + 1))).max(pool.threads());
        let mut counts: Vec<HashMap<Site, Vec<Vec<f32>>>> = vec![HashMap::new(); config.layers];
        let head = Head::new(source);
        let angles = Angles::new(&config.rope, source.rope_factors()?.as_deref());
        for (nth, group) in texts.chunks(at_once).enumerate() {
            let mut states: Vec<State> = group.iter().map(|ids| State::new(source, ids)).collect();
            for i in 0..config.layers {
                stopped(cancel)?;
                let block = Block::new(source, i, &angles);
                pool.chunks(&mut states, 1, |_, state| {
                    let x = state[0].hidden[i].clone();
                    state[0].hidden.push(block.forward(x));
                });
            }
            pool.chunks(&mut states, 1, |k, state| {
                let x = state[0].hidden.pop().unwrap_or_default();
                state[0].gradient = head.gradient(&x, (nth * at_once + k) as u64);
            });
            for i in (0..config.layers).rev() {
                stopped(cancel)?;
                let block = Block::new(source, i, &angles);
                pool.chunks(&mut states, 1, |_, state| {
                    let state = &mut state[0];
                    let x = state.hidden.pop().unwrap_or_default();
                    let (gradient, counts) = block.backward(&x, &state.gradient);
                    (state.gradient, state.counts) = (gradient, counts);
                });
                for state in &mut states {
                    for (site, own) in Site::ALL.into_iter().zip(&mut state.counts) {
                        counts[i].entry(site).or_default().push(std::mem::take(own));
                    }
                }
            }
        }
        counts.iter_mut().flat_map(HashMap::values_mut).for_each(|texts| around_one(texts, power));
        Ok(Guide { counts })
    }

    /// Of the tokens of a text at a site of a layer.
    pub fn counts(&self, layer: usize, site: Site, text: usize) -> &[f32] {
        &self.counts[layer][&site][text]
    }
}

/// Takes a power and makes the mean 1; where all is zero, all becomes 1.
fn around_one(texts: &mut [Vec<f32>], power: f32) {
    texts.iter_mut().flatten().for_each(|x| *x = x.powf(power));
    let count = texts.iter().map(Vec::len).sum::<usize>();
    let mean = texts.iter().flatten().map(|x| f64::from(*x)).sum::<f64>() / count.max(1) as f64;
    texts.iter_mut().flatten().for_each(|x| *x = if mean > 0.0 { (f64::from(*x) / mean) as f32 } else { 1.0 });
}

/// A text on its way.
struct State {
    /// Before each layer, [tokens, dim].
    hidden: Vec<Vec<f32>>,
    gradient: Vec<f32>,
    /// In the order of [`Site::ALL`].
    counts: [Vec<f32>; 4],
}

impl State {
    fn new(source: &Source, ids: &[u32]) -> State {
        let dim = source.config().dim;
        let mut x = vec![0.0; ids.len() * dim];
        if let Some(embedding) = source.get("token_embd.weight") {
            for (id, row) in ids.iter().zip(x.chunks_exact_mut(dim)) {
                source.read_stored(embedding, *id as usize..*id as usize + 1, row);
            }
        }
        State { hidden: vec![x], gradient: Vec::new(), counts: Default::default() }
    }
}

/// The last norm and the output matrix.
struct Head {
    norm: Vec<f32>,
    /// [vocab, dim].
    matrix: Vec<f32>,
    vocab: usize,
    eps: f32,
}

impl Head {
    fn new(source: &Source) -> Head {
        let config = source.config();
        let name = if config.tied { "token_embd.weight" } else { "output.weight" };
        Head { norm: block::read(source, "output_norm.weight"), matrix: block::read(source, name), vocab: config.vocab, eps: config.eps }
    }

    /// The gradient of the loss at hidden states [tokens, dim], each token's successor drawn from the model's distribution. `seed`: the text's number.
    fn gradient(&self, x: &[f32], seed: u64) -> Vec<f32> {
        let dim = self.norm.len();
        let mut out = Vec::with_capacity(x.len());
        for (nth, x) in x.chunks(TOKENS * dim).enumerate() {
            let tokens = x.len() / dim;
            let mut logits = by_turned(&block::norm(x, &self.norm, self.eps), &self.matrix, tokens, dim, self.vocab);
            for (t, row) in logits.chunks_exact_mut(self.vocab).enumerate() {
                block::softmax(row);
                let mut at = uniform(seed << 32 | (nth * TOKENS + t) as u64);
                let drawn = row.iter().position(|p| {
                    at -= p;
                    at < 0.0
                });
                row[drawn.unwrap_or(self.vocab - 1)] -= 1.0;
            }
            let gradient = by(&logits, &self.matrix, tokens, self.vocab, dim);
            out.extend(block::norm_back(x, &self.norm, self.eps, &gradient));
        }
        out
    }
}

/// SplitMix64's n-th number, in [0, 1).
fn uniform(n: u64) -> f32 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
}
