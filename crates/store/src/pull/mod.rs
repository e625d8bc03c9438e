//! Fetching models: from the Hugging Face hub, from a registry that speaks as Ollama's does, from a file or directory of this device.

pub(crate) mod choose;
mod source;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use source::Source;

use crate::{Convert, Entry, Listener, Name, Result, Store};

/// Where and as whom files are fetched.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The hub, without a slash at its end: `https://huggingface.co`.
    pub endpoint: String,
    /// A token of the hub. It goes to the endpoint's own host and to no other.
    pub token: Option<String>,
    /// Fetch nothing at all.
    pub offline: bool,
    /// Use the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`).
    pub proxy: bool,
    /// Connections at a time.
    pub connections: usize,
    /// Bytes that a request asks for.
    pub piece: u64,
    /// How long to wait before the first retry; it doubles with each further one.
    pub backoff: Duration,
    /// A connection that gives nothing for so long is broken.
    pub stall: Duration,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub {
            endpoint: "https://huggingface.co".into(),
            token: None,
            offline: false,
            proxy: false,
            connections: 6,
            piece: 32 << 20,
            backoff: Duration::from_millis(500),
            stall: Duration::from_secs(30),
        }
    }
}

/// What [`Store::pull`] is to fetch.
pub struct Pull<'a> {
    /// From where.
    pub source: &'a Source,
    /// The name that the model gets; without it, one made from the source.
    pub name: Option<&'a Name>,
    /// How files are fetched.
    pub hub: &'a Hub,
    /// Who quantizes checkpoints.
    pub convert: Option<&'a dyn Convert>,
    /// A directory that a fetched checkpoint is put into. Without it, it goes when it is quantized.
    pub keep_checkpoint: Option<PathBuf>,
    /// For a file of this device: give it a second name in the store instead of copying it.
    pub link: bool,
}

impl Store {
    /// Fetches a model. Broken off at any moment, by whatever, it goes on from there when it is called again.
    pub fn pull(&self, _pull: &Pull, _listener: Listener, _cancel: &AtomicBool) -> Result<Entry> {
        unimplemented!()
    }
}

/// Downloads that were broken off, and the bytes that are there.
pub(crate) fn partial(_: &Store) -> Vec<(PathBuf, u64)> {
    vec![]
}

/// Removes downloads that were broken off and that nobody goes on with at this moment.
pub(crate) fn remove_partial(_: &Store) {}
