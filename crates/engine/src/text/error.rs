//! What can be wrong with a vocabulary or a chat template.

use std::path::PathBuf;

/// A fault of a vocabulary, a tokenizer or a chat template.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file could not be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A file is not JSON of the expected shape.
    #[error("{file}: not a valid tokenizer file: {error}")]
    Json {
        /// The file.
        file: String,
        /// The parser's answer: line, column, and what it expected.
        error: serde_json::Error,
    },
    /// A field holds what it must not.
    #[error("{file}: {field}: {found}; expected {expected}")]
    Field {
        /// The file.
        file: String,
        /// The field or key.
        field: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// A tokenizer.model that is not what it should be.
    #[error("{file}: byte {offset}: {what}")]
    Protobuf {
        /// The file.
        file: String,
        /// Where in the file.
        offset: usize,
        /// The fault.
        what: String,
    },
    /// A kind of tokenizer that is not supported.
    #[error("{file}: tokenizers of the kind {kind:?} are not supported (supported: byte-level BPE, SentencePiece BPE)")]
    Kind {
        /// The file.
        file: String,
        /// The kind's name there.
        kind: String,
    },
    /// A pre-tokenizer that is not in the table.
    #[error("{file}: unknown pre-tokenizer {found}; known: {known}. With a wrong one the model would read garbage, so nothing is guessed")]
    PreTokenizer {
        /// The file.
        file: String,
        /// Its name or description there.
        found: String,
        /// The names in the table.
        known: String,
    },
    /// No vocabulary at all.
    #[error("{}: no tokenizer found; one of these must be there: tokenizer.json, tokenizer.model, vocab.json with merges.txt", .path.display())]
    None {
        /// The directory.
        path: PathBuf,
    },
    /// A model without chat template.
    #[error("the model has no chat template; it is a base model, or its template was left out. Give it plain text, or a template file")]
    NoTemplate,
    /// A chat template that does not compile or does not render.
    #[error("chat template: {message}{}", .line.map(|l| format!(" (line {l})")).unwrap_or_default())]
    Template {
        /// What went wrong.
        message: String,
        /// Where in the template.
        line: Option<usize>,
    },
    /// The template itself refused the conversation.
    #[error("the chat template refuses this conversation: {message}")]
    Refused {
        /// The template's own words.
        message: String,
    },
}
