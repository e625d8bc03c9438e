//! What can be wrong with an evaluation.

use std::path::PathBuf;

/// Why an evaluation cannot be done, or its files not be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The model cannot be run.
    #[error(transparent)]
    Engine(#[from] nibble_engine::Error),
    /// A file cannot be mapped or written.
    #[error(transparent)]
    Container(#[from] nibble_container::Error),
    /// A system call failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// A setting outside its range.
    #[error("{what} is {found}; it must be {expected}")]
    Setting {
        /// Its name.
        what: &'static str,
        /// Its value.
        found: String,
        /// What is possible.
        expected: String,
    },
    /// The text has too few tokens.
    #[error("the text has {found} tokens; with a context of {context}, {needed} at least are needed")]
    TextTooShort {
        /// Tokens that there are.
        found: usize,
        /// The window's length.
        context: usize,
        /// Tokens for the least that means something.
        needed: usize,
    },
    /// A base file that is not one, or is damaged.
    #[error("{}: {fault}", path.display())]
    Base {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        fault: super::base::BaseFault,
    },
    /// A base of another vocabulary.
    #[error("{}: the base was made with a vocabulary of {found} tokens, the model has {expected}", path.display())]
    Vocabulary {
        /// The file, or the reference model.
        path: PathBuf,
        /// Its vocabulary.
        found: usize,
        /// The model's.
        expected: usize,
    },
    /// JSON that is not a run's.
    #[error("{}: not a run of nibble eval: {why}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Two runs that do not belong together.
    #[error("the runs do not belong together: {what} is {a} in one and {b} in the other")]
    Unlike {
        /// What they differ in.
        what: &'static str,
        /// Of the first.
        a: String,
        /// Of the other.
        b: String,
    },
    /// Shards that do not make a whole.
    #[error("the shards do not make a whole run: {0}")]
    Shards(String),
    /// A row of logits with a NaN or no finite number.
    #[error("the model's logits at position {position} of chunk {chunk} are not numbers")]
    NotNumbers {
        /// The chunk.
        chunk: usize,
        /// The position in it.
        position: usize,
    },
}

impl Fault {
    /// For `map_err` with a path.
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Fault + '_ {
        move |error| Fault::Io { path: path.to_path_buf(), error }
    }
}
