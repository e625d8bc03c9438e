//! A model on disk, whichever way it is stored: its architecture, its configuration, and its weights by canonical (GGUF) name.
//!
//! Hugging Face directories (BF16, F16, F32; bitsandbytes NF4, nested or plain) and GGUF files (split ones too). Opening reads headers only. Quantizing
//! and running share this file: the one reads rows as floats in GGUF's order, the other takes the bytes as they are.

mod hf;
mod nf4;

use crate::Error;
use crate::adapter::Delta;
use crate::arch::fields::Scalar;
use crate::arch::{Config, TensorSpec, permuted_row};
use nf4::Nf4;
use nibble_container::gguf::{Array, Value};
use nibble_container::{Checkpoint, Dtype, Span, TensorView};
use nibble_kernels::{Format, format};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// An opened model.
pub struct Source {
    path: PathBuf,
    checkpoint: Checkpoint,
    config: Config,
    kind: Kind,
    tensors: Vec<Tensor>,
    by_name: HashMap<String, usize>,
}

/// How the model is stored.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each open model")]
pub enum Kind {
    /// A Hugging Face directory.
    HuggingFace(hf::Files),
    /// GGUF.
    Gguf,
}

pub use hf::Files;

/// One weight tensor.
#[derive(Debug)]
pub struct Tensor {
    /// Names, shape and permutation.
    pub spec: TensorSpec,
    /// Its name in the checkpoint.
    pub stored: String,
    weight: Weight,
    /// What adapters that were merged add to its rows.
    deltas: Vec<Delta>,
}

/// How a tensor's values are stored.
#[derive(Debug)]
enum Weight {
    /// Rows of a format's blocks.
    Blocks(&'static Format),
    /// bitsandbytes NF4.
    Nf4(Nf4),
}

impl Source {
    /// Opens a GGUF file (any shard of a split one), or a Hugging Face directory. Every fault of its tensors is reported together.
    pub fn open(path: &Path) -> Result<Source, Error> {
        let checkpoint = Checkpoint::open(path)?;
        let (config, kind) = if checkpoint.metadata().is_some() {
            (gguf_config(&checkpoint, path)?, Kind::Gguf)
        } else {
            let files = hf::Files::read(path)?;
            (files.config(path)?, Kind::HuggingFace(files))
        };
        let mut faults = Vec::new();
        let mut tensors = Vec::new();
        for spec in config.tensors() {
            match bind(&checkpoint, &kind, spec) {
                Ok(tensor) => tensors.push(tensor),
                Err(fault) => faults.push(fault),
            }
        }
        let by_name = tensors.iter().enumerate().map(|(i, t)| (t.spec.gguf.clone(), i)).collect();
        let source = Source { path: path.into(), checkpoint, config, kind, tensors, by_name };
        if !faults.is_empty() {
            return Err(Error::Tensors { path: path.into(), faults });
        }
        Ok(source)
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How it is stored.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The opened files.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// All weights, in the architecture's order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// A weight by canonical name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }

    /// A GGUF's divisors of the rotary frequencies.
    pub fn rope_factors(&self) -> Result<Option<Vec<f32>>, Error> {
        let name = "rope_freqs.weight";
        let Some(view) = self.checkpoint.get(name).filter(|_| matches!(self.kind, Kind::Gguf)) else { return Ok(None) };
        let want = self.config.rope.dims / 2;
        let fault = |found: String| {
            let expected = format!("F32 [{want}], all finite and above zero");
            Error::Tensors { path: self.path.clone(), faults: vec![TensorFault { tensor: name.into(), found, expected }] }
        };
        if blocks_of(view.dtype).map(|f| f.name) != Some("F32") || view.shape != [want as u64] {
            return Err(fault(format!("{:?} {:?}", view.dtype, view.shape)));
        }
        let mut factors = vec![0.0; want];
        (format::F32.decode)(view.bytes, &mut factors);
        match factors.iter().find(|x| !x.is_finite() || **x <= 0.0) {
            Some(bad) => Err(fault(bad.to_string())),
            None => Ok(Some(factors)),
        }
    }

    /// The name of the type that a tensor is stored in, `BF16`, `Q4_K`, `NF4`.
    pub fn type_name(&self, tensor: &Tensor) -> &'static str {
        match &tensor.weight {
            Weight::Blocks(format) => format.name,
            Weight::Nf4(_) => "NF4",
        }
    }

    /// Bytes that a tensor takes in the checkpoint.
    pub fn stored_bytes(&self, tensor: &Tensor) -> u64 {
        match &tensor.weight {
            Weight::Nf4(nf4) => nf4.stored_bytes(&self.checkpoint) as u64,
            Weight::Blocks(_) => self.view(&tensor.stored).bytes.len() as u64,
        }
    }

    fn view(&self, stored: &str) -> TensorView<'_> {
        // Bound on opening, from the same immutable directory of tensors.
        self.checkpoint.get(stored).expect("a bound tensor is in its checkpoint")
    }

    /// The blocks of a tensor as they are stored, in the rows' stored order (not permuted); `None` for NF4, whose parts lie apart, and where an adapter
    /// was merged.
    pub fn blocks(&self, tensor: &Tensor) -> Option<(&'static Format, &[u8])> {
        let format = tensor.format().filter(|_| tensor.deltas.is_empty())?;
        Some((format, self.view(&tensor.stored).bytes))
    }

    /// As [`Source::blocks`], with a share in the mapping instead of a borrow.
    pub fn span(&self, tensor: &Tensor) -> Option<(&'static Format, Span)> {
        let format = tensor.format().filter(|_| tensor.deltas.is_empty())?;
        Some((format, self.checkpoint.span(&tensor.stored)?))
    }

    /// Adds a change to a tensor's rows; the adapter was checked against this model.
    pub(crate) fn change(&mut self, delta: Delta) {
        if let Some(&i) = self.by_name.get(&delta.tensor) {
            self.tensors[i].deltas.push(delta);
        }
    }

    /// Bytes of a tensor in a format that the kernels multiply, rows in stored order: for NF4 blocks of its scale and its codes side by side, or,
    /// where rows are not whole blocks, plain floats; the same where an adapter was merged.
    pub fn repacked(&self, tensor: &Tensor) -> Option<(&'static Format, Vec<u8>)> {
        let cols = tensor.spec.shape.last().copied().unwrap_or(1);
        match &tensor.weight {
            Weight::Blocks(_) if tensor.deltas.is_empty() => return None,
            Weight::Nf4(nf4) if tensor.deltas.is_empty() => {
                if let Some(blocks) = nf4.blocks(&self.checkpoint, cols) {
                    return Some((&format::NF4, blocks));
                }
            }
            _ => {}
        }
        let mut bytes = Vec::with_capacity(4 * tensor.rows() * cols);
        let mut floats = vec![0.0; 64 * cols];
        for first in (0..tensor.rows()).step_by(64) {
            let rows = first..(first + 64).min(tensor.rows());
            let floats = &mut floats[..rows.len() * cols];
            self.read_stored(tensor, rows, floats);
            floats.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        }
        Some((&format::F32, bytes))
    }

    /// Rows of a tensor as floats, in GGUF's order (queries and keys of Hugging Face checkpoints permuted); a one-dimensional tensor has rows of one
    /// element. `out` holds the rows one after the other.
    ///
    /// # Panics
    /// When the rows are past the tensor's or `out` is not exactly theirs.
    pub fn read_rows(&self, tensor: &Tensor, rows: Range<usize>, out: &mut [f32]) {
        let permute = tensor.spec.permute.filter(|_| matches!(self.kind, Kind::HuggingFace(_)));
        self.read(tensor, rows, permute, out);
    }

    /// As [`Source::read_rows`], but in the order in which they are stored.
    pub fn read_stored(&self, tensor: &Tensor, rows: Range<usize>, out: &mut [f32]) {
        self.read(tensor, rows, None, out);
    }

    fn read(&self, tensor: &Tensor, rows: Range<usize>, permute: Option<usize>, out: &mut [f32]) {
        let (count, cols) = (tensor.rows(), tensor.cols());
        assert!(rows.end <= count && rows.len() * cols == out.len(), "{}: rows {rows:?} of {count}", tensor.spec.gguf);
        let stored = |first: usize, out: &mut [f32]| match &tensor.weight {
            Weight::Nf4(nf4) => nf4.read(&self.checkpoint, first * cols, out),
            Weight::Blocks(format) => {
                let bytes = self.view(&tensor.stored).bytes;
                // A vector's "rows" are elements, which may share a block; all block formats of vectors have blocks of one.
                let size = |n: usize| n * cols / format.block_len * format.block_bytes;
                (format.decode)(&bytes[size(first)..size(first) + size(out.len() / cols)], out);
            }
        };
        let range = |first: usize, out: &mut [f32]| {
            stored(first, out);
            tensor.deltas.iter().for_each(|delta| delta.merge(first, out));
        };
        match permute {
            None => range(rows.start, out),
            Some(heads) => {
                for (row, out) in rows.zip(out.chunks_exact_mut(cols)) {
                    range(permuted_row(row, count, heads), out);
                }
            }
        }
    }
}

impl Tensor {
    /// The format of its blocks; `None` for NF4, whose parts lie apart.
    pub fn format(&self) -> Option<&'static Format> {
        match self.weight {
            Weight::Blocks(format) => Some(format),
            Weight::Nf4(_) => None,
        }
    }

    /// Rows: the first dimension.
    pub fn rows(&self) -> usize {
        self.spec.shape[0]
    }

    /// Elements a row: the second dimension, 1 for a vector.
    pub fn cols(&self) -> usize {
        self.spec.shape.get(1).copied().unwrap_or(1)
    }
}

/// One thing wrong with a checkpoint's tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorFault {
    /// The tensor's name in the checkpoint.
    pub tensor: String,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

impl std::fmt::Display for TensorFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: found {}, expected {}", self.tensor, self.found, self.expected)
    }
}

/// The format of a container's type, where the kernels know one.
pub fn blocks_of(dtype: Dtype) -> Option<&'static Format> {
    match dtype {
        Dtype::Ggml(id) => format::by_gguf_id(id),
        Dtype::F32 => Some(&format::F32),
        Dtype::F16 => Some(&format::F16),
        Dtype::BF16 => Some(&format::BF16),
        _ => None,
    }
}

/// Finds a tensor of the architecture in the checkpoint and checks its shape and its type.
fn bind(checkpoint: &Checkpoint, kind: &Kind, spec: TensorSpec) -> Result<Tensor, TensorFault> {
    let names: Vec<&str> = match kind {
        Kind::Gguf => vec![&spec.gguf],
        Kind::HuggingFace(_) => spec.hf.iter().map(|n| n.as_str()).collect(),
    };
    let Some(view) = names.iter().find_map(|n| checkpoint.get(n)) else {
        return Err(TensorFault { tensor: names[0].into(), found: "no such tensor".into(), expected: format!("shape {:?}", spec.shape) });
    };
    let stored = view.name.to_string();
    let fault = |found: String, expected: String| TensorFault { tensor: stored.clone(), found, expected };
    let nf4_wanted = matches!(kind, Kind::HuggingFace(files) if files.nf4()) && matches!(view.dtype, Dtype::U8);
    let weight = if nf4_wanted {
        Weight::Nf4(Nf4::bind(checkpoint, &view, &spec.shape)?)
    } else {
        if !view.shape.iter().copied().eq(spec.shape.iter().map(|&n| n as u64)) {
            return Err(fault(format!("shape {:?}", view.shape), format!("{:?}", spec.shape)));
        }
        let Some(format) = blocks_of(view.dtype) else {
            return Err(fault(format!("type {:?}", view.dtype), "a type that this program decodes".into()));
        };
        let cols = *spec.shape.last().unwrap_or(&1);
        let rows = if spec.shape.len() > 1 { spec.shape[0] } else { 1 };
        if spec.shape.len() == 1 && format.block_len != 1 {
            return Err(fault(format!("type {}", format.name), "F32, F16 or BF16 for a vector".into()));
        }
        if format.row_bytes(cols).and_then(|b| b.checked_mul(rows)) != Some(view.bytes.len()) {
            let expected = format!("{} rows of {cols} elements of {}", rows, format.name);
            return Err(fault(format!("{} bytes", view.bytes.len()), expected));
        }
        Weight::Blocks(format)
    };
    Ok(Tensor { spec, stored, weight, deltas: vec![] })
}

fn gguf_config(checkpoint: &Checkpoint, path: &Path) -> Result<Config, Error> {
    let lookup = |key: &str| checkpoint.metadata()?.value(key).map(scalar);
    Config::from_gguf(&path.display().to_string(), &lookup, &|name| checkpoint.get(name).is_some())
}

/// A metadata value as the configuration reads it. Lists of anything but a few integers are only counted.
pub(crate) fn scalar(value: &Value) -> Scalar {
    match value {
        Value::F32(x) => Scalar::Float((*x).into()),
        Value::F64(x) => Scalar::Float(*x),
        Value::Bool(x) => Scalar::Bool(*x),
        Value::String(x) => Scalar::Text(x.clone()),
        Value::Array(x) => few(x).unwrap_or(Scalar::Counted(x.len())),
        integer => integer.integer().map_or(Scalar::Other("a value of an unknown type"), Scalar::Int),
    }
}

fn few(array: &Array) -> Option<Scalar> {
    let integers = Some(array).filter(|a| a.len() <= 4096)?.integers()?;
    Some(Scalar::List(integers.into_iter().map(Scalar::Int).collect()))
}
