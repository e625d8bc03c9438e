//! One step of several conversations at once.
//!
//! Reading the weights is what a token costs. A [`Batch`] feeds tokens of several sessions together, so that all of them share one reading: the products
//! are of all tokens, attention is each session's own. Every number depends on its own token and its own cache only, and so every session gets the bits
//! that it would get alone.

use crate::cache::LayerCache;
use crate::layer::{self, Part, Rotation, Scratch};
use crate::model::Model;
use crate::{Error, Session, products};
use std::ops::Range;

/// After which of the tokens that are fed logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// None: there is more of the prompt to come.
    None,
    /// The last one.
    Last,
    /// All of them.
    All,
}

/// Tokens for one session.
pub struct Feed<'f, 'm> {
    /// The session, of the batch's model.
    pub session: &'f mut Session<'m>,
    /// At least one token.
    pub ids: &'f [u32],
    /// Where logits are wanted.
    pub rows: Rows,
}

/// The buffers to take several sessions through a model together.
pub struct Batch<'m> {
    model: &'m Model,
    buffers: Buffers,
    /// The rows of logits of each feed of the last step.
    rows: Vec<Range<usize>>,
}

impl<'m> Batch<'m> {
    /// For sessions of this model.
    pub fn new(model: &'m Model) -> Batch<'m> {
        Batch { model, buffers: Buffers::default(), rows: Vec::new() }
    }

    /// Feeds every session its tokens, all in one pass over the weights. When one of them cannot be fed, none is, and the error says which it was.
    ///
    /// # Panics
    /// When a session is another model's.
    pub fn step(&mut self, feeds: &mut [Feed<'_, 'm>]) -> Result<(), (usize, Error)> {
        self.rows.clear();
        for (i, feed) in feeds.iter().enumerate() {
            assert!(std::ptr::eq(feed.session.model(), self.model), "a session of another model");
            feed.session.check(feed.ids).map_err(|error| (i, error))?;
        }
        if feeds.is_empty() {
            return Ok(());
        }
        // The tokens whose logits are wanted, by their places in the batch.
        let (mut wanted, mut first) = (Vec::new(), 0);
        for feed in feeds.iter() {
            let end = first + feed.ids.len();
            let from = match feed.rows {
                Rows::None => end,
                Rows::Last => end - 1,
                Rows::All => first,
            };
            self.rows.push(wanted.len()..wanted.len() + end - from);
            wanted.extend(from..end);
            first = end;
        }
        let mut texts: Vec<Text> = feeds.iter_mut().map(|feed| feed.session.text(feed.ids)).collect();
        self.buffers.layers(self.model, &mut texts);
        self.buffers.output(self.model, wanted.into_iter());
        Ok(())
    }

    /// The logits that feed `i` of the last step wanted, [rows, vocab].
    pub fn logits(&self, i: usize) -> &[f32] {
        let vocab = self.model.config().vocab;
        &self.buffers.logits[self.rows[i].start * vocab..self.rows[i].end * vocab]
    }
}

/// Tokens to go on with, and what a session holds.
pub(crate) struct Text<'t> {
    pub caches: &'t mut [LayerCache],
    pub tokens: &'t mut Vec<u32>,
    pub ids: &'t [u32],
}

/// What tokens go through on their way to logits.
#[derive(Default)]
pub(crate) struct Buffers {
    scratch: Scratch,
    /// The residual stream of a batch, [tokens, dim].
    x: Vec<f32>,
    normed: Vec<f32>,
    pub logits: Vec<f32>,
}

impl Buffers {
    /// Takes tokens through all layers: leaves the residual stream in `x`, the keys and values in the caches.
    pub fn layers(&mut self, model: &Model, texts: &mut [Text]) {
        let (dim, pool) = (model.config().dim, model.pool());
        let ids: Vec<u32> = texts.iter().flat_map(|text| text.ids).copied().collect();
        self.x.resize(ids.len() * dim, 0.0);
        pool.chunks(&mut self.x, dim, |t, row| model.embed(ids[t], row));
        let rotation = Rotation::new(model.angles(), texts.iter().flat_map(|text| text.tokens.len()..text.tokens.len() + text.ids.len()));
        let layers = model.config().layers;
        for i in 0..layers {
            let (spec, weights) = model.layer(i);
            let (output, inputs) = ([model.output().1], (i + 1 < layers).then(|| model.layer(i + 1).1.inputs()));
            let after = inputs.as_ref().map_or(&output[..], |inputs| &inputs[..]);
            let parts = texts.iter_mut().map(|text| Part { pos: text.tokens.len(), tokens: text.ids.len(), cache: &mut text.caches[i] });
            let mut parts: Vec<Part> = parts.collect();
            layer::forward(spec, weights, pool, &mut self.x, &mut parts, &rotation, &mut self.scratch, after);
        }
        texts.iter_mut().for_each(|text| text.tokens.extend_from_slice(text.ids));
    }

    /// The last hidden states of these tokens of the batch in `x` after the last norm, [tokens, dim].
    pub fn normed(&mut self, model: &Model, tokens: impl ExactSizeIterator<Item = usize>) -> &[f32] {
        let (dim, eps) = (model.config().dim, model.config().eps);
        let (weight, _) = model.output();
        let tokens: Vec<usize> = tokens.collect();
        self.normed.resize(tokens.len() * dim, 0.0);
        let x = &self.x;
        model.pool().chunks(&mut self.normed, dim, |i, row| nibble_kernels::ops::rms_norm(&x[tokens[i] * dim..][..dim], weight, eps, row));
        &self.normed
    }

    /// Logits of these tokens of the batch in `x`, [tokens, vocab].
    pub fn output(&mut self, model: &Model, tokens: impl ExactSizeIterator<Item = usize>) {
        let (vocab, count) = (model.config().vocab, tokens.len());
        self.logits.resize(count * vocab, 0.0);
        if count == 0 {
            return;
        }
        self.normed(model, tokens);
        let (_, matrix) = model.output();
        products::prefetch(model.pool(), &model.layer(0).1.inputs());
        self.scratch.multiply(model.pool(), matrix, &self.normed, count).copy_all(model.pool(), &mut self.logits);
    }
}
