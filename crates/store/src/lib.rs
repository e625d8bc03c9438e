//! Models on this device: pulled, created, listed, verified, described by a Modelfile, packed, pushed.
//!
//! A store is a directory laid out as Ollama's, so that either program can read what the other has put there:
//!
//! ```text
//! ROOT/manifests/HOST/NAMESPACE/MODEL/TAG   which blobs a model is made of (manifest)
//! ROOT/blobs/sha256-…                       every file under the name of its SHA-256
//! ROOT/parts/…/NAME-00001-of-0000N.gguf     links to the blobs of split models, whose parts find each other by name
//! ROOT/downloads/…                          what is being fetched, and how far it is (pull)
//! ROOT/staging/…                            what is being made; each entry is locked by its maker
//! ROOT/lock                                 shared while a blob gets its name and its manifest; exclusive while blobs are removed
//! ```
//!
//! Every file gets its name when it is whole, on the disk and verified, blobs before the manifest that names them. So a process that dies at any moment
//! leaves models that are whole or absent, and what it has left in `staging` is removed by the next one that finds the entry unlocked.
//!
//! Nothing here reads the environment or prints: root, endpoint and token are given, and what goes on is told to a [`Listener`].

mod blobs;
mod bundle;
mod create;
mod details;
mod digest;
mod entry;
mod error;
mod http;
mod lock;
pub mod manifest;
pub mod modelfile;
mod name;
mod nearest;
mod pack;
mod parameters;
mod progress;
pub mod pull;
pub mod push;
mod registry;
mod staging;
mod store;
pub mod template;
mod unpack;
mod url;
mod verify;

pub use bundle::Bundle;
pub use create::{Convert, Create};
pub use details::Details;
pub use digest::Digest;
pub use entry::{Entry, Message, Summary};
pub use error::{Error, Result, ServerFault};
pub use manifest::Manifest;
pub use modelfile::Modelfile;
pub use name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, HUB_HOST, Name};
pub use nearest::nearest;
pub use pack::Packing;
pub use parameters::{Kind, PARAMETERS, Parameters, Row};
pub use progress::{Listener, Progress, Step, Work};
pub use pull::{Hub, Pull, Source};
pub use push::Pushed;
pub use registry::{Login, Logins};
pub use store::{Listing, Store};
pub use verify::{Damage, Verified};
