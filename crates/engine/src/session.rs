//! A conversation's state: the tokens seen and their keys and values. Tokens go in, logits come out.

use crate::batch::{Buffers, Rows, Text};
use crate::cache::LayerCache;
use crate::model::Model;
use crate::{Error, memory};

/// Tokens seen, their KV cache, and the buffers to go on.
pub struct Session<'m> {
    model: &'m Model,
    caches: Vec<LayerCache>,
    tokens: Vec<u32>,
    context: usize,
    buffers: Buffers,
}

impl<'m> Session<'m> {
    /// An empty session with room for `context` tokens. Refused when the model was not made for as many or the memory is not there.
    pub fn new(model: &'m Model, context: usize) -> Result<Session<'m>, Error> {
        let config = model.config();
        if context == 0 || context > config.context {
            return Err(Error::ContextRange { asked: context, most: config.context });
        }
        if let Some(available) = model.options().memory.or_else(memory::available) {
            memory::Need { weights: 0, ..model.need() }.check(context, available)?;
        }
        let cache = || LayerCache::new(model.options().kv, model.attention(), config.kv_heads, config.head_dim);
        let caches = (0..config.layers).map(|_| cache()).collect();
        Ok(Session { model, caches, tokens: Vec::new(), context, buffers: Buffers::default() })
    }

    /// The model.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// Tokens that there is room for in all.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The tokens seen.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Forgets all tokens after the first `len`.
    pub fn truncate(&mut self, len: usize) {
        // Positions past the end are overwritten before they are read.
        self.tokens.truncate(len);
        self.caches.iter_mut().for_each(|cache| cache.shrink(self.tokens.len()));
    }

    /// Keeps what the session has in common with `prompt` and forgets the rest. Returns how many tokens of the prompt need not be fed again: at
    /// least its last is left to feed, as logits are wanted.
    pub fn reuse(&mut self, prompt: &[u32]) -> usize {
        let common = self.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let kept = common.min(prompt.len().saturating_sub(1));
        self.truncate(kept);
        kept
    }

    /// Feeds tokens and returns the logits after the last, one a token of the vocabulary.
    pub fn feed(&mut self, ids: &[u32]) -> Result<&[f32], Error> {
        self.feed_while(ids, &mut |_| true)?;
        Ok(self.logits())
    }

    /// As [`Session::feed`], in batches, and `go_on` is asked after each with the number of tokens fed. Returns false when it stopped: the tokens fed
    /// so far stay, and there are no logits.
    pub fn feed_while(&mut self, ids: &[u32], go_on: &mut dyn FnMut(usize) -> bool) -> Result<bool, Error> {
        self.check(ids)?;
        self.buffers.logits.clear();
        let mut done = 0;
        for batch in ids.chunks(self.model.options().batch.max(1)) {
            done += batch.len();
            self.layers(batch, if done == ids.len() { Rows::Last } else { Rows::None });
            if !go_on(done) {
                return Ok(false);
            }
        }
        self.buffers.output(self.model);
        Ok(true)
    }

    /// Feeds tokens and calls `each` with every position and the logits after it.
    pub fn feed_each(&mut self, ids: &[u32], each: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        self.check(ids)?;
        let vocab = self.model.config().vocab;
        for batch in ids.chunks(self.model.options().batch.max(1)) {
            let pos = self.tokens.len();
            self.layers(batch, Rows::All);
            self.buffers.output(self.model);
            self.buffers.logits.chunks_exact(vocab).enumerate().for_each(|(t, logits)| each(pos + t, logits));
        }
        Ok(())
    }

    /// Feeds tokens in one batch and keeps the logits after each of them, for [`Session::row`].
    pub fn feed_rows(&mut self, ids: &[u32]) -> Result<(), Error> {
        self.check(ids)?;
        self.layers(ids, Rows::All);
        self.buffers.output(self.model);
        Ok(())
    }

    /// Feeds tokens and calls `each` with every position and its last hidden state after the last norm, `[dim]`: of which embeddings of texts are made.
    pub fn feed_hidden(&mut self, ids: &[u32], each: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        self.check(ids)?;
        self.buffers.logits.clear();
        let dim = self.model.config().dim;
        for batch in ids.chunks(self.model.options().batch.max(1)) {
            let pos = self.tokens.len();
            self.layers(batch, Rows::All);
            let hidden = self.buffers.normed(self.model);
            hidden.chunks_exact(dim).enumerate().for_each(|(t, hidden)| each(pos + t, hidden));
        }
        Ok(())
    }

    /// Replaces all that the session holds by the first `len` tokens of another session of the same model, keys and values included.
    ///
    /// # Errors
    /// When the context does not hold them, or the other session has fewer.
    pub fn copy_from(&mut self, other: &Session, len: usize) -> Result<(), Error> {
        if len > self.context || len > other.tokens.len() || !std::ptr::eq(self.model, other.model) {
            return Err(Error::ContextFull { tokens: len, held: 0, context: self.context.min(other.tokens.len()) });
        }
        let mut bytes = Vec::new();
        self.replace(&other.tokens[..len], |i, cache| {
            bytes.clear();
            other.caches[i].copy_out(len, &mut bytes);
            cache.copy_in(len, len, &bytes);
            cache.shrink(len);
        });
        Ok(())
    }

    /// Bytes that the keys and values take.
    pub fn cache_bytes(&self) -> usize {
        self.caches.iter().map(LayerCache::allocated).sum()
    }

    /// The logits after token `i` of the last [`Session::feed_rows`], one a token of the vocabulary.
    ///
    /// # Panics
    /// When there was no such token.
    pub fn row(&self, i: usize) -> &[f32] {
        let vocab = self.model.config().vocab;
        &self.buffers.logits[i * vocab..][..vocab]
    }

    /// The logits after the last token fed; empty before the first.
    pub fn logits(&self) -> &[f32] {
        let logits = &self.buffers.logits;
        &logits[logits.len().saturating_sub(self.model.config().vocab)..]
    }

    /// The caches of all layers, for [`crate::state`].
    pub(crate) fn caches(&self) -> &[LayerCache] {
        &self.caches
    }

    /// Replaces all that the session holds: `fill` gives every layer its keys and values of these tokens.
    pub(crate) fn replace(&mut self, tokens: &[u32], mut fill: impl FnMut(usize, &mut LayerCache)) {
        self.caches.iter_mut().enumerate().for_each(|(i, cache)| fill(i, cache));
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
        self.buffers.logits.clear();
    }

    /// What a batch takes of the session: its tokens and caches, to go on with `ids`.
    pub(crate) fn text<'s>(&'s mut self, ids: &'s [u32], rows: Rows) -> Text<'s> {
        Text { caches: &mut self.caches, tokens: &mut self.tokens, ids, rows }
    }

    /// Whether these tokens can be fed.
    pub(crate) fn check(&self, ids: &[u32]) -> Result<(), Error> {
        if ids.is_empty() {
            return Err(Error::NoTokens);
        }
        let vocab = self.model.config().vocab;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::Token { id, vocab });
        }
        if ids.len() > self.context - self.tokens.len() {
            return Err(Error::ContextFull { tokens: ids.len(), held: self.tokens.len(), context: self.context });
        }
        Ok(())
    }

    /// Takes a batch through all layers: leaves the residual stream of what is wanted in the buffers, the keys and values in the caches.
    fn layers(&mut self, ids: &[u32], rows: Rows) {
        let text = Text { caches: &mut self.caches, tokens: &mut self.tokens, ids, rows };
        self.buffers.layers(self.model, &mut [text]);
    }
}
