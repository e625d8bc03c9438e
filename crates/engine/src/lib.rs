//! Tensors to logits to text: architectures, the forward pass, KV cache, sampler, tokenizers, templates, thread pool.

pub mod arch;
mod error;

pub use error::Error;
