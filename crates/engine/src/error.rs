//! What can go wrong between a checkpoint and its text. Every message names the file, field or tensor, what was found and what was expected.

use crate::arch::fields::Fault;
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
    /// A file could not be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
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
