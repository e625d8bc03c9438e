//! The outcome of a run, as it is written to JSON and read back for a comparison.

use serde::{Deserialize, Serialize};

use super::plan::Settings;
use crate::limits::{self, Limit, Limits};
use crate::machine::{Machine, Memory};

/// The version of the JSON's fields: a reader of another one refuses it.
pub const SCHEMA: u32 = 1;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// Seconds from nothing to a model that is ready for its first prompt: files opened, weights bound, tokenizer made.
    Load,
    /// Seconds from nothing to the logits for the first token of an answer to a short prompt; loading included.
    FirstToken,
    /// Tokens of a prompt a second, from an empty cache to the logits after the last.
    Prompt,
    /// Tokens a second, one at a time.
    Generation,
}

impl Test {
    /// As in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Test::Load => "load",
            Test::FirstToken => "first-token",
            Test::Prompt => "prompt",
            Test::Generation => "generation",
        }
    }

    /// `s` or `tokens/s`.
    pub fn unit(self) -> &'static str {
        if self.is_time() { "s" } else { "tokens/s" }
    }

    /// Less is better.
    pub fn is_time(self) -> bool {
        matches!(self, Test::Load | Test::FirstToken)
    }
}

/// One test with one number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What.
    pub test: Test,
    /// Threads.
    pub threads: usize,
    /// Tokens fed while the time ran; 0 for loading.
    pub tokens: usize,
    /// Tokens in the cache before.
    pub depth: usize,
    /// Of the values: `s` or `tokens/s`.
    pub unit: String,
    /// Every repetition, in order.
    pub values: Vec<f64>,
    /// Their middle.
    pub median: f64,
    /// The least of them.
    pub min: f64,
    /// The greatest of them.
    pub max: f64,
    /// What a token takes: bytes read of weights and cache for generation, multiplications of weights for a prompt.
    pub work_per_token: Option<f64>,
    /// The median of what each repetition was of its limit, the mean of `rates` before and after it; where there are none, the median as a part of the report's limit.
    pub fraction: Option<f64>,
    /// Which limit.
    pub limit: Option<Limit>,
    /// What the limit was just before every repetition and after the last, bytes or multiplications a second; empty where it was not measured in turn.
    #[serde(default)]
    pub rates: Vec<f64>,
    /// Memory of no file after the last repetition.
    pub anonymous_bytes: Option<u64>,
}

impl Measured {
    /// Sums up the values; there is at least one.
    pub fn new(test: Test, threads: usize, tokens: usize, depth: usize, values: Vec<f64>) -> Measured {
        let (min, max) = (values.iter().copied().fold(f64::NAN, f64::min), values.iter().copied().fold(f64::NAN, f64::max));
        let median = limits::median(&values).unwrap_or(f64::NAN);
        let anonymous_bytes = Memory::now().anonymous_bytes;
        let unit = test.unit().to_string();
        Measured {
            test,
            threads,
            tokens,
            depth,
            unit,
            values,
            median,
            min,
            max,
            work_per_token: None,
            fraction: None,
            limit: None,
            rates: vec![],
            anonymous_bytes,
        }
    }

    /// The same thing measured: test, threads, tokens and depth agree.
    pub fn same_as(&self, other: &Measured) -> bool {
        (self.test, self.threads, self.tokens, self.depth) == (other.test, other.threads, other.tokens, other.depth)
    }

    /// `prompt 512`, `generation 64 at depth 4096`.
    pub fn label(&self) -> String {
        label(self.test, self.tokens, self.depth)
    }
}

/// `1 thread`, `2 threads`.
pub fn threads(n: usize) -> String {
    format!("{n} thread{}", if n == 1 { "" } else { "s" })
}

/// What a test is called.
pub fn label(test: Test, tokens: usize, depth: usize) -> String {
    match test {
        Test::Load => "load".to_string(),
        Test::FirstToken => format!("load to first token, prompt {tokens}"),
        Test::Prompt => format!("prompt {tokens}"),
        Test::Generation => format!("generation {tokens} at depth {depth}"),
    }
}

/// A test that was asked for and not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// What.
    pub test: Test,
    /// Its tokens.
    pub tokens: usize,
    /// Its depth.
    pub depth: usize,
    /// Why.
    pub why: String,
}

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// As given on the command line.
    pub path: String,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// `Q4_K_M`, `BF16`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its architecture's name in GGUF.
    pub architecture: String,
    /// Weights.
    pub parameters: u64,
    /// Bytes of weights that a generated token reads.
    pub weight_bytes_per_token: u64,
    /// Multiplications of weights for a token of a prompt, its output excepted.
    pub macs_per_token: u64,
    /// Tokens that the model was made for.
    pub context: usize,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The program's version.
    pub nibble: String,
    /// When the run began: UTC, `2026-11-28T16:30:00Z`.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// Of what.
    pub model: Model,
    /// What was asked for; `threads` as they were in the end.
    pub settings: Settings,
    /// Tokens of context that the model was opened with.
    pub context: usize,
    /// Tokens of a prompt that went through the layers together.
    pub batch: usize,
    /// `F16`: how keys and values were cached.
    pub cache: String,
    /// What the machine could do at best while this ran, for each number of threads.
    pub limits: Vec<Limits>,
    /// Every test done.
    pub results: Vec<Measured>,
    /// Every test that was not.
    pub skipped: Vec<Skipped>,
    /// Peak resident memory of the whole run, and the most anonymous memory seen after a test. What measuring the limits takes is not in it.
    pub memory: Memory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let of = |values: &[f64]| Measured::new(Test::Prompt, 1, 16, 0, values.to_vec());
        let five = of(&[5.0, 1.0, 9.0, 2.0, 3.0]);
        assert_eq!((five.median, five.min, five.max, five.unit.as_str()), (3.0, 1.0, 9.0, "tokens/s"));
        assert_eq!((of(&[4.0, 1.0]).median, of(&[7.0]).median), (2.5, 7.0));
        assert_eq!(five.values, [5.0, 1.0, 9.0, 2.0, 3.0]);
    }
}
