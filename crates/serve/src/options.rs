//! Ollama's `options`: how tokens are chosen, and how many. The Modelfile's PARAMETERs have the same names, and OpenAI's fields are turned into these.
//!
//! A setting comes from the request, else from the model's Modelfile, else from what its makers recommend, else from the engine.

use crate::body::{Texts, Whole};
use crate::error::Problem;
use nibble_engine::sampler::{Sampling, random_seed};
use serde::Deserialize;

/// The settings of a request or a Modelfile; what is not there says nothing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Tokens of context, prompt and answer together.
    pub num_ctx: Option<Whole>,
    /// Tokens of the answer at most; below 0: as many as the context holds.
    pub num_predict: Option<Whole>,
    /// Tokens at the beginning of the prompt that stay when it is shortened.
    pub num_keep: Option<Whole>,
    /// Divides the logits; 0 always takes the likeliest token.
    pub temperature: Option<f64>,
    /// Only so many of the likeliest tokens; 0 or less: all.
    pub top_k: Option<Whole>,
    /// Only the likeliest tokens that together reach this.
    pub top_p: Option<f64>,
    /// Only tokens at least this likely as a part of the likeliest one's probability.
    pub min_p: Option<f64>,
    /// Only tokens of typical surprise that together reach this.
    pub typical_p: Option<f64>,
    /// Divides the logits of recent tokens.
    pub repeat_penalty: Option<f64>,
    /// Tokens that count as recent; -1: the whole context.
    pub repeat_last_n: Option<Whole>,
    /// Taken off a recent token's logit once.
    pub presence_penalty: Option<f64>,
    /// Taken off a recent token's logit for each time it occurred.
    pub frequency_penalty: Option<f64>,
    /// Where the draws start; below 0: anywhere.
    pub seed: Option<Whole>,
    /// Texts that end the answer.
    pub stop: Option<Texts>,
    /// Mirostat, which is not offered: anything but 0 is an error.
    pub mirostat: Option<Whole>,
    /// Tail-free sampling, which is not offered: anything but 1 is an error.
    pub tfs_z: Option<f64>,
    // How a model is loaded (num_gpu, num_thread, num_batch, use_mmap, …) is the server's to say: those are passed over, as by servers without that hardware.
}

impl Options {
    /// These, and where they say nothing, `other`.
    pub fn or(self, other: &Options) -> Options {
        let other = other.clone();
        Options {
            num_ctx: self.num_ctx.or(other.num_ctx),
            num_predict: self.num_predict.or(other.num_predict),
            num_keep: self.num_keep.or(other.num_keep),
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            typical_p: self.typical_p.or(other.typical_p),
            repeat_penalty: self.repeat_penalty.or(other.repeat_penalty),
            repeat_last_n: self.repeat_last_n.or(other.repeat_last_n),
            presence_penalty: self.presence_penalty.or(other.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(other.frequency_penalty),
            seed: self.seed.or(other.seed),
            stop: self.stop.or(other.stop),
            mirostat: self.mirostat.or(other.mirostat),
            tfs_z: self.tfs_z.or(other.tfs_z),
        }
    }

    /// The sampler's settings, on top of what is recommended. `context` is what -1 as `repeat_last_n` means.
    pub fn sampling(&self, recommended: &Sampling, context: usize) -> Result<Sampling, Problem> {
        if self.mirostat.is_some_and(|m| m.0 != 0) {
            return Err(refuse("mirostat", "is not offered; top_p or min_p do the like"));
        }
        if self.tfs_z.is_some_and(|z| z != 1.0) {
            return Err(refuse("tfs_z", "is not offered; min_p does the like"));
        }
        let number = |name: &str, value: Option<f64>, known: f32, fits: fn(f64) -> bool, expected: &str| match value {
            Some(x) if fits(x) && (x as f32).is_finite() => Ok(x as f32),
            Some(x) => Err(refuse(name, &format!("is {x}; expected {expected}"))),
            None => Ok(known),
        };
        let fraction: fn(f64) -> bool = |x| (0.0..=1.0).contains(&x);
        let any: fn(f64) -> bool = |_| true;
        let r = recommended;
        let sampling = Sampling {
            temperature: number("temperature", self.temperature, r.temperature, |x| x >= 0.0, "0 or more")?,
            top_k: self.top_k.map_or(r.top_k, |k| usize::try_from(k.0).unwrap_or(0)),
            top_p: number("top_p", self.top_p, r.top_p, fraction, "0 to 1")?,
            min_p: number("min_p", self.min_p, r.min_p, fraction, "0 to 1")?,
            typical: number("typical_p", self.typical_p, r.typical, fraction, "0 to 1")?,
            repeat_penalty: number("repeat_penalty", self.repeat_penalty, r.repeat_penalty, |x| x as f32 > 0.0, "more than 0")?,
            repeat_last: match self.repeat_last_n {
                Some(Whole(n)) => usize::try_from(n).map_or(context, |n| n.min(context)),
                None => r.repeat_last,
            },
            frequency_penalty: number("frequency_penalty", self.frequency_penalty, r.frequency_penalty, any, "a number")?,
            presence_penalty: number("presence_penalty", self.presence_penalty, r.presence_penalty, any, "a number")?,
            seed: match self.seed {
                Some(Whole(n)) if n >= 0 => n.unsigned_abs(),
                _ => random_seed(),
            },
        };
        Ok(sampling)
    }

    /// The most tokens of an answer; `None`: as many as the context holds.
    pub fn most(&self) -> Option<usize> {
        self.num_predict.and_then(|n| usize::try_from(n.0).ok())
    }

    /// Tokens of context asked for.
    pub fn context(&self) -> Result<Option<usize>, Problem> {
        match self.num_ctx {
            None => Ok(None),
            // Ollama's own default for "not said".
            Some(Whole(0)) => Ok(None),
            Some(Whole(n)) => usize::try_from(n).map(Some).map_err(|_| refuse("num_ctx", &format!("is {n}; expected 1 or more"))),
        }
    }

    /// The texts that end an answer.
    pub fn stops(&self) -> Vec<String> {
        self.stop.clone().unwrap_or_default().0
    }
}

fn refuse(name: &str, what: &str) -> Problem {
    Problem::bad(format!("{name} {what}")).param(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Options {
        crate::body::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_nearest_setting_wins() {
        let own = read("{\"temperature\": 0.1, \"top_k\": -1, \"num_gpu\": 99, \"stop\": null}");
        let file = read("{\"temperature\": 0.5, \"top_p\": 0.5, \"stop\": [\"x\"], \"seed\": 7, \"repeat_last_n\": -1}");
        let sampling = own.clone().or(&file).sampling(&Sampling::default(), 100).unwrap();
        let wanted = Sampling { temperature: 0.1, top_k: 0, top_p: 0.5, seed: 7, repeat_last: 100, ..Sampling::default() };
        assert_eq!(sampling, wanted);
        assert_eq!(own.or(&file).stops(), ["x"]);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (json, name) in [
            ("{\"temperature\": -1}", "temperature"),
            ("{\"temperature\": 1e39}", "temperature"),
            ("{\"top_p\": 1.5}", "top_p"),
            ("{\"repeat_penalty\": 0}", "repeat_penalty"),
            ("{\"repeat_penalty\": 1e-60}", "repeat_penalty"),
            ("{\"mirostat\": 2}", "mirostat"),
            ("{\"tfs_z\": 0.5}", "tfs_z"),
        ] {
            let problem = read(json).sampling(&Sampling::default(), 10).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some(name), "{json}");
        }
        assert!(read("{\"num_ctx\": -3}").context().is_err());
        assert_eq!(read("{\"num_predict\": -1}").most(), None);
    }
}
