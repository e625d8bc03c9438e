//! From a checkpoint and a recipe to a plan: what is read, what is written, in which format, with how many bytes. Plain data; nothing is run.

use crate::Error;
use crate::allocate::Types;
use crate::calibrate::{Imatrix, ImatrixFault, SecondMoments, Texts};
use crate::fold;
use crate::method::{METHODS, Method, Needs};
use crate::nf4;
use crate::recipe::{Candidate, Facts, Recipe, Target, choose, visiting_key};
use nibble_container::TensorView;
use nibble_engine::arch::Config;
use nibble_engine::source::{Kind, Source, Tensor};
use nibble_kernels::{Format, format};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// What the user may decide beside the recipe.
#[derive(Clone)]
pub struct Options {
    /// Allow tensors that are quantized already to be quantized again.
    pub allow_requantize: bool,
    /// NF4 only: quantize the scales too.
    pub double_quant: bool,
    /// How codes are chosen.
    pub method: &'static Method,
    /// Importance of columns, for methods that take it. The choice of types depends on whether there is one, as in llama-quantize.
    pub imatrix: Option<Arc<Imatrix>>,
    /// Where the importance came from, for the output's metadata.
    pub imatrix_name: String,
    /// Texts, for methods that run them through the model.
    pub texts: Option<Arc<Texts>>,
    /// Second moments in place of texts, for methods that take them.
    pub second_moments: Option<Arc<SecondMoments>>,
    /// Types of single tensors in place of the recipe's.
    pub types: Option<Arc<Types>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            allow_requantize: false,
            double_quant: true,
            method: &METHODS[0],
            imatrix: None,
            imatrix_name: String::new(),
            texts: None,
            second_moments: None,
            types: None,
        }
    }
}

/// Where a tensor's values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// A tensor of the checkpoint, by canonical name.
    Stored,
    /// Worked out from the configuration.
    Made(Vec<f32>),
}

/// One tensor of the output.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name in the output.
    pub name: String,
    /// Its name in the checkpoint; empty where it is made.
    pub stored: String,
    /// Its name in GGUF, by which the source knows it.
    pub canonical: String,
    /// Where its values come from.
    pub origin: Origin,
    /// Its shape, outermost first.
    pub shape: Vec<u64>,
    /// `Some(heads)`: the rows of each head are permuted on the way.
    pub permute: Option<usize>,
    /// The type that it has in the checkpoint.
    pub from: &'static str,
    /// The format that it gets.
    pub to: &'static Format,
    /// The format that the recipe wanted, where the row length forced another.
    pub wanted: Option<&'static Format>,
    /// Bytes that it takes in the checkpoint.
    pub bytes_in: u64,
    /// Bytes that it will take.
    pub bytes_out: u64,
}

/// A tensor of the checkpoint that is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name in the checkpoint.
    pub name: String,
    /// Why it is not needed.
    pub why: &'static str,
}

/// All that a run will do.
pub struct Plan {
    /// The recipe.
    pub recipe: &'static Recipe,
    /// What was decided beside it.
    pub options: Options,
    /// The tensors, in the order in which they are written.
    pub steps: Vec<Step>,
    /// Tensors that are left out.
    pub skipped: Vec<Skipped>,
}

impl Plan {
    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.steps.iter().map(Step::weights).sum()
    }

    /// Bytes of all tensors in the output, without header and padding.
    pub fn bytes_out(&self) -> u64 {
        self.steps.iter().map(|s| s.bytes_out).sum()
    }

    /// Bytes of all tensors in the checkpoint.
    pub fn bytes_in(&self) -> u64 {
        self.steps.iter().map(|s| s.bytes_in).sum()
    }

    /// Bits a weight takes in the output, on average.
    pub fn bits_per_weight(&self) -> f64 {
        self.bytes_out() as f64 * 8.0 / self.weights() as f64
    }

    /// Matrices that are quantized and have no entry in the importance matrix, where one is used. Embedding and head never have one from llama-imatrix.
    pub fn unweighted(&self) -> Vec<&str> {
        let Some(imatrix) = &self.options.imatrix else { return Vec::new() };
        let quantized = self.steps.iter().filter(|s| s.shape.len() == 2 && s.to.block_len > 1);
        let layers = quantized.filter(|s| s.canonical.starts_with("blk.") && !imatrix.entries.contains_key(&s.canonical));
        layers.map(|s| s.name.as_str()).collect()
    }

    /// Number of tensors whose row length forced another format than the recipe's.
    pub fn fallbacks(&self) -> usize {
        self.steps.iter().filter(|s| s.wanted.is_some()).count()
    }
}

impl Step {
    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Bits a weight takes in the output.
    pub fn bits_per_weight(&self) -> f64 {
        self.bytes_out as f64 * 8.0 / self.weights() as f64
    }
}

/// Plans what `recipe` makes of `source`.
pub fn plan(source: &Source, recipe: &'static Recipe, options: Options) -> Result<Plan, Error> {
    match options.method.needs {
        Needs::Importance if options.imatrix.is_none() => return Err(Error::NoImatrix { method: options.method.name }),
        Needs::Texts if options.texts.is_none() && options.second_moments.is_none() => {
            return Err(Error::NoTexts { method: options.method.name });
        }
        _ => {}
    }
    if let Some(stored) = &options.second_moments {
        if !options.method.takes_second_moments() {
            return Err(Error::TakesNoMoments { method: options.method.name });
        }
        stored.fits(source)?;
    }
    if options.method.fold.is_some() {
        fold::check(source, options.method.name)?;
    }
    if let Some(imatrix) = &options.imatrix {
        fits(source, imatrix, &options.imatrix_name)?;
    }
    let (steps, written) = match recipe.target {
        Target::Gguf => gguf_steps(source, recipe, &options)?,
        Target::Directory => nf4::steps(source, recipe, &options)?,
    };
    let skipped = left_out(source, &written)?;
    Ok(Plan { recipe, options, steps, skipped })
}

/// Bytes of all tensors, without header and padding, of the GGUF file that a recipe makes of a checkpoint of this shape in BF16: what [`Plan::bytes_out`] says
/// where there is a checkpoint.
pub fn size(config: &Config, recipe: &Recipe) -> u64 {
    let specs = config.tensors();
    let shapes: Vec<Vec<u64>> = specs.iter().map(|spec| spec.shape.iter().map(|&n| n as u64).collect()).collect();
    let own = |shape: &[u64]| if shape.len() == 1 { &format::F32 } else { &format::BF16 };
    let candidates: Vec<Candidate<'_>> =
        specs.iter().zip(&shapes).map(|(spec, shape)| Candidate { name: &spec.gguf, shape, format: own(shape) }).collect();
    let facts = Facts { layers: config.layers, heads: config.heads, kv_heads: config.kv_heads, weighted: false };
    let tensors: u64 = choose(recipe, &facts, &candidates).iter().zip(&shapes).map(|(choice, shape)| bytes(choice.format, shape)).sum();
    tensors + config.rope.factors().map_or(0, |factors| bytes(&format::F32, &[factors.len() as u64]))
}

/// Whether an importance matrix is of this model: columns as many as the tensors have, and at least one that has any.
fn fits(source: &Source, imatrix: &Imatrix, name: &str) -> Result<(), Error> {
    let mut found = false;
    for tensor in source.tensors().iter().filter(|t| t.spec.shape.len() == 2) {
        let Some(entry) = imatrix.entries.get(&tensor.spec.gguf) else { continue };
        found = true;
        if entry.sums.len() != tensor.cols() {
            return Err(Error::ImatrixColumns { tensor: tensor.spec.gguf.clone(), found: entry.sums.len(), expected: tensor.cols() });
        }
    }
    let first = || imatrix.entries.keys().next().cloned().unwrap_or_default();
    if found { Ok(()) } else { Err(ImatrixFault::OtherModel { first: first() }.at(Path::new(name))) }
}

/// The steps, and the names of the checkpoint's tensors that they read.
pub(crate) type Steps = (Vec<Step>, HashSet<String>);

fn gguf_steps(source: &Source, recipe: &Recipe, options: &Options) -> Result<Steps, Error> {
    let from_hf = matches!(source.kind(), Kind::HuggingFace(_));
    let config = source.config();
    let mut tensors: Vec<&Tensor> = source.tensors().iter().collect();
    tensors.sort_by(|a, b| visiting_key(&a.spec.gguf).cmp(&visiting_key(&b.spec.gguf)));
    let shapes: Vec<Vec<u64>> = tensors.iter().map(|t| t.spec.shape.iter().map(|&n| n as u64).collect()).collect();
    // The converter writes vectors in F32, whatever they were; in a GGUF they keep what they have.
    let own = |t: &Tensor| match t.format() {
        Some(format) if !(from_hf && t.spec.shape.len() == 1) => format,
        _ => &format::F32,
    };
    let candidates: Vec<Candidate<'_>> =
        tensors.iter().zip(&shapes).map(|(t, shape)| Candidate { name: &t.spec.gguf, shape, format: own(t) }).collect();
    let facts = Facts { layers: config.layers, heads: config.heads, kv_heads: config.kv_heads, weighted: options.imatrix.is_some() };
    let mut choices = choose(recipe, &facts, &candidates);
    if let Some(types) = &options.types {
        types.apply(&candidates, &mut choices)?;
    }

    let mut steps = Vec::new();
    for ((tensor, shape), choice) in tensors.iter().zip(&shapes).zip(choices) {
        let from = source.type_name(tensor);
        // What an adapter was merged into is encoded anew even in the format that it had.
        let kept = |f: &Format| f.name == choice.format.name && source.blocks(tensor).is_some();
        let again = tensor.format().is_some_and(|f| f.block_len > 1 && !kept(f));
        if again && !options.allow_requantize {
            return Err(Error::Requantize { tensor: tensor.spec.gguf.clone(), found: from, wanted: choice.format.name });
        }
        steps.push(Step {
            name: tensor.spec.gguf.clone(),
            stored: tensor.stored.clone(),
            canonical: tensor.spec.gguf.clone(),
            origin: Origin::Stored,
            shape: shape.clone(),
            permute: tensor.spec.permute.filter(|_| from_hf),
            from,
            to: choice.format,
            wanted: choice.wanted,
            bytes_in: source.stored_bytes(tensor),
            bytes_out: bytes(choice.format, shape),
        });
    }
    let mut written: HashSet<String> = tensors.iter().map(|t| t.stored.clone()).collect();
    let stored_factors = source.rope_factors()?;
    let was_stored = stored_factors.is_some();
    if let Some(factors) = stored_factors.or_else(|| if from_hf { config.rope.factors() } else { None }) {
        written.insert(ROPE_FREQS.to_owned());
        steps.push(rope_freqs(factors, was_stored));
        steps.sort_by(|a, b| visiting_key(&a.name).cmp(&visiting_key(&b.name)));
    }
    Ok((steps, written))
}

const ROPE_FREQS: &str = "rope_freqs.weight";

/// The divisors of the rotary frequencies, which stand for llama3's rope scaling in a GGUF.
fn rope_freqs(factors: Vec<f32>, was_stored: bool) -> Step {
    let shape = vec![factors.len() as u64];
    let bytes = bytes(&format::F32, &shape);
    Step {
        name: ROPE_FREQS.to_owned(),
        stored: if was_stored { ROPE_FREQS.to_owned() } else { String::new() },
        canonical: ROPE_FREQS.to_owned(),
        origin: Origin::Made(factors),
        shape,
        permute: None,
        from: if was_stored { "F32" } else { "-" },
        to: &format::F32,
        wanted: None,
        bytes_in: if was_stored { bytes } else { 0 },
        bytes_out: bytes,
    }
}

/// Bytes of a tensor in a format whose blocks divide its rows.
pub(crate) fn bytes(format: &Format, shape: &[u64]) -> u64 {
    let elements: u64 = shape.iter().product();
    elements / format.block_len as u64 * format.block_bytes as u64
}

/// The tensors that no step reads: each is either known to be needless, or a fault.
fn left_out(source: &Source, written: &HashSet<String>) -> Result<Vec<Skipped>, Error> {
    let (mut skipped, mut unknown) = (Vec::new(), Vec::new());
    for view in source.checkpoint().tensors() {
        if written.contains(view.name) || is_part(&view, written) {
            continue;
        }
        match needless(view.name, source.config().tied) {
            Some(why) => skipped.push(Skipped { name: view.name.to_owned(), why }),
            None => unknown.push(view.name.to_owned()),
        }
    }
    if unknown.is_empty() { Ok(skipped) } else { Err(Error::Unknown { path: source.path().to_owned(), names: unknown }) }
}

/// Whether the tensor belongs to an NF4 weight: `W.absmax`, `W.quant_map`, ...
fn is_part(view: &TensorView<'_>, written: &HashSet<String>) -> bool {
    view.name.find(".weight.").is_some_and(|at| written.contains(&view.name[..at + ".weight".len()]))
}

fn needless(name: &str, tied: bool) -> Option<&'static str> {
    if name.ends_with("rotary_emb.inv_freq") {
        Some("the rotary frequencies follow from the configuration")
    } else if tied && ["lm_head.weight", "model.embed_tokens.weight"].contains(&name) {
        Some("the output matrix is the embedding")
    } else {
        None
    }
}
