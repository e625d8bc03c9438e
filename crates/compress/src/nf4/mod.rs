//! bitsandbytes NF4: a checkpoint directory that transformers opens with `from_pretrained`, byte for byte what bitsandbytes computes on the CPU.
//!
//! The matrices of the layers are quantized; embedding, head, norms and biases keep their type. For a matrix W of n weights:
//!
//! | tensor | type and shape | what |
//! |---|---|---|
//! | `W` | U8 \[n/2, 1\] | codes of the flattened weights, two a byte, the first in the high nibble |
//! | `W.absmax` | F32 \[n/64\]; U8 with double quantization | the largest magnitude of each 64 weights, see [`statistics`] |
//! | `W.quant_map` | F32 \[16\] | the values of the codes |
//! | `W.nested_absmax`, `W.nested_quant_map` | F32 \[n/64/256\], \[256\] | double quantization only |
//! | `W.quant_state.bitsandbytes__nf4` | U8 | JSON, see [`state`] |
//!
//! The length of the JSON is not known before the weights have been read, as it holds the mean of the scales. So these small tensors lie last, the
//! header is written with room for them, and once more at the end; all other places are known at the start. One file holds all: transformers
//! itself cuts at 50 GB, which the NF4 of a model of 70 billion weights does not reach.

mod directory;
pub mod state;
pub mod statistics;

use crate::Error;
use crate::plan::{Options, Origin, Step, Steps, bytes};
use nibble_engine::source::{Kind, Source, Tensor};
use nibble_kernels::{Format, format};

pub(crate) use directory::{made, write};

/// Weights that share one absmax.
pub const BLOCK: usize = 64;

/// The plan's steps: see [`crate::plan::plan`].
pub(crate) fn steps(source: &Source, recipe: &crate::recipe::Recipe, options: &Options) -> Result<Steps, Error> {
    let wrong = |found| Error::WrongSource { path: source.path().to_owned(), recipe: recipe.name, found };
    match source.kind() {
        Kind::Gguf => return Err(wrong("this is a GGUF file")),
        Kind::HuggingFace(files) if files.nf4() => return Err(wrong("these are NF4 already")),
        Kind::HuggingFace(_) => {}
    }
    let plain = float_type(source);
    let step = |tensor: &Tensor| {
        let shape: Vec<u64> = tensor.spec.shape.iter().map(|&n| n as u64).collect();
        let linear = tensor.spec.gguf.starts_with("blk.") && shape.len() == 2;
        let to = if linear { &format::NF4 } else { plain };
        Step {
            // Tied checkpoints that keep the matrix under the head's name get it under the embedding's, as transformers saves it.
            name: tensor.spec.hf.first().unwrap_or(&tensor.stored).clone(),
            stored: tensor.stored.clone(),
            canonical: tensor.spec.gguf.clone(),
            origin: Origin::Stored,
            bytes_out: if linear { nf4_bytes(shape.iter().product(), options.double_quant) } else { bytes(to, &shape) },
            shape,
            permute: None,
            from: source.type_name(tensor),
            to,
            wanted: None,
            bytes_in: source.stored_bytes(tensor),
        }
    };
    let steps = source.tensors().iter().map(step).collect();
    Ok((steps, source.tensors().iter().map(|t| t.stored.clone()).collect()))
}

/// The type that transformers gives the weights on loading, before it quantizes: the configuration's, else that of the first tensor.
fn float_type(source: &Source) -> &'static Format {
    let named = match source.config().dtype.as_deref().map(|d| d.trim_start_matches("torch.")) {
        Some("float32") => Some(&format::F32),
        Some("float16") => Some(&format::F16),
        Some("bfloat16") => Some(&format::BF16),
        _ => None,
    };
    let first = source.tensors().first().and_then(|t| source.blocks(t));
    named.or(first.map(|(format, _)| format)).filter(|f| f.block_len == 1).unwrap_or(&format::F32)
}

/// Rounds rows to the type that transformers gives them before it quantizes them.
pub(crate) fn as_loaded(source: &Source, step: &Step, floats: &mut [f32]) {
    round_to(float_type(source), step, floats);
}

fn round_to(plain: &Format, step: &Step, floats: &mut [f32]) {
    if step.from != plain.name {
        let mut rounded = vec![0; floats.len() * plain.block_bytes];
        (plain.encode)(floats, None, &mut rounded);
        (plain.decode)(&rounded, floats);
    }
}

/// Bytes of a matrix of `n` weights with its parts, but for the JSON, of which some 170 bytes come on top.
fn nf4_bytes(n: u64, double: bool) -> u64 {
    let blocks = n.div_ceil(BLOCK as u64);
    let scales = if double { blocks + 4 * blocks.div_ceil(statistics::NESTED_BLOCK as u64) + 4 * 256 } else { 4 * blocks };
    n.div_ceil(2) + scales + 4 * 16
}
