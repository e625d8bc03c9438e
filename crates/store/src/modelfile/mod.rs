//! A Modelfile: what a model is made from and how it is to be used, in Ollama's words.
//!
//! ```text
//! # a comment
//! FROM ./model.gguf
//! PARAMETER temperature 0.7
//! PARAMETER stop "<|end|>"
//! SYSTEM """You answer
//! in one line."""
//! MESSAGE user Hello
//! MESSAGE assistant Good day.
//! ```
//!
//! One command a line, in any case. A value that begins with `"` or `"""` goes on to the line that ends with the same quotes; between them nothing is an
//! escape. Commands are FROM (a name of the store, a GGUF file, a directory with safetensors, or a digest), PARAMETER, TEMPLATE, SYSTEM,
//! MESSAGE, LICENSE, ADAPTER and REQUIRES.

mod parse;
mod print;

use crate::{Entry, Message, Parameters};

/// A Modelfile's commands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Modelfile {
    /// What it is made from, as it was written: a name, a path or a digest. Empty in a file that is only half written.
    pub from: String,
    /// Settings, in the order in which they were made.
    pub parameters: Parameters,
    /// The chat template.
    pub template: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// Messages that every chat begins with.
    pub messages: Vec<Message>,
    /// Licences.
    pub licenses: Vec<String>,
    /// Paths of adapters.
    pub adapters: Vec<String>,
    /// The version of Ollama that is needed; read, and without effect.
    pub requires: Option<String>,
}

impl Modelfile {
    /// One that would make the same model again, from its blobs.
    pub fn of(entry: &Entry) -> Modelfile {
        Modelfile {
            from: entry.model.display().to_string(),
            parameters: entry.parameters.clone(),
            template: entry.template.clone(),
            system: entry.system.clone(),
            messages: entry.messages.clone(),
            licenses: entry.licenses.clone(),
            adapters: entry.adapters.iter().map(|path| path.display().to_string()).collect(),
            requires: None,
        }
    }
}
