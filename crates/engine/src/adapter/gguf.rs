//! Adapters as llama.cpp's convert_lora_to_gguf.py writes them.
//!
//! | key | value |
//! |---|---|
//! | `general.type` | `adapter` |
//! | `general.architecture` | the model's |
//! | `adapter.type` | `lora` |
//! | `adapter.lora.alpha` | f32; 0 or missing: B has its scale in it |
//!
//! Tensors: `NAME.lora_a` [rank, cols] and `NAME.lora_b` [rows, rank] for a matrix NAME of the model, `blk.0.attn_q.weight`; of `token_embd.weight`
//! A is [vocab, rank] and B [dim, rank]. Vectors `..._norm.weight` are left alone, as llama.cpp leaves them.

use super::{AdapterFault, Entries, Read, Scale, field, tensor};
use crate::Error;
use crate::arch::fields::Fields;
use crate::source::{Source, scalar};
use nibble_container::Checkpoint;
use std::path::Path;

pub(super) fn read(path: &Path, source: &Source, faults: &mut Vec<AdapterFault>) -> Result<Read, Error> {
    let checkpoint = Checkpoint::open(path)?;
    let alpha = metadata(&checkpoint, source, faults);
    let (mut entries, mut ignored) = (Entries::default(), Vec::new());
    let names: Vec<String> = checkpoint.tensors().map(|view| view.name.to_string()).collect();
    // What is no adapter at all has one fault, not one for each tensor.
    for name in names.iter().filter(|_| faults.is_empty()) {
        let (base, is_a) = match (name.strip_suffix(".lora_a"), name.strip_suffix(".lora_b")) {
            (Some(base), _) => (base, true),
            (None, Some(base)) => (base, false),
            (None, None) if name.ends_with("_norm.weight") => {
                ignored.push(name.clone());
                continue;
            }
            (None, None) => {
                faults.push(tensor(name, "a tensor of another kind", "the model's name of a matrix with .lora_a or .lora_b"));
                break;
            }
        };
        let entry = entries.of(base, base, Scale { alpha, root: false, rank: None });
        *(if is_a { &mut entry.a } else { &mut entry.b }) = Some(name.clone());
    }
    Ok(Read { checkpoint, entries, ignored, gguf: true })
}

/// Checks the metadata and gives alpha.
fn metadata(checkpoint: &Checkpoint, source: &Source, faults: &mut Vec<AdapterFault>) -> f32 {
    let Some(metadata) = checkpoint.metadata() else {
        faults.push(field("format", "safetensors", "a GGUF file, or a directory with adapter_config.json and adapter_model.safetensors"));
        return 0.0;
    };
    let lookup = |key: &str| metadata.value(key).map(scalar);
    let mut fields = Fields::new(&lookup);
    let expected = [("general.type", "adapter"), ("general.architecture", source.config().arch.name), ("adapter.type", "lora")];
    for (key, wanted) in expected {
        let found = fields.text(key);
        if found.as_deref() != Some(wanted) {
            // Later fields of what is no adapter say nothing.
            let shown = found.map_or("nothing".to_string(), |text| format!("\"{text}\""));
            fields.fault(key, shown, format!("\"{wanted}\""));
            break;
        }
    }
    let key = "adapter.alora.invocation_tokens";
    if let Some(tokens) = fields.get(key) {
        fields.fault(key, tokens, "nothing: adapters that are switched on by a text (aLoRA) are not supported");
    }
    let key = "adapter.lora.alpha";
    let alpha = match fields.get(key) {
        None => 0.0,
        Some(value) => match value.number().map(|x| x as f32).filter(|x| x.is_finite()) {
            Some(alpha) => alpha,
            None => {
                fields.fault(key, value, "a finite number");
                0.0
            }
        },
    };
    faults.extend(fields.faults.into_iter().map(AdapterFault::Field));
    alpha
}
