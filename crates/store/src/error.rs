//! What can go wrong, each with the file, the field or the place where it did.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{Digest, Name};

/// The result of what the store does.
pub type Result<T> = std::result::Result<T, Error>;

/// A fault of the store, of a Modelfile, of an archive or of a download.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("{}: cannot {doing}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The verb.
        doing: &'static str,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// The disk has not room enough.
    #[error(
        "{}: the disk is full: {} needed, {} free, {} too few",
        path.display(), size(*need), size(*free), size(need.saturating_sub(*free))
    )]
    Space {
        /// Where they should go.
        path: PathBuf,
        /// Bytes still to be written.
        need: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Text that is no name of a model.
    #[error("{text:?} is no valid {what}; a model's name is [HOST/][NAMESPACE/]MODEL[:TAG], of letters, digits, '.', '_' and '-'")]
    Name {
        /// The text, cut if it is long.
        text: String,
        /// The part that it should have been.
        what: &'static str,
    },
    /// Text that is no digest.
    #[error("{text:?} is no digest; expected sha256: and 64 hexadecimal digits")]
    Digest {
        /// The text, cut if it is long.
        text: String,
    },
    /// A model that is not in the store.
    #[error("no model {name} in the store")]
    NotFound {
        /// The name.
        name: Name,
    },
    /// A name without a tag, of which there are several.
    #[error("{name} is there several times: {}", choices.join(", "))]
    Ambiguous {
        /// The name that was given.
        name: String,
        /// Names that it could stand for.
        choices: Vec<String>,
    },
    /// A blob that is not in the store.
    #[error("no blob {digest} in the store{}", of.as_ref().map_or_else(String::new, |of| format!(", though {of} is made of it")))]
    NoBlob {
        /// Its digest.
        digest: Digest,
        /// The model that needs it.
        of: Option<String>,
    },
    /// Bytes that are not those that were promised.
    #[error("{what}: wrong SHA-256: expected {expected}, got {found}")]
    Mismatch {
        /// The file.
        what: String,
        /// The promised one.
        expected: Digest,
        /// The one found.
        found: Digest,
    },
    /// A file of another length than was promised.
    #[error("{what}: {found} bytes, expected {expected}")]
    Length {
        /// The file.
        what: String,
        /// The promised one.
        expected: u64,
        /// The one found.
        found: u64,
    },
    /// A manifest that is not as it should be.
    #[error("{}: {message}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the field.
        message: String,
    },
    /// A Modelfile that is not as it should be.
    #[error("Modelfile line {line}: {message}")]
    Modelfile {
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A parameter that there is not.
    #[error("no parameter {name}; {instead}")]
    NoParameter {
        /// Its name, cut if it is long.
        name: String,
        /// The one that may have been meant, or all that there are.
        instead: String,
    },
    /// A parameter that has a wrong value.
    #[error("parameter {name}: {message}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A template that cannot be used.
    #[error("template line {line}: {message}")]
    Template {
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A model file that cannot be read.
    #[error(transparent)]
    Container(#[from] nibble_container::Error),
    /// An adapter does not fit, or cannot be read.
    #[error("ADAPTER {error}")]
    Adapter {
        /// Which one, and why.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A checkpoint or a change of type where nobody can quantize.
    #[error("{}: quantizing is not possible here", path.display())]
    NoConvert {
        /// What was to be quantized.
        path: PathBuf,
    },
    /// Quantizing failed.
    #[error("{}: cannot be quantized: {error}", path.display())]
    Convert {
        /// What was to be quantized.
        path: PathBuf,
        /// Why it cannot.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server's answer that ends a job.
    #[error("{url}: {fault}")]
    Server {
        /// What was asked for, without a signature.
        url: String,
        /// What is wrong.
        #[source]
        fault: ServerFault,
    },
    /// A source that names no file, or several.
    #[error("{what}: {message}")]
    Source {
        /// The repository, registry name or path.
        what: String,
        /// What is wrong.
        message: String,
        /// What could have been asked for instead.
        choices: Vec<String>,
    },
    /// An archive that is not as it should be.
    #[error("{}: {message}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong, with the entry.
        message: String,
    },
    /// A name whose host takes nothing from us.
    #[error("{name} cannot be pushed: {why}")]
    NoPush {
        /// The name.
        name: Name,
        /// What the host wants instead.
        why: &'static str,
    },
    /// Someone asked for it to stop.
    #[error("stopped")]
    Cancelled,
}

/// What a server did.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerFault {
    /// It wants a token, or does not accept the one given (401).
    #[error("the server wants a token (401){}", if *token { "; the one given is not accepted" } else { "" })]
    Unauthorized {
        /// Whether one was sent.
        token: bool,
    },
    /// The token has no access (403), as for gated repositories whose terms were not accepted.
    #[error("access is denied (403){}{}", if message.is_empty() { "" } else { ": " }, message)]
    Forbidden {
        /// The server's words.
        message: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// A registry wants a user and password, or does not accept those that it was given (401).
    #[error("the registry {} (401)", if *given { "does not accept the user and password given for it" } else { "wants a user and password" })]
    Credentials {
        /// Whether there were any.
        given: bool,
    },
    /// A registry does not let this user do this (403).
    #[error("the registry does not allow it (403){}{}", if message.is_empty() { "" } else { ": " }, message)]
    Denied {
        /// The registry's words.
        message: String,
        /// Whether a user and password were given.
        given: bool,
    },
    /// What answered does not speak TLS.
    #[error("what answers there does not speak TLS (https)")]
    NoTls,
    /// Not there (404).
    #[error("not found (404)")]
    NotFound,
    /// Another status that is no success, after all retries where it could pass.
    #[error("the server answered {status}{}{}", if message.is_empty() { "" } else { ": " }, message)]
    Status {
        /// The status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The connection failed again and again.
    #[error("{message}, {attempts} times without a byte between")]
    Connection {
        /// The last failure.
        message: String,
        /// How often.
        attempts: u32,
    },
    /// An answer that makes no sense.
    #[error("{0}")]
    Answer(String),
    /// The network may not be used.
    #[error("offline mode is on: the network is not used")]
    Offline,
}

impl Error {
    /// A refusal by the operating system while `doing` something.
    pub(crate) fn io(path: impl AsRef<Path>, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |error| Error::Io { path, doing, error }
    }

    /// Whether a disk was full.
    pub fn is_full_disk(&self) -> bool {
        match self {
            Error::Space { .. } => true,
            Error::Io { error, .. } => matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            _ => false,
        }
    }
}

/// Bytes for people: `1.88 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.2} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.2} TiB")
}

/// A text that came from outside, short enough for a message.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_in_words() {
        let error = Error::Space { path: "downloads".into(), need: 2_019_377_376, free: 1 << 30 };
        assert_eq!(error.to_string(), "downloads: the disk is full: 1.88 GiB needed, 1.00 GiB free, 901.83 MiB too few");
        assert!(error.is_full_disk());
        assert_eq!((size(1023), size(u64::MAX).as_str()), ("1023 B".to_string(), "16777216.00 TiB"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shorten("abc"), "abc");
        assert_eq!(shorten(&"é".repeat(200)), format!("{}…", "é".repeat(100)));
    }
}
