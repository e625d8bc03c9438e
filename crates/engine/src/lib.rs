//! Tensors to logits to text: architectures, the forward pass, KV cache, sampler, tokenizers, templates, thread pool.

pub mod arch;
mod error;
pub mod memory;
pub mod pool;
mod rng;
pub mod sampler;

pub use error::Error;
