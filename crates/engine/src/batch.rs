//! One step of several conversations at once.
//!
//! Reading the weights is what a token costs. A [`Batch`] feeds tokens of several sessions together, so that all of them share one reading: the products
//! are of all tokens, attention is each session's own. (Of the last layer keys and values alone are read twice, where some tokens want no more.) Every number depends on its own token and its own cache only, and so every session gets the bits
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

impl Rows {
    /// How many of so many tokens these are.
    fn of(self, tokens: usize) -> usize {
        match self {
            Rows::None => 0,
            Rows::Last => tokens.min(1),
            Rows::All => tokens,
        }
    }
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
        let mut rows = 0;
        for feed in feeds.iter() {
            let count = feed.rows.of(feed.ids.len());
            self.rows.push(rows..rows + count);
            rows += count;
        }
        let mut texts: Vec<Text> = feeds.iter_mut().map(|feed| feed.session.text(feed.ids, feed.rows)).collect();
        self.buffers.layers(self.model, &mut texts);
        self.buffers.output(self.model);
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
    /// Of which of them more is wanted than keys and values.
    pub rows: Rows,
}

impl Text<'_> {
    /// How many of its tokens nothing is wanted of but keys and values: the first ones.
    fn unread(&self) -> usize {
        self.ids.len() - self.rows.of(self.ids.len())
    }
}

/// What tokens go through on their way to logits.
#[derive(Default)]
pub(crate) struct Buffers {
    scratch: Scratch,
    /// The residual stream of a batch, [tokens, dim]; after the last layer of the tokens that are wanted.
    x: Vec<f32>,
    normed: Vec<f32>,
    pub logits: Vec<f32>,
}

impl Buffers {
    /// Takes tokens through all layers: leaves the residual stream of those that are wanted in `x`, one text's after the other's, the keys and values of all in the caches.
    pub fn layers(&mut self, model: &Model, texts: &mut [Text]) {
        let (dim, pool) = (model.config().dim, model.pool());
        let ids: Vec<u32> = texts.iter().flat_map(|text| text.ids).copied().collect();
        self.x.resize(ids.len() * dim, 0.0);
        pool.chunks(&mut self.x, dim, |t, row| model.embed(ids[t], row));
        let mut rotation =
            Rotation::new(model.angles(), texts.iter().flat_map(|text| text.tokens.len()..text.tokens.len() + text.ids.len()));
        let layers = model.config().layers;
        for i in 0..layers {
            let (spec, weights) = model.layer(i);
            let last = i + 1 == layers;
            if last {
                rotation = self.leave_unread(model, i, texts, rotation);
            }
            let (output, inputs) = ([model.output().1], (!last).then(|| model.layer(i + 1).1.inputs()));
            let after = inputs.as_ref().map_or(&output[..], |inputs| &inputs[..]);
            let parts = texts.iter_mut().filter_map(|text| {
                let unread = if last { text.unread() } else { 0 };
                let part = Part { pos: text.tokens.len() + unread, tokens: text.ids.len() - unread, cache: &mut text.caches[i] };
                (part.tokens > 0).then_some(part)
            });
            let mut parts: Vec<Part> = parts.collect();
            if !parts.is_empty() {
                layer::forward(spec, weights, pool, &mut self.x, &mut parts, &rotation, &mut self.scratch, after);
            }
        }
        texts.iter_mut().for_each(|text| text.tokens.extend_from_slice(text.ids));
    }

    /// Before the last layer: computes keys and values of the tokens of which nothing else is wanted there, which is a small part of a layer, and moves the others together
    /// in `x`. Returns their rotation.
    fn leave_unread(&mut self, model: &Model, i: usize, texts: &mut [Text], rotation: Rotation) -> Rotation {
        if texts.iter().all(|text| text.unread() == 0) {
            return rotation;
        }
        let (dim, tokens) = (model.config().dim, self.x.len() / model.config().dim);
        let (spec, weights) = model.layer(i);
        let (mut first, mut unread, mut read, mut parts) = (0, Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            let count = text.unread();
            unread.extend(first..first + count);
            read.extend(first + count..first + text.ids.len());
            first += text.ids.len();
            if count > 0 {
                parts.push(Part { pos: text.tokens.len(), tokens: count, cache: &mut text.caches[i] });
            }
        }
        let own = rotation.select(&unread, tokens);
        layer::keys_and_values(spec, weights, model.pool(), &self.x, &unread, &mut parts, &own, &mut self.scratch);
        for (to, &from) in read.iter().enumerate() {
            self.x.copy_within(from * dim..(from + 1) * dim, to * dim);
        }
        self.x.truncate(read.len() * dim);
        rotation.select(&read, tokens)
    }

    /// The last hidden states in `x` after the last norm, [tokens, dim].
    pub fn normed(&mut self, model: &Model) -> &[f32] {
        let (dim, eps) = (model.config().dim, model.config().eps);
        let (weight, _) = model.output();
        self.normed.resize(self.x.len(), 0.0);
        let x = &self.x;
        model.pool().chunks(&mut self.normed, dim, |i, row| nibble_kernels::ops::rms_norm(&x[i * dim..][..dim], weight, eps, row));
        &self.normed
    }

    /// Logits of the tokens in `x`, [tokens, vocab].
    pub fn output(&mut self, model: &Model) {
        let (vocab, count) = (model.config().vocab, self.x.len() / model.config().dim);
        self.logits.resize(count * vocab, 0.0);
        if count == 0 {
            return;
        }
        self.normed(model);
        let (_, matrix) = model.output();
        products::prefetch(model.pool(), &model.layer(0).1.inputs());
        self.scratch.multiply(model.pool(), matrix, &self.normed, count).copy_all(model.pool(), &mut self.logits);
    }
}
