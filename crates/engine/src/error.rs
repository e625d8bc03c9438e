//! What can go wrong between a checkpoint and its text. Every message names the file, field or tensor, what was found and what was expected.

use crate::arch::fields::Fault;
use crate::sampler::SampleError;
use crate::source::TensorFault;
use std::path::PathBuf;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be run; all of its faults.
    #[error("{file}: the configuration cannot be used:{}", lines(.faults))]
    Config {
        /// The file.
        file: String,
        /// Every fault.
        faults: Vec<Fault>,
    },
    /// The context does not fit in memory; nothing was loaded.
    #[error("a context of {context} tokens needs {}, of which the weights {}, and {} are available: {}",
        size(*.need), size(*.weights), size(*.available), would_fit(*.fits, *.kv))]
    Memory {
        /// Tokens asked for.
        context: usize,
        /// Bytes for all.
        need: u64,
        /// Bytes of the weights.
        weights: u64,
        /// Bytes that the system can give.
        available: u64,
        /// The longest context that would fit; `None` when the weights alone do not.
        fits: Option<u64>,
        /// The type of KV cache with which the context asked for would fit.
        kv: Option<crate::KvType>,
    },
    /// A context that the model was not made for.
    #[error("a context of {asked} tokens was asked for; the model was made for 1 to {most}")]
    ContextRange {
        /// Tokens asked for.
        asked: usize,
        /// The model's own.
        most: usize,
    },
    /// A type of KV cache whose blocks do not divide the model's heads.
    #[error("a {} cache keeps blocks of {}, and this model's heads have {head_dim} elements: f16 and f32 hold any", .kv.name(), .kv.block())]
    KvType {
        /// The type asked for.
        kv: crate::KvType,
        /// Elements of a head.
        head_dim: usize,
    },
    /// A prompt that the context does not hold. It is never cut.
    #[error("the prompt has {tokens} tokens, the context holds {context}: ask for a longer context or shorten the prompt")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// Tokens that the rest of the context does not hold.
    #[error("{tokens} tokens do not fit: {held} of the context's {context} are taken")]
    ContextFull {
        /// Tokens to feed.
        tokens: usize,
        /// Tokens held.
        held: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// A token that is not in the vocabulary.
    #[error("token {id} is not below the vocabulary's size, {vocab}: the tokenizer is not this model's")]
    Token {
        /// The token.
        id: u32,
        /// The vocabulary's size.
        vocab: usize,
    },
    /// Nothing to feed.
    #[error("there are no tokens to read: the prompt is empty")]
    NoTokens,
    /// The checkpoint's tensors do not fit its configuration; all faults.
    #[error("{}: the tensors do not fit the configuration:{}", .path.display(), lines(.faults))]
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// Every fault.
        faults: Vec<TensorFault>,
    },
    /// An adapter cannot be read, or is another model's; all faults.
    #[error("{}: the adapter cannot be used with this model:{}", .path.display(), lines(.faults))]
    Adapter {
        /// The adapter.
        path: PathBuf,
        /// Every fault.
        faults: Vec<crate::adapter::AdapterFault>,
    },
    /// An architecture's layers use a tensor that its list does not have: a mistake in this program.
    #[error("{tensor}: the architecture does not list this tensor")]
    Unlisted {
        /// The tensor.
        tensor: String,
    },
    /// The draft model of a speculation failed.
    #[error("the draft model: {0}")]
    Draft(Box<Error>),
    /// A draft model with another vocabulary.
    #[error(transparent)]
    Vocabulary(#[from] crate::speculate::VocabularyFault),
    /// A file with a session's state cannot be used.
    #[error("{}: {fault}", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: crate::state::StateFault,
    },
    /// Sampling failed.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// What the answer must follow allows no next token.
    #[error("{0}")]
    Guide(String),
    /// The container could not be read.
    #[error(transparent)]
    Container(#[from] nibble_container::Error),
    /// A file could not be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// The vocabulary or the chat template.
    #[error(transparent)]
    Text(#[from] crate::text::TextError),
    /// A file is not JSON.
    #[error("{}: not valid JSON: {error}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's answer.
        error: serde_json::Error,
    },
}

/// Each fault on its own indented line.
fn lines<T: std::fmt::Display>(faults: &[T]) -> String {
    faults.iter().map(|f| format!("\n  {f}")).collect()
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{bytes} bytes"),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

fn would_fit(tokens: Option<u64>, kv: Option<crate::KvType>) -> String {
    let smaller = kv.map_or(String::new(), |kv| format!(", or this one with a {} cache", kv.name()));
    match tokens {
        Some(n) => format!("a context of up to {n} tokens would fit{smaller}"),
        None => "the weights alone do not fit; a smaller quantization would".to_string(),
    }
}
