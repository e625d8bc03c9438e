//! From flags and from what the model's makers recommend to the engine's settings.

use nibble_container::gguf::Value;
use nibble_engine::KvType;
use nibble_engine::sampler::Sampling;
use nibble_engine::source::{Kind, Source};

use crate::answer::random_seed;
use crate::commands::run::{Options, SamplingOptions};

/// How the engine is to run the model.
pub fn engine(options: &Options) -> nibble_engine::Options {
    nibble_engine::Options {
        threads: options.threads.map(|n| n as usize),
        cores: options.cores.as_ref().map(|c| c.0.clone()),
        context: options.ctx.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        kv: KvType::by_name(&options.kv).unwrap_or_default(),
        ..nibble_engine::Options::default()
    }
}

/// A flag where there is one, else the model's own recommendation, else the engine's default.
pub fn sampling(flags: &SamplingOptions, source: &Source) -> Sampling {
    let known = recommended(source);
    let of = |flag: Option<f32>, name: &str, default: f32| flag.or(known(name).map(|x| x as f32)).unwrap_or(default);
    let default = Sampling::default();
    Sampling {
        temperature: of(flags.temp, "temperature", default.temperature),
        top_k: flags.top_k.or(known("top_k").map(|x| x as usize)).unwrap_or(default.top_k),
        top_p: of(flags.top_p, "top_p", default.top_p),
        min_p: of(flags.min_p, "min_p", default.min_p),
        typical: of(flags.typical, "typical_p", default.typical),
        repeat_penalty: of(flags.repeat_penalty, "repetition_penalty", default.repeat_penalty),
        repeat_last: flags.repeat_last_n.unwrap_or(default.repeat_last),
        frequency_penalty: flags.frequency_penalty.unwrap_or(default.frequency_penalty),
        presence_penalty: flags.presence_penalty.unwrap_or(default.presence_penalty),
        seed: flags.seed.unwrap_or_else(random_seed),
    }
}

/// GGUF's key for a setting of generation_config.json, as llama.cpp's converter writes it.
const GGUF_KEYS: &[(&str, &str)] = &[
    ("temperature", "general.sampling.temp"),
    ("top_k", "general.sampling.top_k"),
    ("top_p", "general.sampling.top_p"),
    ("min_p", "general.sampling.min_p"),
    ("repetition_penalty", "general.sampling.penalty_repeat"),
];

/// What the model's makers recommend for a setting of generation_config.json, as far as it is a sensible number.
fn recommended(source: &Source) -> impl Fn(&str) -> Option<f64> + '_ {
    move |name| {
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
