//! The metadata of the GGUF file that a plan writes: as llama.cpp's converter and quantizer write it, keys in their order.

use crate::Error;
use crate::naming::Naming;
use crate::plan::Plan;
use nibble_container::gguf::{Metadata, Value};
use nibble_engine::arch::Meta;
use nibble_engine::source::{Files, Kind, Source};
use nibble_engine::text::Vocab;
use std::path::Path;

/// `general.quantization_version`: the layout of the quantized blocks, the same since 2023.
const QUANTIZATION_VERSION: u32 = 2;

/// The metadata of what `plan` makes of `source`.
pub fn metadata(source: &Source, plan: &Plan) -> Result<Metadata, Error> {
    let file_type = Value::U32(plan.recipe.file_type.unwrap_or_default());
    let mut all = Metadata::new();
    match (source.kind(), source.checkpoint().metadata()) {
        (Kind::HuggingFace(files), _) => from_directory(&mut all, source, plan, files, file_type.clone())?,
        (Kind::Gguf, carried) => carried.into_iter().flat_map(Metadata::iter).for_each(|(key, value)| all.set(key, value.clone())),
    }
    if matches!(source.kind(), Kind::Gguf) || plan.recipe.base.block_len > 1 {
        // The quantizer takes these out and puts them at the end; the output is one file, whatever the input was.
        let own = ["general.quantization_version", "general.file_type"];
        own.iter().chain(&["split.no", "split.count", "split.tensors.count"]).for_each(|key| drop(all.remove(key)));
        all.set(own[0], Value::U32(QUANTIZATION_VERSION));
        all.set(own[1], file_type);
    }
    calibrated(&mut all, plan);
    Ok(all)
}

/// What the codes were chosen by: llama-quantize's keys for an importance matrix, and ours for a method that ran a text.
fn calibrated(all: &mut Metadata, plan: &Plan) {
    // llama-quantize keeps 127 bytes of each text.
    let text = |s: &str| Value::String(s.char_indices().take_while(|(at, c)| at + c.len_utf8() <= 127).map(|(_, c)| c).collect());
    if let Some(imatrix) = &plan.options.imatrix {
        all.set("quantize.imatrix.file", text(&plan.options.imatrix_name));
        if let Some(first) = imatrix.datasets.first() {
            all.set("quantize.imatrix.dataset", text(first));
        }
        all.set("quantize.imatrix.entries_count", Value::U32(imatrix.entries.len() as u32));
        if imatrix.chunks > 0 {
            all.set("quantize.imatrix.chunks_count", Value::U32(imatrix.chunks));
        }
    }
    let stored = plan.options.second_moments.as_ref().map(|stored| (&stored.dataset, stored.chunks));
    let read = plan.options.texts.as_ref().map(|texts| (&texts.name, texts.chunks.len() as u32));
    if let Some((name, chunks)) = stored.or(read) {
        all.set("quantize.nibble.method", text(plan.options.method.name));
        all.set("quantize.nibble.dataset", text(name));
        all.set("quantize.nibble.chunks_count", Value::U32(chunks));
    }
}

fn from_directory(all: &mut Metadata, source: &Source, plan: &Plan, files: &Files, file_type: Value) -> Result<(), Error> {
    let config = source.config();
    let text = |s: &str| Value::String(s.to_owned());
    all.set("general.architecture", text(config.arch.name));
    all.set("general.type", text("model"));
    sampling(all, files);
    let naming = Naming::of(&folder_name(&files.folder), plan.weights());
    all.set("general.name", text(&naming.name));
    for (key, value) in
        [("version", &naming.version), ("finetune", &naming.finetune), ("basename", &naming.basename), ("size_label", &naming.size_label)]
    {
        if let Some(value) = value {
            all.set(&format!("general.{key}"), text(value));
        }
    }
    let card = files.file("README.md")?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    for (key, value) in licence(&card) {
        all.set(&format!("general.{key}"), text(value));
    }
    let mut file_type = Some(file_type);
    for (key, value) in config.metadata() {
        // Where the converter writes it: between the keys that all architectures share and the architecture's own.
        if key.ends_with(".vocab_size")
            && let Some(file_type) = file_type.take()
        {
            all.set("general.file_type", file_type);
        }
        all.set(&key, architecture_value(value));
    }
    if let Some(file_type) = file_type {
        all.set("general.file_type", file_type);
    }
    all.set("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
    Vocab::open(&files.folder)?.write_gguf(all);
    Ok(())
}

/// The last part of the folder's real path: "." has none of its own.
fn folder_name(folder: &Path) -> String {
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    real.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The sampling that generation_config.json recommends: (its field, the key, whether a whole number).
const SAMPLING: &[(&str, &str, bool)] = &[
    ("top_k", "top_k", true),
    ("top_p", "top_p", false),
    ("min_p", "min_p", false),
    ("xtc_probability", "xtc_probability", false),
    ("xtc_threshold", "xtc_threshold", false),
    ("temperature", "temp", false),
    ("penalty_last_n", "penalty_last_n", true),
    ("penalty_repeat", "penalty_repeat", false),
    ("mirostat", "mirostat", true),
    ("mirostat_tau", "mirostat_tau", false),
    ("mirostat_eta", "mirostat_eta", false),
];

fn sampling(all: &mut Metadata, files: &Files) {
    let Some(config) = &files.generation_config else { return };
    for (field, key, whole) in SAMPLING {
        let value = match (&config[*field], whole) {
            (v, true) => v.as_i64().and_then(|n| i32::try_from(n).ok()).map(Value::I32),
            (v, false) => v.as_f64().map(|x| Value::F32(x as f32)),
        };
        if let Some(value) = value {
            all.set(&format!("general.sampling.{key}"), value);
        }
    }
}

/// `license`, `license_name` and `license_link` of a model card's front matter, where they are plain `key: value` lines.
fn licence(card: &str) -> Vec<(&str, &str)> {
    let Some((front, _)) = card.strip_prefix("---").and_then(|rest| rest.split_once("\n---")) else { return Vec::new() };
    let pairs = front.lines().filter_map(|line| line.split_once(':'));
    let wanted = pairs.filter(|(key, _)| ["license", "license_name", "license_link"].contains(key));
    wanted.map(|(key, value)| (key, value.trim().trim_matches(['"', '\'']))).filter(|(_, value)| !value.is_empty()).collect()
}

fn architecture_value(value: Meta) -> Value {
    match value {
        Meta::U32(n) => Value::U32(n),
        Meta::F32(x) => Value::F32(x),
        Meta::Text(s) => Value::String(s),
    }
}

#[cfg(test)]
mod tests {
    use super::licence;

    #[test]
    fn licences_are_read_from_the_front_matter_only() {
        let card = "---\nlanguage:\n- en\nlicense: llama3.2\nlicense_name: \"the name\"\ntags: []\n---\n# Model\nlicense: not this\n";
        assert_eq!(licence(card), [("license", "llama3.2"), ("license_name", "the name")]);
        assert!(licence("license: mit\n").is_empty());
        assert!(licence("---\nlicense: mit\n").is_empty());
    }
}
