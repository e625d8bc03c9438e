//! From an opened checkpoint to a report.

use std::path::Path;

use anyhow::Result;
use nibble_container::{Checkpoint, TensorView};
use serde_json::json;

use super::report::{File, Report, Tensor};
use super::{directory, gguf};

/// What bitsandbytes keeps beside the codes of a 4-bit tensor.
const PARTS: &[&str] =
    &[".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"];

/// Reads the headers of everything at a path.
pub fn read(path: &Path) -> Result<Report> {
    let checkpoint = Checkpoint::open(path)?;
    let mut report = Report { path: path.display().to_string(), ..Report::default() };
    for map in checkpoint.files() {
        let name = map.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        report.files.push(File { name, bytes: map.len() as u64 });
    }
    match (checkpoint.metadata(), checkpoint.gguf_version()) {
        (Some(metadata), version) => gguf::describe(version.unwrap_or(0), metadata, &mut report),
        (None, _) => {
            report.container = if path.is_dir() { "Hugging Face directory" } else { "safetensors" }.into();
            if path.is_dir() {
                report.name = path.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
            }
            report.metadata = checkpoint.notes().iter().map(|(key, value)| (key.clone(), json!(value))).collect();
            directory::describe(checkpoint.directory(), &mut report);
        }
    }
    report.tensors = checkpoint.tensors().filter(|view| !is_part(&checkpoint, view.name)).map(|view| tensor(&checkpoint, &view)).collect();
    Ok(report.finish())
}

/// Whether a tensor only serves the codes of another, with which it is counted.
fn is_part(checkpoint: &Checkpoint, name: &str) -> bool {
    PARTS.iter().filter_map(|part| name.strip_suffix(part)).any(|codes| state(checkpoint, codes).is_some())
}

/// `NF4` or `FP4` and the JSON that says so, for the codes of a 4-bit tensor.
fn state<'a>(checkpoint: &'a Checkpoint, codes: &str) -> Option<(&'static str, TensorView<'a>)> {
    checkpoint.get(codes)?;
    [("NF4", "nf4"), ("FP4", "fp4")]
        .into_iter()
        .find_map(|(kind, ending)| Some((kind, checkpoint.get(&format!("{codes}.quant_state.bitsandbytes__{ending}"))?)))
}

fn tensor(checkpoint: &Checkpoint, view: &TensorView) -> Tensor {
    let own = || Tensor {
        name: view.name.to_string(),
        kind: view.dtype.to_string(),
        shape: view.shape.to_vec(),
        bytes: view.bytes.len() as u64,
        parameters: view.elements(),
    };
    let Some((kind, state)) = state(checkpoint, view.name) else { return own() };
    let bytes = PARTS.iter().filter_map(|part| checkpoint.get(&format!("{}{part}", view.name))).map(|v| v.bytes.len() as u64).sum::<u64>();
    let json: serde_json::Value = serde_json::from_slice(state.bytes).unwrap_or_default();
    let shape: Option<Vec<u64>> = json["shape"].as_array().and_then(|list| list.iter().map(|n| n.as_u64()).collect());
    // Codes are two to a byte; a shape that does not fit them is not believed.
    let elements = |shape: &[u64]| shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    match shape {
        Some(shape) if elements(&shape).is_some_and(|n| n.div_ceil(2) == view.bytes.len() as u64) => {
            let parameters = elements(&shape).unwrap_or(0);
            Tensor { kind: kind.into(), shape, parameters, bytes: view.bytes.len() as u64 + bytes, ..own() }
        }
        _ => own(),
    }
}
