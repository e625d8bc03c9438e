//! LoRA adapters (Hu et al. 2021): a small change of a model's matrices that lies in a file of its own.
//!
//! Of a matrix W [rows, cols] an adapter has A [rank, cols] and B [rows, rank], and W x becomes
//! ```text
//! W x + scale * B (A x)          scale = user's scale * alpha / rank   (rsLoRA, Kalajdzievski 2023: alpha / sqrt(rank))
//! ```
//! The weights stay as they are, in their mapping: the second term is computed beside them (`apply.rs`), or added to the rows that a quantizer reads
//! ([`Source::merge`], `merge.rs`). A and B stay in their mapping too, in whatever type they have; only rows that stand in another order than the
//! model's are copied.
//!
//! The embedding's pair is of the look-up alone: row `id` of A [vocab, rank] times B [dim, rank]. A head that shares the embedding's matrix does not
//! change with it, as in PEFT; its own pair is called `output.weight`.
//!
//! Two layouts are read, llama.cpp's GGUF (`gguf.rs`) and PEFT's directory (`peft.rs`); the first is written (`write.rs`). Every fault of a file is reported together.

mod apply;
mod gguf;
mod merge;
mod peft;
mod write;

pub(crate) use apply::add;

use crate::Error;
use crate::arch::fields::Fault;
use crate::source::{Kind, Source, TensorFault, blocks_of};
use crate::weights::{Matrix, Place};
use nibble_container::Checkpoint;
use nibble_kernels::{Isa, format};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// An adapter to be used, and how strongly.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// A GGUF file, or a directory with adapter_config.json and adapter_model.safetensors.
    pub path: PathBuf,
    /// Factor on what the file itself says. Zero: the adapter is checked and not used.
    pub scale: f32,
}

impl Lora {
    /// One at the strength that it was trained for.
    pub fn new(path: impl Into<PathBuf>) -> Lora {
        Lora { path: path.into(), scale: 1.0 }
    }
}

/// One thing wrong with an adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterFault {
    /// A field of its metadata or of adapter_config.json.
    #[error("{0}")]
    Field(Fault),
    /// A tensor.
    #[error("{0}")]
    Tensor(TensorFault),
}

/// The change of one matrix.
pub(crate) struct Delta {
    /// The matrix's canonical name; `token_embd.weight` is the look-up, `output.weight` the head, whether it has a matrix of its own or not.
    pub tensor: String,
    /// [rank, cols]; of the look-up [vocab, rank].
    pub a: Matrix,
    /// [rows, rank], rows in the order in which the model stores its own.
    pub b: Matrix,
    /// What B (A x) is multiplied by.
    pub scale: f32,
}

impl Delta {
    pub fn rank(&self) -> usize {
        self.b.cols
    }
}

impl std::fmt::Debug for Delta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Delta({}, rank {}, scale {})", self.tensor, self.rank(), self.scale)
    }
}

/// An adapter that fits a model.
#[derive(Debug)]
pub struct Adapter {
    path: PathBuf,
    deltas: Vec<Delta>,
    ignored: Vec<String>,
}

/// What a file says of one matrix, before it is held against the model.
struct Entry {
    /// The matrix's canonical name.
    tensor: String,
    /// What the pair is called in the file, for faults.
    name: String,
    /// The names of A and B in the file.
    a: Option<String>,
    b: Option<String>,
    /// What the product is multiplied by, from the rank.
    scale: Scale,
}

/// How a scale follows from the rank.
#[derive(Clone, Copy)]
struct Scale {
    alpha: f32,
    /// alpha / sqrt(rank) instead of alpha / rank.
    root: bool,
    /// The rank that the configuration names.
    rank: Option<usize>,
}

impl Scale {
    /// An alpha of zero, which is also a missing one, means that the file's B has its scale in it: so it is in llama.cpp.
    fn of(self, user: f32, rank: usize) -> f32 {
        match (self.alpha, self.root) {
            (0.0, _) => user,
            (alpha, false) => user * alpha / rank as f32,
            (alpha, true) => user * alpha / (rank as f32).sqrt(),
        }
    }
}

/// The entries of a file by their matrices' names.
#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    by_tensor: HashMap<String, usize>,
}

impl Entries {
    /// The matrix's entry; a new one is called `name` and scaled so.
    fn of(&mut self, tensor: &str, name: &str, scale: Scale) -> &mut Entry {
        let next = self.list.len();
        let at = *self.by_tensor.entry(tensor.to_string()).or_insert(next);
        if at == next {
            self.list.push(Entry { tensor: tensor.to_string(), name: name.to_string(), a: None, b: None, scale });
        }
        &mut self.list[at]
    }
}

/// What a reader makes of a file.
struct Read {
    checkpoint: Checkpoint,
    entries: Entries,
    /// Tensors that would have a part in what is computed, and have none.
    ignored: Vec<String>,
    /// B's rows are in GGUF's order, and A of the look-up is [vocab, rank].
    gguf: bool,
}

impl Adapter {
    /// Opens an adapter and checks it against a model, all its names and shapes.
    pub fn open(lora: &Lora, source: &Source) -> Result<Adapter, Error> {
        Adapter::bind(lora, source, None)
    }

    /// The same, to be run with these kernels.
    pub(crate) fn bind(lora: &Lora, source: &Source, isa: Option<Isa>) -> Result<Adapter, Error> {
        let mut faults = Vec::new();
        if !lora.scale.is_finite() {
            faults.push(field("scale", lora.scale, "a finite number"));
        }
        let read = match peft::directory(&lora.path) {
            Some(directory) => peft::read(&directory, source, &mut faults)?,
            None => gguf::read(&lora.path, source, &mut faults)?,
        };
        let mut deltas = Vec::new();
        for entry in &read.entries.list {
            match delta(entry, &read, source, isa, lora.scale) {
                Ok(delta) => deltas.push(delta),
                Err(fault) => faults.push(AdapterFault::Tensor(fault)),
            }
        }
        if faults.is_empty() && deltas.is_empty() {
            let found = "no lora_a and lora_b".to_string();
            faults.push(AdapterFault::Tensor(TensorFault {
                tensor: "tensors".into(),
                found,
                expected: "a pair of at least one matrix".into(),
            }));
        }
        match faults.is_empty() {
            true => Ok(Adapter { path: lora.path.clone(), deltas, ignored: read.ignored }),
            false => Err(Error::Adapter { path: lora.path.clone(), faults }),
        }
    }

    /// Whether a path is PEFT's directory or a file of it.
    pub fn is_directory(path: &Path) -> bool {
        peft::directory(path).is_some()
    }

    /// The file or directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The canonical names of the matrices that it changes, and the rank of each change.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = (&str, usize)> {
        self.deltas.iter().map(|delta| (delta.tensor.as_str(), delta.rank()))
    }

    /// Tensors of the file that are not used: norms, which llama.cpp does not use either.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Bytes of all A and B.
    pub fn bytes(&self) -> u64 {
        self.deltas.iter().map(|delta| (delta.a.bytes().len() + delta.b.bytes().len()) as u64).sum()
    }

    /// Floats that a batch takes beside the model's own, at most: A x and its form for B of a run's matrices, and a tile of B's product in each thread.
    pub(crate) fn most_floats(&self, batch: usize) -> usize {
        let ranks = self.deltas.iter().map(|delta| delta.rank().next_multiple_of(16)).max().unwrap_or(0);
        let rows = self.deltas.iter().map(|delta| delta.b.rows).max().unwrap_or(0);
        batch * (RUN * 2 * ranks + rows)
    }

    /// The changes, none where the scale is zero: what is not computed changes no bit.
    pub(crate) fn into_deltas(self) -> impl Iterator<Item = Delta> {
        self.deltas.into_iter().filter(|delta| delta.scale != 0.0)
    }
}

fn field(field: &str, found: impl std::fmt::Display, expected: &str) -> AdapterFault {
    AdapterFault::Field(Fault { field: field.into(), found: found.to_string(), expected: expected.into() })
}

fn tensor(tensor: &str, found: impl Into<String>, expected: impl Into<String>) -> AdapterFault {
    AdapterFault::Tensor(TensorFault { tensor: tensor.into(), found: found.into(), expected: expected.into() })
}

/// Matrices that share their input, at most: queries, keys and values.
const RUN: usize = 3;

/// The name of the look-up's matrix, and of the head's.
pub(crate) const LOOK_UP: &str = "token_embd.weight";
pub(crate) const HEAD: &str = "output.weight";

/// Rows and columns of the matrix that an adapter calls so, and the heads by which its rows are permuted; `None`: the model has no such matrix.
fn target(source: &Source, name: &str) -> Option<(usize, usize, Option<usize>)> {
    let stored = if name == HEAD && source.config().tied { LOOK_UP } else { name };
    let tensor = source.get(stored).filter(|tensor| tensor.spec.shape.len() == 2)?;
    Some((tensor.rows(), tensor.cols(), tensor.spec.permute))
}

/// Holds a pair against the model and binds it.
fn delta(entry: &Entry, read: &Read, source: &Source, isa: Option<Isa>, user: f32) -> Result<Delta, TensorFault> {
    let fault = |tensor: &str, found: String, expected: String| TensorFault { tensor: tensor.into(), found, expected };
    let missing = |side: &str| fault(&entry.name, format!("no {side}"), "both lora_a and lora_b".into());
    let name_a = entry.a.as_deref().ok_or_else(|| missing("lora_a"))?;
    let name_b = entry.b.as_deref().ok_or_else(|| missing("lora_b"))?;
    let (rows, cols, permute) = target(source, &entry.tensor).ok_or_else(|| {
        fault(&entry.name, "a matrix that the model does not have".into(), "one of the model's: is it the model's own adapter?".into())
    })?;
    let (mut a, mut b) = (factor(&read.checkpoint, name_a, isa)?, factor(&read.checkpoint, name_b, isa)?);
    let look_up = entry.tensor == LOOK_UP;
    // What A has beside its rank, and whether that is its rows. PEFT keeps A of an embedding the other way round.
    let (side, b_rows) = if look_up { (rows, cols) } else { (cols, rows) };
    let turned = look_up && read.gguf;
    let (rank, found) = if turned { (a.cols, a.rows) } else { (a.rows, a.cols) };
    let of = |m: &Matrix| format!("shape [{}, {}]", m.rows, m.cols);
    if found != side || rank == 0 {
        let text = if turned { format!("[{side}, rank]") } else { format!("[rank, {side}]") };
        return Err(fault(name_a, of(&a), format!("{text}, as {} is [{rows}, {cols}]", entry.tensor)));
    }
    if [b.rows, b.cols] != [b_rows, rank] {
        return Err(fault(
            name_b,
            of(&b),
            format!("[{b_rows}, {rank}], as {} is [{rows}, {cols}] and {name_a} has rank {rank}", entry.tensor),
        ));
    }
    if let Some(named) = entry.scale.rank.filter(|&named| named != rank) {
        return Err(fault(name_a, format!("rank {rank}"), format!("{named}, as adapter_config.json says")));
    }
    if look_up && !read.gguf {
        a = transposed(&a, isa);
    }
    let gguf = matches!(source.kind(), Kind::Gguf);
    if let Some(heads) = permute.filter(|_| read.gguf != gguf) {
        b = b.permuted(heads, read.gguf);
    }
    let scale = entry.scale.of(user, rank);
    if !scale.is_finite() {
        return Err(fault(&entry.name, format!("a scale of {scale}"), "a finite number".into()));
    }
    Ok(Delta { tensor: entry.tensor.clone(), a, b, scale })
}

/// A tensor of the file as a matrix over its bytes.
fn factor(checkpoint: &Checkpoint, name: &str, isa: Option<Isa>) -> Result<Matrix, TensorFault> {
    let fault = |found: String, expected: &str| TensorFault { tensor: name.into(), found, expected: expected.into() };
    let (Some(view), Some(span)) = (checkpoint.get(name), checkpoint.span(name)) else {
        return Err(fault("no such tensor".into(), "a matrix"));
    };
    let shape: Vec<usize> = view.shape.iter().filter_map(|&n| usize::try_from(n).ok()).collect();
    let [rows, cols] = shape[..] else { return Err(fault(format!("shape {:?}", view.shape), "a matrix")) };
    let Some(format) = blocks_of(view.dtype) else {
        return Err(fault(format!("type {:?}", view.dtype), "a type that this program decodes"));
    };
    let length = format.row_bytes(cols).and_then(|row| row.checked_mul(rows));
    if length != Some(view.bytes.len()) {
        return Err(fault(format!("{} bytes in rows of {cols}", view.bytes.len()), &format!("rows of whole blocks of {}", format.name)));
    }
    Ok(Matrix::new(format, isa, rows, cols, Place::Mapped(span)).expect("rows of whole blocks, checked above"))
}

/// [cols, rows] in floats.
fn transposed(a: &Matrix, isa: Option<Isa>) -> Matrix {
    let mut row = vec![0.0; a.cols];
    let mut out = vec![0u8; 4 * a.rows * a.cols];
    for r in 0..a.rows {
        a.row(r, &mut row);
        for (c, x) in row.iter().enumerate() {
            out[4 * (c * a.rows + r)..][..4].copy_from_slice(&x.to_le_bytes());
        }
    }
    Matrix::new(&format::F32, isa, a.cols, a.rows, Place::Own(out)).expect("floats have rows of any length")
}
