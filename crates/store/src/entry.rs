//! A model of the store, as it is found.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;
use crate::{Details, Digest, Name, Parameters, Result, template};

/// What a list shows of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its whole name.
    pub name: Name,
    /// The SHA-256 of its manifest: the model's id.
    pub digest: Digest,
    /// Bytes of its blobs together.
    pub size: u64,
    /// When its manifest was written.
    pub modified: SystemTime,
    /// Architecture, size and type.
    pub details: Details,
}

/// A message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// A model with all that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its whole name; where less was asked for, the one that was found.
    pub name: Name,
    /// The SHA-256 of its manifest: the model's id.
    pub digest: Digest,
    /// Bytes of its blobs together.
    pub size: u64,
    /// When its manifest was written.
    pub modified: SystemTime,
    /// Architecture, size and type.
    pub details: Details,
    /// The GGUF file to open: a blob, or of a split model the first part under its own name.
    pub model: PathBuf,
    /// The GGUF file's blob (of a split model the first part's).
    pub model_digest: Digest,
    /// The image encoder's file.
    pub projector: Option<PathBuf>,
    /// The adapters' files, in order.
    pub adapters: Vec<PathBuf>,
    /// The chat template as it was given: Jinja or Go's. `None` leaves it to the model file; see [`jinja`](Self::jinja).
    pub template: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// Settings that the model comes with.
    pub parameters: Parameters,
    /// Messages that every chat begins with.
    pub messages: Vec<Message>,
    /// Licences, in order.
    pub licenses: Vec<String>,
    /// The manifest itself.
    pub manifest: Manifest,
}

impl Entry {
    /// The chat template as Jinja, translated if it is Go's. `None` leaves it to the model file.
    pub fn jinja(&self) -> Result<Option<String>> {
        self.template.as_deref().map(template::jinja).transpose()
    }
}
