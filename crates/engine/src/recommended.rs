//! What a model's makers recommend for sampling: generation_config.json, or GGUF's `general.sampling.*`.

use crate::sampler::Sampling;
use crate::source::{Kind, Source};
use nibble_container::gguf::Value;

/// GGUF's key for a setting of generation_config.json, as llama.cpp's converter writes it.
const GGUF_KEYS: &[(&str, &str)] = &[
    ("temperature", "general.sampling.temp"),
    ("top_k", "general.sampling.top_k"),
    ("top_p", "general.sampling.top_p"),
    ("min_p", "general.sampling.min_p"),
    ("repetition_penalty", "general.sampling.penalty_repeat"),
];

/// The settings that the model's makers recommend, as far as they are sensible numbers; the engine's defaults for the others.
pub fn recommended(source: &Source) -> Sampling {
    let of = |name: &str, default: f32| known(source, name).map_or(default, |x| x as f32);
    let default = Sampling::default();
    Sampling {
        temperature: of("temperature", default.temperature),
        top_k: known(source, "top_k").map_or(default.top_k, |x| x as usize),
        top_p: of("top_p", default.top_p),
        min_p: of("min_p", default.min_p),
        typical: of("typical_p", default.typical),
        repeat_penalty: of("repetition_penalty", default.repeat_penalty),
        ..default
    }
}

/// A setting by its name in generation_config.json.
fn known(source: &Source, name: &str) -> Option<f64> {
    let value = match source.kind() {
        Kind::HuggingFace(files) => files.generation_config.as_ref()?.get(name)?.as_f64()?,
        Kind::Gguf => {
            let key = GGUF_KEYS.iter().find(|(n, _)| *n == name)?.1;
            number(source.checkpoint().metadata()?.value(key)?)?
        }
    };
    let range = match name {
        "temperature" => 0.0..=100.0,
        "top_k" => 0.0..=1e9,
        "repetition_penalty" => 0.01..=100.0,
        _ => 0.0..=1.0,
    };
    range.contains(&value).then_some(value)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::F32(x) => Some((*x).into()),
        Value::F64(x) => Some(*x),
        Value::U32(x) => Some((*x).into()),
        Value::I32(x) => Some((*x).into()),
        _ => None,
    }
}
