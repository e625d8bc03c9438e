//! From flags and from what the model's makers recommend to the engine's settings.

use nibble_engine::KvType;
use nibble_engine::sampler::{Sampling, random_seed};
use nibble_engine::source::Source;

use crate::commands::run::{Options, SamplingOptions};

/// How the engine is to run the model.
pub fn engine(options: &Options) -> nibble_engine::Options {
    nibble_engine::Options {
        threads: options.threads.map(|n| n as usize),
        cores: options.cores.as_ref().map(|c| c.0.clone()),
        context: options.ctx.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        kv: KvType::by_name(&options.kv).unwrap_or_default(),
        adapters: options.adapters.given.clone(),
        ..nibble_engine::Options::default()
    }
}

/// A flag where there is one, else the model's own recommendation, else the engine's default.
pub fn sampling(flags: &SamplingOptions, source: &Source) -> Sampling {
    let known = nibble_engine::recommended(source);
    Sampling {
        temperature: flags.temp.unwrap_or(known.temperature),
        top_k: flags.top_k.unwrap_or(known.top_k),
        top_p: flags.top_p.unwrap_or(known.top_p),
        min_p: flags.min_p.unwrap_or(known.min_p),
        typical: flags.typical.unwrap_or(known.typical),
        repeat_penalty: flags.repeat_penalty.unwrap_or(known.repeat_penalty),
        repeat_last: flags.repeat_last_n.unwrap_or(known.repeat_last),
        frequency_penalty: flags.frequency_penalty.unwrap_or(known.frequency_penalty),
        presence_penalty: flags.presence_penalty.unwrap_or(known.presence_penalty),
        seed: flags.seed.unwrap_or_else(random_seed),
    }
}
