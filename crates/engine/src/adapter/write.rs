//! An adapter as llama.cpp's GGUF, whatever it was read from: what a store keeps beside a GGUF model.

use super::{Adapter, Delta};
use crate::Error;
use crate::source::{Kind, Source};
use crate::weights::{Matrix, Place};
use nibble_container::gguf::{GgufWriter, Metadata, Value};
use nibble_container::whole::AtomicFile;
use nibble_container::{Declared, Dtype};
use nibble_kernels::format;
use std::path::Path;

impl Adapter {
    /// Writes the adapter, opened for `source` at a scale of one, as llama.cpp's converter would. The file has one alpha; where the matrices' scales are not all
    /// alpha / rank, what they differ by goes into B, in floats.
    pub fn write(self, source: &Source, path: &Path) -> Result<(), Error> {
        let gguf = matches!(source.kind(), Kind::Gguf);
        let alpha = self.deltas.first().map_or(0.0, |delta| delta.scale * delta.rank() as f32);
        let mut metadata = Metadata::new();
        metadata.set("general.type", Value::from("adapter"));
        metadata.set("general.architecture", Value::from(source.config().arch.name));
        metadata.set("adapter.type", Value::from("lora"));
        metadata.set("adapter.lora.alpha", Value::F32(alpha));
        let mut tensors = Vec::new();
        for Delta { tensor, a, mut b, scale } in self.deltas {
            let own = scale * b.cols as f32;
            // One ulp is what the division by the rank and the multiplication may have cost.
            if (own - alpha).abs() > alpha.abs() * f32::EPSILON {
                b = scaled(&b, own / alpha);
            }
            if let Some(heads) = source.get(&tensor).and_then(|t| t.spec.permute).filter(|_| !gguf) {
                b = b.permuted(heads, false);
            }
            tensors.push((format!("{tensor}.lora_a"), a));
            tensors.push((format!("{tensor}.lora_b"), b));
        }
        let declare = |(name, m): &(String, Matrix)| {
            let dtype = Dtype::Ggml(m.chosen.format().gguf_id.unwrap_or_default());
            Declared::new(name.clone(), &[m.rows as u64, m.cols as u64], dtype)
        };
        let declared: Vec<Declared> = tensors.iter().map(declare).collect();
        let refuse = |fault: nibble_container::Fault| Error::from(fault.at(path));
        let mut writer = GgufWriter::start(AtomicFile::create(path)?, &metadata, &declared).map_err(refuse)?;
        for (name, matrix) in &tensors {
            writer.tensor(name, matrix.bytes()).map_err(refuse)?;
        }
        Ok(writer.finish().map_err(refuse)?.commit()?)
    }
}

/// A matrix times a number, in floats.
fn scaled(m: &Matrix, by: f32) -> Matrix {
    let (mut row, mut out) = (vec![0.0; m.cols], Vec::with_capacity(4 * m.rows * m.cols));
    for r in 0..m.rows {
        m.row(r, &mut row);
        row.iter().for_each(|x| out.extend((x * by).to_le_bytes()));
    }
    Matrix::new(&format::F32, None, m.rows, m.cols, Place::Own(out)).expect("floats have rows of any length")
}
