//! A model taken through its layers one at a time, for what looks into layers: calibration, and quantizing a layer knowing what came of those before.
//!
//! The hidden states of all texts are the caller's, [tokens, dim] a text; a layer is bound, run over all texts and dropped, so that memory holds one
//! layer's weights whatever the model. Each text is a context of its own. The numbers are those of a [`crate::Session`], bit for bit.

use crate::Error;
use crate::arch::LayerSpec;
use crate::arch::rope::Angles;
use crate::cache::{KvType, LayerCache};
use crate::layer::{self, Part, Rotation, Scratch};
use crate::pool::{Pool, cores::Cores};
use crate::source::Source;
use crate::weights::{LayerWeights, Outside};
use nibble_kernels::Format;
use nibble_kernels::ops::{self, Attention};

pub use crate::layer::{Site, Watch};

impl Site {
    /// In the order of the forward pass.
    pub const ALL: [Site; 4] = [Site::Attention, Site::Output, Site::FeedForward, Site::Down];

    /// The matrices that take their input here, by the middle of their canonical names.
    pub fn matrices(self) -> &'static [&'static str] {
        match self {
            Site::Attention => &["attn_q", "attn_k", "attn_v"],
            Site::Output => &["attn_output"],
            Site::FeedForward => &["ffn_gate", "ffn_up"],
            Site::Down => &["ffn_down"],
        }
    }
}

/// A model on its way through the layers.
pub struct Walk<'s> {
    source: &'s Source,
    outside: Outside,
    angles: Angles,
    pool: Pool,
    scratch: Scratch,
    cache: LayerCache,
}

/// One layer's weights.
pub struct Layer {
    index: usize,
    spec: LayerSpec,
    weights: LayerWeights,
}

impl<'s> Walk<'s> {
    /// Starts with the embedding bound and no layer.
    pub fn new(source: &'s Source, threads: usize) -> Result<Walk<'s>, Error> {
        let config = source.config();
        let kv = KvType::F16;
        let cores = Cores::detect();
        let outside = Outside::bind(source)?;
        Ok(Walk {
            source,
            outside,
            angles: Angles::new(&config.rope, source.rope_factors()?.as_deref()),
            pool: Pool::new(threads, cores.for_threads(threads)),
            scratch: Scratch::default(),
            cache: LayerCache::new(kv, Attention::best(), config.kv_heads, config.head_dim),
        })
    }

    /// The hidden states before the first layer, [tokens, dim].
    pub fn embed(&self, ids: &[u32]) -> Vec<f32> {
        let dim = self.source.config().dim;
        let mut x = vec![0.0; ids.len() * dim];
        self.pool.chunks(&mut x, dim, |t, row| self.outside.embedding.row(ids[t] as usize, row));
        x
    }

    /// Puts blocks of another format in the embedding's place, rows in the order in which the source stores them.
    ///
    /// # Panics
    /// When the bytes are not its rows.
    pub fn replace_embedding(&mut self, format: &'static Format, bytes: Vec<u8>) {
        self.outside.embedding.replace(format, bytes).unwrap_or_else(|| panic!("token_embd: not its rows in {}", format.name));
    }

    /// The same for the output matrix of a model that has one of its own.
    ///
    /// # Panics
    /// When it has none, or the bytes are not its rows.
    pub fn replace_output(&mut self, format: &'static Format, bytes: Vec<u8>) {
        let output = self.outside.output.as_mut().expect("an output matrix");
        output.replace(format, bytes).unwrap_or_else(|| panic!("output: not its rows in {}", format.name));
    }

    /// Puts back what was replaced outside the layers.
    pub fn restore_outside(&mut self) -> Result<(), Error> {
        self.outside = Outside::bind(self.source)?;
        Ok(())
    }

    /// Logits of hidden states after all layers, [tokens, vocab].
    pub fn logits(&mut self, x: &[f32]) -> Vec<f32> {
        let normed = self.last_norm(x);
        let vocab = self.source.config().vocab;
        let tokens = x.len() / self.source.config().dim;
        let matrix = self.outside.output.as_ref().unwrap_or(&self.outside.embedding);
        let mut logits = vec![0.0; tokens * vocab];
        self.scratch.multiply(&self.pool, matrix, &normed, tokens).copy_all(&self.pool, &mut logits);
        logits
    }

    /// Width of the residual stream.
    pub fn dim(&self) -> usize {
        self.source.config().dim
    }

    /// Binds layer `i`.
    pub fn layer(&self, i: usize) -> Result<Layer, Error> {
        Ok(Layer { index: i, spec: self.source.config().layer(i), weights: LayerWeights::bind(self.source, i)? })
    }

    /// Gives the pages of layer `i` back to the system, so that they do not count as this process's memory.
    pub fn release(&self, i: usize) {
        let prefix = format!("blk.{i}.");
        let tensors = self.source.tensors().iter().filter(|t| t.spec.gguf.starts_with(&prefix));
        tensors.for_each(|t| self.source.checkpoint().release(&t.stored));
    }

    /// Takes one text's hidden states through the layer. `watch` sees the inputs of its matrices.
    pub fn forward(&mut self, layer: &Layer, x: &mut [f32], mut watch: Option<&mut Watch<'_>>) {
        if self.attention_half(layer, x, watch.as_deref_mut()) {
            self.feed_forward_half(layer, x, watch);
        }
    }

    /// The first half of [`Walk::forward`]: up to where attention's output has been added. False: `watch` has ended it.
    pub fn attention_half(&mut self, layer: &Layer, x: &mut [f32], watch: Option<&mut Watch<'_>>) -> bool {
        let tokens = x.len() / self.source.config().dim;
        let rotation = Rotation::new(&self.angles, 0..tokens);
        let part = Part { cache: &mut self.cache, pos: 0, tokens };
        layer::attention_half(&layer.spec, &layer.weights, &self.pool, x, &mut [part], &rotation, &mut self.scratch, watch)
    }

    /// The second half: hidden states as the first half leaves them become those after the layer.
    pub fn feed_forward_half(&mut self, layer: &Layer, x: &mut [f32], watch: Option<&mut Watch<'_>>) {
        let tokens = x.len() / self.source.config().dim;
        layer::feed_forward_half(&layer.spec, &layer.weights, &self.pool, x, tokens, &mut self.scratch, &[], watch);
    }

    /// The last norm of hidden states after all layers: what the output matrix takes.
    pub fn last_norm(&self, x: &[f32]) -> Vec<f32> {
        let config = self.source.config();
        let mut out = vec![0.0; x.len()];
        self.pool.chunks(&mut out, config.dim, |t, row| {
            ops::rms_norm(&x[t * config.dim..][..config.dim], &self.outside.output_norm, config.eps, row);
        });
        out
    }

    /// The threads, for what is computed between the layers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Layer {
    /// Which layer it is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Puts blocks of another format in a matrix's place, rows in the order in which the source stores them. `name`: one of [`Site::matrices`].
    ///
    /// # Panics
    /// When there is no such matrix, or the bytes are not its rows.
    pub fn replace(&mut self, name: &str, format: &'static Format, bytes: Vec<u8>) {
        let matrix = self.weights.matrix_mut(name).unwrap_or_else(|| panic!("no matrix {name} in a layer"));
        matrix.replace(format, bytes).unwrap_or_else(|| panic!("{name}: not its rows in {}", format.name));
    }

    /// Puts other values in the place of a norm's or a bias's, elements in the order in which the source stores them. `name`: `attn_norm.weight`, `attn_v.bias`.
    ///
    /// # Panics
    /// When the layer has no such vector, or it has another length.
    pub fn replace_vector(&mut self, name: &str, values: Vec<f32>) {
        let len = values.len();
        let vector = self.weights.vector_mut(name).filter(|v| v.len() == len);
        *vector.unwrap_or_else(|| panic!("no vector {name} of {len} in a layer")) = values;
    }
}
