//! Importance matrices: for each matrix of a model and each of its columns, the sum of the squares of the inputs, and how many inputs there were.
//!
//! As GGUF, with `general.type` "imatrix":
//!
//! | key or tensor | type | what |
//! |---|---|---|
//! | `imatrix.datasets` | strings | the texts |
//! | `imatrix.chunk_count`, `imatrix.chunk_size` | u32 | chunks, and tokens of each |
//! | `NAME.in_sum2` | F32 \[matrices, columns\] | sums; more than one matrix for experts |
//! | `NAME.counts` | F32 \[matrices, 1\] | tokens |
//!
//! The older layout is in `legacy`. Source: tools/imatrix/imatrix.cpp and common/imatrix-loader.cpp of llama.cpp.

use super::legacy;
use crate::Error;
use nibble_container::gguf::{Array, GgufWriter, Metadata, Value};
use nibble_container::whole::AtomicFile;
use nibble_container::{Checkpoint, Declared, Dtype};
use std::collections::BTreeMap;
use std::path::Path;

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

/// What is known of one matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Sums of squares, a row of columns for each matrix.
    pub sums: Vec<f32>,
    /// For each matrix, over how many inputs.
    pub counts: Vec<u64>,
}

/// Importance of the columns of a model's matrices, by the matrices' GGUF names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imatrix {
    /// The texts that it was made of.
    pub datasets: Vec<String>,
    /// Chunks of text.
    pub chunks: u32,
    /// Tokens of a chunk; 0 where the file does not say (the older layout).
    pub chunk_size: u32,
    /// By name.
    pub entries: BTreeMap<String, Entry>,
}

/// What is wrong with an importance matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImatrixFault {
    /// The file ends too early.
    #[error("the file ends within {what}")]
    Truncated {
        /// What was being read.
        what: String,
    },
    /// A number that no such file holds.
    #[error("{what} is {found}, expected {expected}")]
    Number {
        /// Which number.
        what: String,
        /// It.
        found: i64,
        /// What it should be.
        expected: &'static str,
    },
    /// A name that is no text.
    #[error("the name of entry {entry} is not UTF-8")]
    Name {
        /// Its number, from 1.
        entry: usize,
    },
    /// Sums without counts, or the other way.
    #[error("there is {found} but no {missing}")]
    Half {
        /// The tensor that is there.
        found: String,
        /// The one that is not.
        missing: String,
    },
    /// A tensor that is not as it should be.
    #[error("{tensor}: found {found}, expected {expected}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The file holds another kind of data.
    #[error("this is a GGUF file, but no importance matrix")]
    OtherKind,
    /// Nothing is in it.
    #[error("it has no entries")]
    Empty,
    /// It belongs to another model.
    #[error("none of its entries is for a matrix of this model (the first is for {first})")]
    OtherModel {
        /// Its first entry.
        first: String,
    },
}

impl ImatrixFault {
    /// With the file that has it.
    pub fn at(self, path: &Path) -> Error {
        Error::Imatrix { path: path.to_owned(), fault: self }
    }
}

impl Entry {
    /// The mean square of each column's inputs; 1 where there were none, as llama-quantize has it.
    pub fn means(&self) -> Vec<f32> {
        let columns = self.sums.len() / self.counts.len().max(1);
        let mean = |(i, sum): (usize, &f32)| match self.counts[i / columns] {
            0 => 1.0,
            count => sum / count as f32,
        };
        self.sums.iter().enumerate().map(mean).collect()
    }
}

impl Imatrix {
    /// Reads either layout.
    pub fn open(path: &Path) -> Result<Imatrix, Error> {
        let io = |error| Error::Io { path: path.to_owned(), error };
        let bytes = std::fs::read(path).map_err(io)?;
        if bytes.starts_with(b"GGUF") {
            let file = Checkpoint::open(path)?;
            return Imatrix::from_gguf(&file).map_err(|fault| fault.at(path));
        }
        legacy::read(&bytes).map_err(|fault| fault.at(path))
    }

    fn from_gguf(file: &Checkpoint) -> Result<Imatrix, ImatrixFault> {
        let metadata = file.metadata().ok_or(ImatrixFault::OtherKind)?;
        if metadata.find::<&str>("general.type").ok().flatten() != Some("imatrix") {
            return Err(ImatrixFault::OtherKind);
        }
        let number = |key: &str| metadata.find::<u32>(key).ok().flatten().unwrap_or(0);
        let datasets = match metadata.value("imatrix.datasets") {
            Some(Value::Array(Array::String(list))) => list.clone(),
            _ => Vec::new(),
        };
        let mut imatrix =
            Imatrix { datasets, chunks: number("imatrix.chunk_count"), chunk_size: number("imatrix.chunk_size"), entries: BTreeMap::new() };
        for view in file.tensors() {
            let Some(name) = view.name.strip_suffix(SUMS) else {
                // Counts are read with their sums; any other tensor is nobody's.
                if let Some(name) = view.name.strip_suffix(COUNTS)
                    && file.get(&format!("{name}{SUMS}")).is_none()
                {
                    return Err(ImatrixFault::Half { found: view.name.to_owned(), missing: format!("{name}{SUMS}") });
                }
                continue;
            };
            let counts_name = format!("{name}{COUNTS}");
            let missing = || ImatrixFault::Half { found: view.name.to_owned(), missing: counts_name.clone() };
            let counts = file.get(&counts_name).ok_or_else(missing)?;
            let (sums, counts) = (floats(&view)?, floats(&counts)?);
            if counts.is_empty() || sums.is_empty() || !sums.len().is_multiple_of(counts.len()) {
                let expected = format!("a count for each matrix of {} sums", sums.len());
                return Err(ImatrixFault::Tensor { tensor: counts_name, found: format!("{} counts", counts.len()), expected });
            }
            let counts = counts.iter().map(|c| c.round() as u64).collect();
            imatrix.entries.insert(name.to_owned(), Entry { sums, counts });
        }
        if imatrix.entries.is_empty() { Err(ImatrixFault::Empty) } else { Ok(imatrix) }
    }

    /// Writes the GGUF layout.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        self.write_with(path, &[], &[])
    }

    /// The GGUF layout with more keys and tensors.
    pub(crate) fn write_with(&self, path: &Path, keys: &[(&str, Value)], tensors: &[(&str, [u64; 2], &[f32])]) -> Result<(), Error> {
        let mut metadata = Metadata::new();
        metadata.set("general.type", Value::String("imatrix".into()));
        metadata.set("imatrix.datasets", Value::Array(Array::String(self.datasets.clone())));
        metadata.set("imatrix.chunk_count", Value::U32(self.chunks));
        metadata.set("imatrix.chunk_size", Value::U32(self.chunk_size));
        keys.iter().for_each(|(key, value)| metadata.set(key, value.clone()));
        let counts: Vec<Vec<f32>> = self.entries.values().map(|e| e.counts.iter().map(|&c| c as f32).collect()).collect();
        let mut all: Vec<(String, [u64; 2], &[f32])> = Vec::new();
        for ((name, entry), counts) in self.entries.iter().zip(&counts) {
            let matrices = counts.len() as u64;
            all.push((format!("{name}{SUMS}"), [matrices, entry.sums.len() as u64 / matrices.max(1)], &entry.sums));
            all.push((format!("{name}{COUNTS}"), [matrices, 1], counts));
        }
        all.extend(tensors.iter().map(|(name, shape, data)| ((*name).to_owned(), *shape, *data)));
        let f32 = Dtype::from_safetensors("F32").expect("F32 is a type of both");
        let declared: Vec<Declared> = all.iter().map(|(name, shape, _)| Declared::new(name, shape, f32)).collect();
        let at = |fault: nibble_container::Fault| fault.at(path);
        let mut writer = GgufWriter::start(AtomicFile::create(path)?, &metadata, &declared).map_err(at)?;
        for (name, _, data) in &all {
            let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
            writer.tensor(name, &bytes).map_err(at)?;
        }
        writer.finish().map_err(at)?.commit()?;
        Ok(())
    }

    /// Writes the older layout.
    pub fn write_legacy(&self, path: &Path) -> Result<(), Error> {
        let mut file = AtomicFile::create(path)?;
        let write = std::io::Write::write_all(&mut file, &legacy::bytes(self));
        write.map_err(|error| Error::Io { path: path.to_owned(), error })?;
        file.commit()?;
        Ok(())
    }
}

/// A tensor of floats that are finite and not negative.
fn floats(view: &nibble_container::TensorView) -> Result<Vec<f32>, ImatrixFault> {
    let fault =
        |found: String| ImatrixFault::Tensor { tensor: view.name.to_owned(), found, expected: "F32, finite and not negative".into() };
    if Some(view.dtype) != Dtype::from_safetensors("F32") && view.dtype != Dtype::Ggml(0) {
        return Err(fault(format!("{}", view.dtype)));
    }
    let floats: Vec<f32> = view.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    match floats.iter().find(|x| !x.is_finite() || **x < 0.0) {
        Some(bad) => Err(fault(bad.to_string())),
        None => Ok(floats),
    }
}
