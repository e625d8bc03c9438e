//! The architectures: one table, one row each. A row knows the architecture's names, reads its configuration from both kinds of file, pairs its
//! tensors' names and describes its layers as plain data. Nothing else in the program switches on an architecture.
//!
//! To add one: a file beside `llama.rs` with the functions of [`Arch`], and its row in [`ARCHS`].

pub mod fields;
mod llama;
pub mod rope;

use crate::Error;
use fields::{Fault, Fields, Scalar};
use rope::Rope;

/// Reads a configuration from GGUF metadata.
pub type FromGguf = fn(&'static Arch, &mut Fields, &dyn Fn(&str) -> bool) -> Config;

/// One architecture.
pub struct Arch {
    /// Its `general.architecture` in GGUF, and the prefix of its metadata keys.
    pub name: &'static str,
    /// The `architectures` of config.json that it runs.
    pub hf: &'static [&'static str],
    /// Its `model_type` in config.json, for files without `architectures`.
    pub model_types: &'static [&'static str],
    /// Reads config.json.
    pub from_json: fn(&'static Arch, &mut Fields) -> Config,
    /// Reads GGUF metadata. The second argument tells whether the file has a tensor of that name.
    pub from_gguf: FromGguf,
    /// The metadata of the architecture (`llama.block_count` ...), in the order in which llama.cpp's converter writes it.
    pub metadata: fn(&Config) -> Vec<(String, Meta)>,
    /// Every tensor: names, shape, permutation.
    pub tensors: fn(&Config) -> Vec<TensorSpec>,
    /// Layer `i` as plain data for `layer.rs`.
    pub layer: fn(&Config, usize) -> LayerSpec,
}

/// Every architecture that the program knows.
pub static ARCHS: &[&Arch] = &[&llama::LLAMA, &llama::MISTRAL];

impl std::fmt::Debug for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arch({})", self.hf[0])
    }
}

/// A value of GGUF metadata that an architecture writes.
#[derive(Debug, Clone, PartialEq)]
pub enum Meta {
    /// u32
    U32(u32),
    /// f32
    F32(f32),
    /// string
    Text(String),
}

/// A model's shape, the same whichever file it came from. All counts have been checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The architecture's row.
    pub arch: &'static Arch,
    /// Tokens in the vocabulary; rows of the embedding.
    pub vocab: usize,
    /// Width of the residual stream, `hidden_size`.
    pub dim: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements a head; even. Not always `dim / heads`.
    pub head_dim: usize,
    /// Width of the feed-forward network, `intermediate_size`.
    pub ffn: usize,
    /// Tokens that the model was made for, `max_position_embeddings`.
    pub context: usize,
    /// Epsilon of the RMS norms.
    pub eps: f32,
    /// Rotation of queries and keys.
    pub rope: Rope,
    /// The output matrix is the embedding.
    pub tied: bool,
    /// Biases on the projections.
    pub biases: Biases,
    /// Sliding window: a token sees itself and the `window - 1` before it.
    pub window: Option<usize>,
    /// `torch_dtype` or `dtype` of config.json.
    pub dtype: Option<String>,
    /// First token of a text, when the configuration names one.
    pub bos: Option<u32>,
    /// End tokens that the configuration names.
    pub eos: Vec<u32>,
    /// Padding token.
    pub pad: Option<u32>,
}

/// Which projections have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Biases {
    /// On queries, keys and values.
    pub qkv: bool,
    /// On the output of attention.
    pub attn_output: bool,
    /// On gate, up and down of the feed-forward network.
    pub ffn: bool,
}

/// One tensor of an architecture: what it is called in either kind of file, its shape, and how its rows move between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Canonical name: GGUF's.
    pub gguf: String,
    /// Names under which Hugging Face checkpoints store it, best first.
    pub hf: Vec<String>,
    /// Shape, outermost first: `[rows, cols]` or `[len]`.
    pub shape: Vec<usize>,
    /// `Some(heads)`: GGUF keeps the rows of each head permuted against Hugging Face's, see [`permuted_row`].
    pub permute: Option<usize>,
}

/// The row of a Hugging Face tensor of `rows` rows that stands at row `row` of its GGUF twin, when the rows of each of `heads` heads are
/// permuted: GGUF interleaves the two halves of a head (0, h/2, 1, h/2 + 1, ...), so that a rotated pair stands side by side.
pub fn permuted_row(row: usize, rows: usize, heads: usize) -> usize {
    let head = rows / heads;
    let (h, r) = (row / head, row % head);
    h * head + (r % 2) * (head / 2) + r / 2
}

/// What the feed-forward network does between its matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// silu(gate) * up.
    SwiGlu,
}

impl Activation {
    /// Whether twice the up projection gives twice the result.
    pub fn linear_in_up(self) -> bool {
        match self {
            Activation::SwiGlu => true,
        }
    }
}

/// One layer as plain data. Only `layer.rs` reads it, so an architecture that this can describe needs no code of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements a head.
    pub head_dim: usize,
    /// Width of the feed-forward network.
    pub ffn: usize,
    /// Epsilon of both norms.
    pub eps: f32,
    /// Factor on query · key, 1/sqrt(head_dim) as a rule.
    pub scale: f32,
    /// Elements of a head that are rotated, and in which pairing; `None` for a layer without positions.
    pub rope: Option<Rope>,
    /// Sliding window, tokens, the token itself included.
    pub window: Option<usize>,
    /// Biases.
    pub biases: Biases,
    /// Between the feed-forward matrices.
    pub activation: Activation,
}

/// The most of each count that is believed. They bound memory and keep products of two within 64 bits.
pub(crate) mod limit {
    pub const VOCAB: usize = 1 << 24;
    pub const DIM: usize = 1 << 20;
    pub const LAYERS: usize = 1 << 12;
    pub const HEADS: usize = 1 << 12;
    pub const FFN: usize = 1 << 22;
    pub const CONTEXT: usize = 1 << 30;
}

impl Config {
    /// Reads a config.json that has been parsed. `file` is named in errors.
    pub fn from_json(file: &str, json: &serde_json::Value) -> Result<Config, Error> {
        let lookup = |field: &str| -> Option<Scalar> {
            let mut at = json;
            for part in field.split('.') {
                at = at.as_object()?.get(part)?;
            }
            Some(Scalar::from(at))
        };
        let mut fields = Fields::new(&lookup);
        let arch = pick_json(&mut fields).ok_or_else(|| refuse(file, std::mem::take(&mut fields.faults)))?;
        let config = (arch.from_json)(arch, &mut fields);
        config.finish(file, fields.faults)
    }

    /// Reads GGUF metadata through `lookup` (full key to value). `has_tensor` tells which tensors the file has.
    pub fn from_gguf(file: &str, lookup: &dyn Fn(&str) -> Option<Scalar>, has_tensor: &dyn Fn(&str) -> bool) -> Result<Config, Error> {
        let mut fields = Fields::new(lookup);
        let key = "general.architecture";
        let Some(name) = fields.text(key) else {
            if fields.faults.is_empty() {
                fields.fault(key, "nothing", known_gguf());
            }
            return Err(refuse(file, fields.faults));
        };
        let Some(arch) = ARCHS.iter().find(|a| a.name == name) else {
            fields.fault(key, format!("\"{name}\""), known_gguf());
            return Err(refuse(file, fields.faults));
        };
        let config = (arch.from_gguf)(arch, &mut fields, has_tensor);
        config.finish(file, fields.faults)
    }

    /// The checks between fields, then the faults of all.
    fn finish(self, file: &str, mut faults: Vec<Fault>) -> Result<Config, Error> {
        if !faults.is_empty() {
            return Err(refuse(file, faults)); // A field that is wrong already makes these checks say nonsense.
        }
        let mut fault = |field: &str, found: String, expected: &str| {
            faults.push(Fault { field: field.into(), found, expected: expected.into() });
        };
        if !self.heads.is_multiple_of(self.kv_heads) {
            fault("heads", format!("{} query heads over {} key-value heads", self.heads, self.kv_heads), "a multiple");
        }
        if !self.head_dim.is_multiple_of(2) {
            fault("head_dim", self.head_dim.to_string(), "an even number, as rotary embeddings turn pairs");
        }
        if self.rope.dims != self.head_dim {
            fault("rope dimensions", self.rope.dims.to_string(), &format!("{}, all of a head", self.head_dim));
        }
        if faults.is_empty() { Ok(self) } else { Err(refuse(file, faults)) }
    }

    /// Every tensor of the model.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        (self.arch.tensors)(self)
    }

    /// Layer `i` as plain data.
    pub fn layer(&self, i: usize) -> LayerSpec {
        (self.arch.layer)(self, i)
    }

    /// The architecture's GGUF metadata.
    pub fn metadata(&self) -> Vec<(String, Meta)> {
        (self.arch.metadata)(self)
    }

    /// Elements of one key (or value) of all heads.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

fn refuse(file: &str, faults: Vec<Fault>) -> Error {
    Error::Config { file: file.into(), faults }
}

fn known_gguf() -> String {
    let mut names: Vec<_> = ARCHS.iter().map(|a| a.name).collect();
    names.dedup();
    format!("one of: {}", names.join(", "))
}

/// The row for a config.json: by `architectures[0]`, or by `model_type` where a tool left the list out.
fn pick_json(fields: &mut Fields) -> Option<&'static Arch> {
    let known = || ARCHS.iter().flat_map(|a| a.hf).copied().collect::<Vec<_>>().join(", ");
    let named = match fields.get("architectures") {
        Some(Scalar::List(l)) => l.into_iter().next(),
        other => other,
    };
    match named {
        Some(Scalar::Text(name)) => {
            let row = ARCHS.iter().find(|a| a.hf.contains(&name.as_str())).copied();
            if row.is_none() {
                fields.fault("architectures", format!("\"{name}\""), format!("one of: {}", known()));
            }
            row
        }
        Some(other) => {
            fields.fault("architectures", other, format!("a list with one of: {}", known()));
            None
        }
        None => {
            let model_type = fields.text("model_type");
            let row = ARCHS.iter().find(|a| model_type.as_deref().is_some_and(|m| a.model_types.contains(&m))).copied();
            if row.is_none() {
                let found = model_type.map_or("nothing".to_string(), |m| format!("nothing, and model_type \"{m}\""));
                fields.fault("architectures", found, format!("one of: {}", known()));
            }
            row
        }
    }
}
