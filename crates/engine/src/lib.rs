//! Tensors to logits to text: architectures, the forward pass, KV cache, sampler, tokenizers, templates, thread pool.
//!
//! Read in this order: [`arch`] (what a model is: names, shapes, layers as data), [`source`] (a model on disk), `layer` (the forward pass), [`adapter`] (what is added to its products), [`Session`]
//! (tokens in, logits out), [`Batch`] (several of them at once), [`generate()`] (the loop), [`speculate`] (the loop, sooner), [`state`] (a session on disk). Nothing here prints, reads the environment or uses the network.

pub mod adapter;
pub mod arch;
mod attention;
mod batch;
mod cache;
mod error;
mod generate;
pub mod large;
mod layer;
pub mod logits;
pub mod memory;
mod model;
pub mod pool;
mod products;
mod recommended;
mod rng;
pub mod sampler;
mod session;
pub mod source;
pub mod speculate;
pub mod state;
pub mod text;
pub mod walk;
mod weights;

pub use adapter::{Adapter, Lora};
pub use batch::{Batch, Feed, Rows};
pub use cache::KvType;
pub use error::Error;
pub use generate::{Event, Finish, Report, Stop, generate, generate_guided, generate_with};
pub use model::{DEFAULT_CONTEXT, Model, Options, need, need_adapted, need_of};
pub use recommended::recommended;
pub use session::Session;
